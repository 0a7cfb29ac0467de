"""Other servers read the past of rooms, and what they have missed."""

import itertools

import pytest

from federation.core.ids import RoomID
from tests.federation_api.asking import Asking
from tests.federation_api.rooms import pdus, public_room
from tests.support.world import User, World, ok, refused


@pytest.fixture
async def room_id(asks: Asking, ours: World, alice: User) -> RoomID:
    """A room of Alice's in which the peer's Bob is."""
    room_id = await public_room(alice)
    await asks.peer.joins(asks.peer.user("bob"), room_id, ours.name)
    return room_id


async def test_the_past_comes_newest_first_with_the_event_one_starts_from(
    asks: Asking, alice: User, room_id: RoomID
) -> None:
    said = [await alice.says(room_id, str(number)) for number in range(5)]
    answer = ok(await asks.backfill(room_id, said[3], limit=3))
    assert list(pdus(answer["pdus"])) == [said[3], said[2], said[1]]


async def test_the_past_ends_with_the_room(asks: Asking, alice: User, room_id: RoomID) -> None:
    said = await alice.says(room_id)
    found = list(pdus(ok(await asks.backfill(room_id, said, limit=1000))["pdus"]).values())
    assert found[-1].type == "m.room.create"
    assert len({pdu.event_id for pdu in found}) == len(found)
    assert all(later.depth >= earlier.depth for later, earlier in itertools.pairwise(found))


async def test_no_more_than_a_hundred_events_come_at_once(asks: Asking, alice: User, room_id: RoomID) -> None:
    for number in range(110):
        last = await alice.says(room_id, str(number))
    assert len(ok(await asks.backfill(room_id, last, limit=1000))["pdus"]) == 100
    assert len(ok(await asks.missing(room_id, [], [last], limit=1000))["events"]) == 100


async def test_starts_that_are_unknown_or_elsewhere_give_nothing(asks: Asking, alice: User, room_id: RoomID) -> None:
    elsewhere = await alice.says(await public_room(alice))
    answer = ok(await asks.backfill(room_id, "$" + "A" * 43, "nonsense", "$\x01", elsewhere))
    assert answer["pdus"] == []


async def test_how_far_back_and_from_where_must_be_said(asks: Asking, room_id: RoomID) -> None:
    refused(await asks.get(f"/v1/backfill/{room_id}", v="$x"), 400, "M_MISSING_PARAM")
    refused(await asks.get(f"/v1/backfill/{room_id}", limit=3), 400, "M_MISSING_PARAM")
    refused(await asks.backfill(room_id, "$x", limit=0), 400, "M_INVALID_PARAM")
    refused(await asks.post(f"/v1/get_missing_events/{room_id}", {}), 400, "M_MISSING_PARAM")


async def test_missing_events_are_those_between_oldest_first(asks: Asking, alice: User, room_id: RoomID) -> None:
    said = [await alice.says(room_id, str(number)) for number in range(6)]
    answer = ok(await asks.missing(room_id, [said[1]], [said[5]]))
    assert list(pdus(answer["events"])) == said[2:5]


async def test_of_many_missing_events_the_newest_come(asks: Asking, alice: User, room_id: RoomID) -> None:
    said = [await alice.says(room_id, str(number)) for number in range(6)]
    answer = ok(await asks.missing(room_id, [said[0]], [said[5]], limit=2))
    assert list(pdus(answer["events"])) == said[3:5]
    assert len(ok(await asks.missing(room_id, [], [said[5]]))["events"]) == 10


async def test_events_of_less_than_a_depth_are_not_missing(asks: Asking, alice: User, room_id: RoomID) -> None:
    said = [await alice.says(room_id, str(number)) for number in range(6)]
    (third,) = pdus(ok(await asks.event(said[2]))["pdus"]).values()
    answer = ok(await asks.missing(room_id, [], [said[5]], limit=50, min_depth=third.depth))
    assert list(pdus(answer["events"])) == said[2:5]


async def test_what_one_already_has_is_not_missing(asks: Asking, alice: User, room_id: RoomID) -> None:
    said = [await alice.says(room_id, str(number)) for number in range(2)]
    assert ok(await asks.missing(room_id, [said[1]], [said[1]]))["events"] == []
    assert ok(await asks.missing(room_id, [said[0]], [said[1]]))["events"] == []


async def test_both_branches_of_a_fork_are_the_past(asks: Asking, ours: World, alice: User, room_id: RoomID) -> None:
    room, bob = asks.peer.rooms[room_id], asks.peer.user("bob")
    said = await alice.says(room_id)
    branch = room.says(bob, "aside")
    assert await asks.peer.delivers(ours.name, branch) == {branch.event_id: {}}
    after = await alice.says(room_id)
    found = pdus(ok(await asks.backfill(room_id, after, limit=3))["pdus"])
    assert next(iter(found)) == after
    assert set(found) == {after, said, branch.event_id}


async def test_rejected_events_are_not_told_and_what_was_before_them_is(
    asks: Asking, ours: World, alice: User, room_id: RoomID
) -> None:
    room, bob = asks.peer.rooms[room_id], asks.peer.user("bob")
    first = room.says(bob, "first")
    forbidden = room.sets(bob, "m.room.topic", {"topic": "mine"})
    last = room.says(bob, "last")
    results = await asks.peer.delivers(ours.name, first, forbidden, last)
    assert [event_id for event_id, result in results.items() if result] == [forbidden.event_id]

    past = list(pdus(ok(await asks.backfill(room_id, last.event_id, limit=2))["pdus"]))
    assert past == [last.event_id, first.event_id]
    missing = list(pdus(ok(await asks.missing(room_id, [], [last.event_id], limit=1))["events"]))
    assert missing == [first.event_id]
    refused(await asks.event(forbidden.event_id), 404, "M_NOT_FOUND")
    refused(await asks.state(room_id, forbidden.event_id), 404, "M_NOT_FOUND")
