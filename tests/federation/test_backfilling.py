"""What was said before we came is fetched when somebody wants to read it, and no more of it."""

import asyncio
from typing import Any

import pytest

from federation.core.ids import EventID
from homeserver.services import backfilling
from tests.support import lies
from tests.support.answers import ANSWERS, Asked, Reply
from tests.support.peer import Peer
from tests.support.shared_room import SharedRoom, wire
from tests.support.world import User, World, ok, q, refused


@pytest.fixture
async def alice(ours: World) -> User:
    """Somebody of our server."""
    return await ours.user("alice")


def long_room(peer: Peer, count: int, **how: Any) -> tuple[SharedRoom, list[str]]:
    """Return a room in which much has been said, and what."""
    room = peer.creates_room("11", **how)
    creator = peer.user("creator")
    said = []
    for number in range(count):
        if number % 10 == 0:
            room.sets(creator, "m.test", {"number": number})
        said.append(room.says(creator, f"{number}").event_id)
    return room, [*said]


async def join(alice: User, room: SharedRoom, peer: Peer) -> None:
    """Join a room of the peer."""
    ok(await alice.post(f"/join/{q(room.room_id)}", via=peer.name))


async def reads_back(alice: User, room_id: str, pages: int = 100, **query: Any) -> list[dict[str, Any]]:
    """Page back from now, as far as it goes or some pages; return the events, oldest first."""
    events: list[dict[str, Any]] = []
    start: dict[str, Any] = {}
    for _ in range(pages):
        page = ok(await alice.get(f"/rooms/{q(room_id)}/messages", dir="b", limit=40, **start, **query))
        events += page["chunk"]
        if "end" not in page:
            break
        start = {"from": page["end"]}
    return events[::-1]


def ids(events: list[dict[str, Any]], event_type: str = "m.room.message") -> list[str]:
    """Return the IDs of messages."""
    return [event["event_id"] for event in events if event["type"] == event_type]


async def test_the_whole_past_is_read_in_order_and_each_event_once(ours: World, alice: User, peer: Peer) -> None:
    room, said = long_room(peer, 250)
    await join(alice, room, peer)
    assert not peer.asked_for("backfill")
    events = await reads_back(alice, room.room_id)
    assert ids(events) == said
    assert [event["event_id"] for event in events] == [event.event_id for event in room.timeline()]
    assert events[0]["type"] == "m.room.create"
    # Then it is here.
    asked = len(peer.asked_for("backfill"))
    assert 3 <= asked <= 6
    assert ids(await reads_back(alice, room.room_id)) == said
    assert len(peer.asked_for("backfill")) == asked


async def test_no_more_is_fetched_than_is_read(ours: World, alice: User, peer: Peer) -> None:
    room, said = long_room(peer, 300)
    await join(alice, room, peer)
    events = await reads_back(alice, room.room_id, pages=1)
    assert ids(events) == said[-len(ids(events)) :]
    assert len(peer.asked_for("backfill")) == 1


async def test_what_one_may_not_see_is_fetched_for_nobody(ours: World, alice: User, peer: Peer) -> None:
    room, _ = long_room(peer, 20, history="joined")
    await join(alice, room, peer)
    assert ids(await reads_back(alice, room.room_id)) == []
    assert len(peer.asked_for("backfill")) <= 1


async def test_where_nobody_gives_anything_nobody_is_asked_again_soon(ours: World, alice: User, peer: Peer) -> None:
    room, _ = long_room(peer, 20)
    await join(alice, room, peer)
    peer.instead["backfill"] = lies.fails(500)
    for _ in range(3):
        assert ids(await reads_back(alice, room.room_id)) == []
    assert len(peer.asked_for("backfill")) == 1


async def test_what_is_not_asked_for_or_not_signed_is_not_taken(ours: World, alice: User, peer: Peer) -> None:
    room, said = long_room(peer, 5)
    other = peer.creates_room("11")
    evil = other.says(peer.user("creator"), "evil")
    beside = room.make(peer.user("creator"), "m.room.message", {"body": "evil"}, prev=[EventID("$" + "A" * 43)])

    async def more(peer: Peer, asked: Asked) -> Reply:
        answer = dict(await ANSWERS["backfill"](peer, asked))  # type: ignore[arg-type]
        forged = {**answer["pdus"][2], "signatures": {peer.name: {peer.key.key_id: "A" * 86}}}
        answer["pdus"] = [wire(evil), wire(beside), *answer["pdus"][:2], forged, *answer["pdus"][3:], None, {}]
        return answer

    peer.instead["backfill"] = more
    await join(alice, room, peer)
    events = await reads_back(alice, room.room_id)
    assert "evil" not in [event["content"].get("body") for event in events]
    assert ids(events)[-2:] == said[-2:]


async def test_readers_at_the_same_time_wait_for_one_another(ours: World, alice: User, peer: Peer) -> None:
    room, said = long_room(peer, 30)
    await join(alice, room, peer)
    pages = await asyncio.gather(*(reads_back(alice, room.room_id) for _ in range(4)))
    assert [ids(page) for page in pages] == [said] * 4
    assert len(peer.asked_for("backfill")) == 1


async def test_a_server_that_is_silent_keeps_a_reader_only_so_long(
    ours: World, alice: User, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfilling, "SECONDS", 0.2)
    room, _ = long_room(peer, 5)
    await join(alice, room, peer)
    peer.instead["backfill"] = lies.silent
    assert ids(await reads_back(alice, room.room_id)) == []


async def test_an_old_event_is_found_by_its_id(ours: World, alice: User, peer: Peer) -> None:
    room, said = long_room(peer, 150)
    await join(alice, room, peer)
    context = ok(await alice.get(f"/rooms/{q(room.room_id)}/context/{q(said[30])}", limit=4))
    assert context["event"]["event_id"] == said[30]
    assert [event["event_id"] for event in context["events_after"]][-1] in said[31:34]
    # One that nobody has costs one question, and not the whole past.
    asked = len(peer.asked_for("backfill"))
    unknown = "$" + "A" * 43
    refused(await alice.get(f"/rooms/{q(room.room_id)}/context/{q(unknown)}"), 404, "M_NOT_FOUND")
    assert len(peer.asked_for("backfill")) == asked
    # Who is not in the room makes nobody ask.
    mallory = await ours.user("mallory")
    before = len(peer.asked)
    refused(await mallory.get(f"/rooms/{q(room.room_id)}/event/{q(said[0])}"), 404, "M_NOT_FOUND")
    assert len(peer.asked) == before


async def test_a_day_long_ago_is_found(ours: World, alice: User, peer: Peer) -> None:
    now = peer.now_ms()
    room = peer.creates_room("11")
    creator = peer.user("creator")
    day = 86_400_000
    said = [room.says(creator, f"{number}", ts=now - (60 - number) * day) for number in range(60)]
    await join(alice, room, peer)
    path = f"/_matrix/client/v1/rooms/{q(room.room_id)}/timestamp_to_event"
    for direction, ts, number in (("f", now - 40 * day - 5, 20), ("b", now - 40 * day + 5, 20)):
        found = ok(await alice.get(path, dir=direction, ts=ts))
        assert found == {"event_id": said[number].event_id, "origin_server_ts": said[number].origin_server_ts}
    # What is between our own events, nobody knows better.
    asked = len(peer.asked_for("timestamp_to_event"))
    message = await alice.says(room.room_id)
    assert ok(await alice.get(path, dir="b", ts=now + day))["event_id"] == message
    assert len(peer.asked_for("timestamp_to_event")) == asked
