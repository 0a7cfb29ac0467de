"""What the server finds by looking at little of large states is what the law makes of all of them."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from federation.core.auth.receipt import Received, VerdictKind
from federation.core.auth.selection import Slot
from federation.core.ids import EventID
from federation.core.state.resolve import resolve
from homeserver.storage import rooms
from homeserver.storage.database import Write
from tests.support.headless import HeadlessServer, start_on_sqlite
from tests.support.rooms import ALICE, BOB, CAROL, Room

NAME, TOPIC = ("m.room.name", ""), ("m.room.topic", "")
State = dict[Slot, EventID]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[HeadlessServer]:
    """A server without doors."""
    (started,) = await start_on_sqlite(["hs1"], tmp_path)
    yield started
    await started.db.close()


async def _resolves(server: HeadlessServer, room: Room, states: Sequence[State]) -> State:
    """Return what the server makes of some states, its events being stored in the order in which they were made."""

    def write(tx: Write) -> State:
        timeline = server.timeline
        nid = rooms.create(tx, timeline.names, room.create.room_id, room.version, 0).nid
        for event in room.events.values():
            verdict = server.intake.outliers(tx, nid, [Received(event)])[event.event_id]
            assert verdict.kind is VerdictKind.ACCEPTED, verdict
        stored = timeline.events.by_ids(tx.conn, room.events)
        slots = timeline.names.slots(tx.conn, {slot for state in states for slot in state})
        snapshots = [
            timeline.snapshots.store_state(
                tx, nid, None, {slots[slot]: stored[event_id].nid for slot, event_id in state.items()}
            )
            for state in states
        ]
        found = timeline.resolution.of(tx, nid, room.version, snapshots)
        pairs = timeline.names.slot_pairs(tx.conn, list(found.state))
        named = timeline.events.by_nids(tx.conn, list(found.state.values()))
        return {pairs[slot]: named[event].event_id for slot, event in found.state.items()}

    return await server.db.write(write)


@pytest.mark.parametrize("version", ["2", "11", "12"])
async def test_auth_chains_that_meet_far_down_are_followed_until_they_do(server: HeadlessServer, version: str) -> None:
    room = Room.public(version, {BOB: 90}, joined=[BOB])
    beside = room.fork()
    room.levels(BOB, {BOB: 90}, ban=60)
    name = room.sets(BOB, *NAME[:1], {"name": "his"})
    old_topic = beside.sets(ALICE, *TOPIC[:1], {"topic": "old"})
    room.levels(ALICE, {BOB: 50}, ban=61)
    new_topic = room.sets(ALICE, *TOPIC[:1], {"topic": "new"})
    room.levels(ALICE, {BOB: 0})
    agreed = {slot: event_id for slot, event_id in room.state.items() if slot not in (NAME, TOPIC)}
    states: list[State] = [
        {**agreed, TOPIC: old_topic.event_id, NAME: name.event_id},
        {**agreed, TOPIC: new_topic.event_id, NAME: name.event_id},
        {**agreed, TOPIC: new_topic.event_id},
    ]
    law = resolve(states, room.version, room.fetch)
    assert await _resolves(server, room, states) == law


@pytest.mark.parametrize("version", ["2", "11", "12"])
async def test_what_agreed_state_stands_on_is_in_doubt_for_nobody(server: HeadlessServer, version: str) -> None:
    room = Room.public(version, {BOB: 90}, joined=[BOB])
    first = room.sets(BOB, *NAME[:1], {"name": "first"})
    room.levels(ALICE, {BOB: 50, CAROL: 50})
    room.joins(CAROL)
    second = room.sets(CAROL, *NAME[:1], {"name": "second"})
    room.levels(ALICE, {BOB: 50, CAROL: 0})
    agreed = {slot: event_id for slot, event_id in room.state.items() if slot != NAME}
    states: list[State] = [
        {**agreed, NAME: first.event_id},
        {**agreed, NAME: second.event_id},
        agreed,
    ]
    law = resolve(states, room.version, room.fetch)
    assert await _resolves(server, room, states) == law
