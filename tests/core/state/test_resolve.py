"""What holds for the resolution of any states: https://spec.matrix.org/v1.19/server-server-api/#room-state-resolution."""

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.core.events.pdu import Pdu
from federation.core.ids import EventID
from federation.core.state.resolve import resolve
from tests.support.rooms import ALICE, AMY, BOB, CAROL, DAVE, Room

PEOPLE = (ALICE, AMY, BOB, CAROL, DAVE)
LEVELS = (0, 50, 100)

people = st.sampled_from(PEOPLE)
deeds = st.one_of(
    st.tuples(st.just("join"), people),
    st.tuples(st.just("member"), people, people, st.sampled_from(("leave", "ban", "invite"))),
    st.tuples(st.just("levels"), people, st.dictionaries(people, st.sampled_from(LEVELS))),
    st.tuples(st.just("rules"), people, st.sampled_from(("public", "invite"))),
    st.tuples(st.just("topic"), people),
)
stories = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), deeds), max_size=25)


def tell(version: str, story: list[tuple[int, int, tuple]]) -> list[Room]:  # type: ignore[type-arg]
    """Return three branches on which people did what they were allowed to, some at the same moment."""
    root = Room.public(version, {BOB: 50, CAROL: 50}, joined=[BOB, CAROL])
    branches = [root.fork() for _ in range(3)]
    for number, ts, (kind, sender, *rest) in story:
        branch = branches[number]
        trial = branch.fork()
        if kind == "join":
            event = trial.sets(sender, "m.room.member", {"membership": "join"}, sender, ts=ts)
        elif kind == "member":
            event = trial.sets(sender, "m.room.member", {"membership": rest[1]}, rest[0], ts=ts)
        elif kind == "levels":
            event = trial.sets(sender, "m.room.power_levels", {"users": rest[0]}, ts=ts)
        elif kind == "rules":
            event = trial.sets(sender, "m.room.join_rules", {"join_rule": rest[0]}, ts=ts)
        else:
            event = trial.sets(sender, "m.room.topic", {}, ts=ts)
        if branch.allows(event):
            branches[number] = trial
    return branches


@pytest.mark.parametrize("version", ["1", "2", "11", "12"])
@settings(max_examples=60, deadline=None)
@given(story=stories)
def test_neither_the_order_of_states_nor_their_number_counts(
    version: str,
    story: list[tuple[int, int, tuple]],  # type: ignore[type-arg]
) -> None:
    branches = tell(version, story)
    room, states = branches[0], [branch.state for branch in branches]
    resolved = resolve(states, room.version, room.fetch)
    for order in permutations(states):
        assert resolve(order, room.version, room.fetch) == resolved
        assert resolve([*order, order[0], order[2]], room.version, room.fetch) == resolved

    # What all agree on stays, and everything has its place.
    for slot in set.intersection(*(set(state.items()) for state in states)):
        assert resolved[slot[0]] == slot[1]
    assert all(room.events[event_id].slot == slot for slot, event_id in resolved.items())
    # A resolution resolves to itself.
    assert resolve([resolved, resolved], room.version, room.fetch) == resolved


@pytest.mark.parametrize("version", ["1", "2", "12"])
def test_each_event_is_asked_for_once(version: str) -> None:
    room = Room.public(version, {BOB: 50}, joined=[BOB, CAROL])
    left, right = room.fork(), room.fork()
    left.sets(BOB, "m.room.topic", {"topic": "x"})
    right.member(ALICE, BOB, "ban")
    right.sets(ALICE, "m.room.topic", {"topic": "y"})
    asked = []

    def fetch(event_id: EventID) -> Pdu | None:
        asked.append(event_id)
        return room.fetch(event_id)

    resolved = resolve([left.state, right.state], room.version, fetch)
    assert len(asked) == len(set(asked))

    # Where the auth events are known otherwise, only what is judged and what it is judged by is fetched.
    asked.clear()
    cited = {event_id: event.auth_events for event_id, event in room.events.items()}
    again = resolve([left.state, right.state], room.version, fetch, auth_events_of=cited.__getitem__)
    assert again == resolved
    assert room.state["m.room.member", CAROL] not in asked
