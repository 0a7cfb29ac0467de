"""State resolution of room version 1: https://spec.matrix.org/v1.19/rooms/v1/#state-resolution."""

from hashlib import sha1

import pytest

from federation.core.ids import EventID
from federation.core.room_versions import V1
from federation.core.state.graph import Fetch
from federation.core.state.resolve import resolve
from tests.support.rooms import ALICE, BOB, CAROL, Room

TOPIC = ("m.room.topic", "")
LEVELS = ("m.room.power_levels", "")
RULES = ("m.room.join_rules", "")


@pytest.fixture
def room() -> Room:
    """A room with Alice (100), Bob (50) and Carol."""
    return Room.public("1", {BOB: 50}, joined=[BOB, CAROL])


def merge(*branches: Room, fetch: Fetch | None = None) -> dict[tuple[str, str], EventID]:
    """Return the resolution of the branches' states, whatever their order."""
    states = [branch.state for branch in branches]
    resolved = resolve(states, V1, fetch or branches[0].fetch)
    assert resolve(states[::-1], V1, fetch or branches[0].fetch) == resolved
    return resolved


def test_what_only_one_state_has_is_no_conflict(room: Room) -> None:
    left, right = room.fork(), room.fork()
    topic = left.sets(BOB, "m.room.topic", {"topic": "x"})
    ban = right.member(ALICE, BOB, "ban")
    # Even where the rules would not allow it: this is what later versions mend.
    assert merge(left, right) == room.state | {TOPIC: topic.event_id, ban.slot: ban.event_id}


def test_of_other_events_the_deepest_wins(room: Room) -> None:
    left, right = room.fork(), room.fork()
    left.sets(ALICE, "m.room.topic", {"topic": "left"}, depth=20)
    deeper = right.sets(ALICE, "m.room.topic", {"topic": "right"}, depth=21, ts=0)
    assert merge(left, right)[TOPIC] == deeper.event_id


def test_among_equally_deep_ones_the_lowest_sha1_wins(room: Room) -> None:
    branches = [room.fork() for _ in range(6)]
    topics = [branch.sets(ALICE, "m.room.topic", {}, depth=20).event_id for branch in branches]
    assert merge(*branches)[TOPIC] == min(topics, key=lambda event_id: sha1(event_id.encode()).hexdigest())


def test_among_equally_deep_ones_the_highest_sha1_goes_first(room: Room) -> None:
    branches = [room.fork() for _ in range(6)]
    # No two of these allow one another.
    levels = [branch.levels(ALICE, {BOB: 100}, users_default=n) for n, branch in enumerate(branches)]
    for event in levels:
        event.fields["content"]["users"][ALICE] = 0
    depths = {event.depth for event in levels}
    assert len(depths) == 1
    first = max((event.event_id for event in levels), key=lambda event_id: sha1(event_id.encode()).hexdigest())
    assert merge(*branches)[LEVELS] == first


def test_what_the_resolved_state_refuses_loses(room: Room) -> None:
    room.sets(ALICE, "m.room.topic", {"topic": "before"})
    left, right = room.fork(), room.fork()
    right.member(ALICE, BOB, "ban")
    for depth in (30, 31):
        left.sets(BOB, "m.room.topic", {"topic": "evading"}, depth=depth)
        assert merge(left, right)[TOPIC] == room.state[TOPIC]


def test_where_none_is_allowed_none_is_left(room: Room) -> None:
    left, right = room.fork(), room.fork()
    for branch in (left, right):
        branch.sets(CAROL, "m.room.topic", {})
    assert TOPIC not in merge(left, right)


def test_power_levels_are_taken_while_each_allows_the_next(room: Room) -> None:
    branches = [room.fork() for _ in range(4)]
    branches[0].levels(ALICE, {BOB: 60}, depth=20)
    second = branches[1].levels(ALICE, {BOB: 70}, depth=21)
    branches[2].levels(CAROL, {BOB: 60}, depth=22)  # not hers to send: what follows is not looked at
    branches[3].levels(ALICE, {BOB: 80}, depth=23)
    assert merge(*branches)[LEVELS] == second.event_id


def test_the_first_power_levels_are_taken_as_they_are(room: Room) -> None:
    left, right = room.fork(), room.fork()
    first = left.levels(CAROL, {CAROL: 100}, depth=1)
    right.levels(BOB, {CAROL: 50}, depth=2)
    assert merge(left, right)[LEVELS] == first.event_id


def test_join_rules_are_settled_after_power_levels_and_members_after_both(room: Room) -> None:
    room.sets(ALICE, "m.room.join_rules", {"join_rule": "public"})
    left, right = room.fork(), room.fork()
    left.levels(ALICE, {BOB: 50}, ban=60, depth=20)
    levels = right.levels(ALICE, {BOB: 0}, ban=60, depth=21)
    rules = left.sets(ALICE, "m.room.join_rules", {"join_rule": "invite"}, depth=22)
    right.sets(BOB, "m.room.join_rules", {"join_rule": "knock"}, depth=23)
    carol = right.joins(CAROL, displayname="Carol")
    left.says(ALICE)
    left.says(ALICE)
    left.member(BOB, CAROL, "ban")
    resolved = merge(left, right)
    assert resolved[LEVELS] == levels.event_id
    assert resolved[RULES] == rules.event_id
    assert resolved[carol.slot] == carol.event_id


def test_a_member_in_conflict_removes_nobody(room: Room) -> None:
    # No member is settled before another, so that Bob is nowhere while Carol is judged.
    left, right = room.fork(), room.fork()
    left.joins(BOB, displayname="Bob")
    carol = left.joins(CAROL, displayname="Carol")
    bob = right.joins(BOB, displayname="Robert")
    right.says(ALICE)
    right.member(BOB, CAROL, "ban")
    resolved = merge(left, right)
    assert resolved[carol.slot] == carol.event_id
    assert resolved[bob.slot] in (left.state[bob.slot], bob.event_id)


def test_what_is_not_known_wins_no_conflict(room: Room) -> None:
    left, right = room.fork(), room.fork()
    unknown = {
        left.sets(ALICE, "m.room.topic", {"topic": "left"}).event_id,
        left.levels(ALICE, {BOB: 40}).event_id,
        right.levels(ALICE, {BOB: 30}).event_id,
    }
    topic = right.sets(ALICE, "m.room.topic", {"topic": "right"})

    def fetch(event_id: EventID) -> object:
        return None if event_id in unknown else room.fetch(event_id)

    resolved = merge(left, right, fetch=fetch)  # type: ignore[arg-type]
    assert resolved[TOPIC] == topic.event_id
    assert LEVELS not in resolved


def test_without_a_create_event_nothing_is_allowed(room: Room) -> None:
    left, right = room.fork(), room.fork()
    for branch in (left, right):
        branch.sets(ALICE, "m.room.topic", {})
        del branch.state["m.room.create", ""]
    assert TOPIC not in merge(left, right)
