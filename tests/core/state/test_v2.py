"""State resolution since room version 2, on whole rooms.

https://spec.matrix.org/v1.19/rooms/v2/#state-resolution
https://spec.matrix.org/v1.19/rooms/v12/#state-resolution
"""

from collections.abc import Sequence

import pytest

from federation.core.ids import EventID
from federation.core.state.resolve import resolve, separate
from federation.core.state.v2 import is_power_event
from tests.support.rooms import ALICE, BOB, CAROL, DAVE, Room, versions

TOPIC = ("m.room.topic", "")
LEVELS = ("m.room.power_levels", "")
RULES = ("m.room.join_rules", "")
State = dict[tuple[str, str], EventID]

both_revisions = pytest.mark.parametrize("version", ["2", "11", "12"])


def resolve_states(room: Room, states: Sequence[State], rejected: frozenset[EventID] = frozenset()) -> State:
    """Return the resolution of states, whatever their order and however often each is there."""
    resolved = resolve(states, room.version, room.fetch, rejected=rejected)
    assert resolve([*states[::-1], *states], room.version, room.fetch, rejected=rejected) == resolved
    return resolved


def merge(*branches: Room) -> State:
    """Return the resolution of the branches' states."""
    return resolve_states(branches[0], [branch.state for branch in branches])


def small_room(version: str) -> Room:
    """Return a room with Alice (its creator), Bob (50) and Carol."""
    return Room.public(version, {BOB: 50}, joined=[BOB, CAROL])


# Definitions


def test_what_every_state_has_alike_is_unconflicted() -> None:
    a, b, c, d = (EventID(name) for name in "abcd")
    assert separate([{("x", ""): a, ("y", ""): b, ("z", ""): d}, {("x", ""): a, ("y", ""): c}]) == (
        {("x", ""): a},
        [{("y", ""): b, ("z", ""): d}, {("y", ""): c}],
    )


@both_revisions
def test_power_events_are_those_that_may_take_something_away(version: str) -> None:
    room = small_room(version)
    powerful = [
        room.levels(ALICE, {}),
        room.sets(ALICE, "m.room.join_rules", {"join_rule": "invite"}),
        room.member(ALICE, BOB, "ban"),
        room.member(ALICE, BOB, "leave"),
    ]
    others = [
        room.member(BOB, BOB, "leave"),
        room.member(ALICE, BOB, "invite"),
        room.joins(BOB),
        room.send(ALICE, "m.room.member", {"membership": "ban"}),
        room.send(ALICE, "m.room.power_levels", {}),
        room.sets(ALICE, "m.room.topic", {"membership": "ban"}, BOB),
        room.create,
    ]
    assert all(is_power_event(event) for event in powerful)
    assert not any(is_power_event(event) for event in others)


# Rooms


@both_revisions
def test_states_without_conflict_are_the_resolution(version: str) -> None:
    room = small_room(version)
    assert resolve([], room.version, room.fetch) == {}
    assert merge(room) == merge(room, room.fork()) == room.state


@both_revisions
def test_the_later_topic_wins(version: str) -> None:
    room = small_room(version)
    left, right = room.fork(), room.fork()
    left.sets(ALICE, "m.room.topic", {"topic": "left"})
    later = right.sets(BOB, "m.room.topic", {"topic": "right"})
    left.says(ALICE)  # what is deeper does not count
    assert merge(left, right) == room.state | {TOPIC: later.event_id}


@both_revisions
def test_a_topic_on_newer_power_levels_wins_over_a_later_one(version: str) -> None:
    room = small_room(version)
    left, right = room.fork(), room.fork()
    left.levels(ALICE, {BOB: 50, CAROL: 50})
    newer = left.sets(BOB, "m.room.topic", {"topic": "left"})
    right.sets(BOB, "m.room.topic", {"topic": "right"})
    assert merge(left, right) == left.state
    assert merge(left, right)[TOPIC] == newer.event_id


@both_revisions
def test_a_ban_wins_over_what_the_banned_do_meanwhile(version: str) -> None:
    room = small_room(version)
    left, right = room.fork(), room.fork()
    ban = left.member(ALICE, BOB, "ban")
    right.sets(BOB, "m.room.topic", {"topic": "evading"})
    right.sets(BOB, "m.room.join_rules", {"join_rule": "invite"})
    right.levels(BOB, {BOB: 50, DAVE: 50})
    right.joins(BOB, displayname="still here")
    assert merge(left, right) == room.state | {ban.slot: ban.event_id}


@both_revisions
def test_what_was_done_before_the_ban_stays(version: str) -> None:
    room = small_room(version)
    topic = room.sets(BOB, "m.room.topic", {"topic": "before"})
    left, right = room.fork(), room.fork()
    left.member(ALICE, BOB, "ban")
    right.sets(CAROL, "x", {})
    assert merge(left, right) == left.state
    assert merge(left, right)[TOPIC] == topic.event_id


@both_revisions
def test_the_more_powerful_of_two_goes_first(version: str) -> None:
    # Bob bans Carol while Alice takes that power from him. She outranks him, though he was earlier.
    room = small_room(version)
    left, right = room.fork(), room.fork()
    left.member(BOB, CAROL, "ban")
    levels = right.levels(ALICE, {BOB: 0})
    assert merge(left, right) == room.state | {LEVELS: levels.event_id}


@both_revisions
def test_a_join_by_rules_that_are_gone_is_undone(version: str) -> None:
    room = small_room(version)
    left, right = room.fork(), room.fork()
    rules = left.sets(ALICE, "m.room.join_rules", {"join_rule": "invite"})
    right.joins(DAVE)
    assert merge(left, right) == room.state | {RULES: rules.event_id}


@both_revisions
def test_of_more_than_two_branches_each_counts(version: str) -> None:
    room = small_room(version)
    branches = [room.fork() for _ in range(4)]
    branches[0].levels(ALICE, {BOB: 50, CAROL: 50})
    branches[1].joins(DAVE)
    topic = branches[2].sets(BOB, "m.room.topic", {"topic": "x"})
    ban = branches[3].member(ALICE, CAROL, "ban")
    assert merge(*branches) == {
        **room.state,
        LEVELS: branches[0].state[LEVELS],
        ("m.room.member", DAVE): branches[1].state["m.room.member", DAVE],
        TOPIC: topic.event_id,
        ban.slot: ban.event_id,
    }


@both_revisions
def test_a_room_may_have_no_power_levels(version: str) -> None:
    room = Room.begin(version)
    room.joins(ALICE)
    left, right = room.fork(), room.fork()
    left.sets(ALICE, "m.room.join_rules", {"join_rule": "public"})
    right.sets(ALICE, "m.room.topic", {"topic": "x"})
    assert merge(left, right) == left.state | right.state


@both_revisions
def test_what_the_state_lacks_is_taken_from_the_auth_events(version: str) -> None:
    room = small_room(version)
    room.sets(BOB, "x", {})  # so that Bob's join is in every auth chain
    left, right = room.fork(), room.fork()
    topic = left.sets(BOB, "m.room.topic", {"topic": "x"})
    for branch in (room, left, right):
        joined = branch.state.pop(("m.room.member", BOB))
    assert merge(left, right) == room.state | {TOPIC: topic.event_id}
    # But not if it was rejected.
    assert resolve_states(room, [left.state, right.state], rejected=frozenset({joined})) == room.state


@both_revisions
def test_what_only_some_auth_chains_hold_gets_into_the_state(version: str) -> None:
    room = small_room(version)
    left, right = room.fork(), room.fork()
    left.sets(BOB, "m.room.topic", {"topic": "x"})
    expected = dict(left.state)
    for branch in (left, right):
        del branch.state["m.room.member", BOB]
    assert merge(left, right) == expected


@both_revisions
def test_what_is_not_known_wins_no_conflict(version: str) -> None:
    room = small_room(version)
    left, right = room.fork(), room.fork()
    topic = left.sets(ALICE, "m.room.topic", {"topic": "left"})
    unknown = right.sets(ALICE, "m.room.topic", {"topic": "right"})
    del room.events[unknown.event_id]
    assert merge(left, right) == room.state | {TOPIC: topic.event_id}


@both_revisions
def test_what_is_no_state_gets_into_no_state(version: str) -> None:
    room = small_room(version)
    left, right = room.fork(), room.fork()
    message = left.says(ALICE)
    left.sets(ALICE, "m.room.topic", {"topic": "x"}, auth=[*message.auth_events, message.event_id])
    assert merge(left, right) == left.state


@both_revisions
def test_without_a_create_event_nothing_is_allowed(version: str) -> None:
    room = small_room(version)
    left, right = room.fork(), room.fork()
    left.sets(ALICE, "m.room.topic", {"topic": "x"})
    right.levels(ALICE, {BOB: 0})
    del room.events[room.create.event_id]
    assert set(merge(left, right)) == set(room.state) - {LEVELS}


def test_events_that_cite_one_another_in_a_circle_win_nothing() -> None:
    room = small_room("2")
    left, right = room.fork(), room.fork()
    cited = [room.create.event_id, room.state["m.room.member", ALICE]]
    number = len(room.events)
    ahead = EventID(f"$event{number + 1}:a.example")
    first = left.sets(ALICE, "m.room.power_levels", {}, auth=[*cited, ahead])
    second = right.sets(ALICE, "m.room.power_levels", {}, auth=[*cited, first.event_id])
    assert second.event_id == ahead
    assert LEVELS not in merge(left, right)


# What version 12 changed


def state_reset_by_newer_rules(version: str) -> tuple[Room, State, State]:
    """Return a room that Dave joined while it was public, and two states that know it is not any more.

    One of them, from a faulty server say, has lost Dave.
    """
    room = small_room(version)
    room.joins(DAVE)
    room.sets(ALICE, "m.room.join_rules", {"join_rule": "invite"})
    lost = {slot: event_id for slot, event_id in room.state.items() if slot != ("m.room.member", DAVE)}
    return room, room.state, lost


@pytest.mark.parametrize("version", versions(first="2"))
def test_since_v12_members_are_not_judged_by_rules_that_came_after_them(version: str) -> None:
    room, whole, lost = state_reset_by_newer_rules(version)
    assert resolve_states(room, [whole, lost]) == (whole if version == "12" else lost)


def state_reset_by_forgotten_levels(version: str) -> tuple[Room, State, State]:
    """Return a room where Alice made Bob powerful and Bob then changed the levels, and a state with the first levels.

    That Bob was made powerful lies between the two, and is in the auth chain of both by way of a topic.
    """
    room = Room.public(version, joined=[BOB])
    first = room.state[LEVELS]
    room.levels(ALICE, {BOB: 90})
    room.sets(BOB, "m.room.topic", {"topic": "x"})
    room.levels(BOB, {BOB: 90, CAROL: 50})
    return room, room.state, room.state | {LEVELS: first}


@pytest.mark.parametrize("version", versions(first="2"))
def test_since_v12_what_lies_between_conflicted_events_is_judged_again(version: str) -> None:
    room, newest, reset = state_reset_by_forgotten_levels(version)
    assert resolve_states(room, [newest, reset]) == (newest if version == "12" else reset)
