"""What the server sends stands before its own judgement: every event passes the checks on receipt, in every version.

People do random things in a room; then each event of the server, old room and new, is read back as another server would
get it, and judged by its auth events, by the state before it and by the state that stood when it came.
"""

import asyncio
import json
import tempfile
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from federation.core.auth.receipt import ACCEPTED, Received, judge, verify
from federation.core.auth.selection import Slot
from federation.core.events.pdu import Pdu
from federation.core.ids import EventID, RoomID
from federation.core.room_versions import ROOM_VERSIONS
from homeserver.model.events import Event
from homeserver.model.nids import EventNid
from homeserver.storage.schema.rooms import events as events_table
from tests.conftest import DATABASES, POSTGRES
from tests.support.world import SERVER_NAME, User, World, fresh_postgres_database, ok, q

VERSIONS = list(ROOM_VERSIONS)
PEOPLE = ("alice", "bob", "carol")

who = st.integers(0, len(PEOPLE) - 1)
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["join", "leave", "knock", "say", "redact", "rename"]), who, st.just(0)),
        st.tuples(st.sampled_from(["invite", "kick", "ban", "unban", "promote"]), who, who),
        st.tuples(st.just("rule"), who, st.integers(0, 4)),
    ),
    max_size=25,
)
RULES = ("public", "invite", "knock", "restricted", "knock_restricted")


async def _act(people: list[User], room: str, hall: str, action: tuple[str, int, int], serial: int) -> None:
    """Try one thing; that it may be refused is part of the game."""
    verb, actor, other = action
    user, path = people[actor], f"/rooms/{q(room)}"
    target = people[other % len(people)]
    if verb in ("join", "leave", "knock"):
        await user.post(f"/{verb}/{q(room)}" if verb != "leave" else f"{path}/leave", {"reason": str(serial)})
    elif verb in ("invite", "kick", "ban", "unban"):
        await user.post(f"{path}/{verb}", {"user_id": target.user_id})
    elif verb == "say":
        await user.put(f"{path}/send/m.room.message/{serial}", {"msgtype": "m.text", "body": "ü" * serial})
    elif verb == "rename":
        await user.put(f"/profile/{user.user_id}/displayname", {"displayname": f"{actor} {serial}"})
    elif verb == "redact":
        _, page = await user.get(f"{path}/messages", dir="b", limit=5)
        for event in page.get("chunk", ())[-1:]:
            await user.put(f"{path}/redact/{q(event['event_id'])}/{serial}", {})
    elif verb == "promote":
        _, levels = await user.get(f"{path}/state/m.room.power_levels/")
        if isinstance(levels, dict) and "users" in levels:
            levels["users"][target.user_id] = 50
            await user.put(f"{path}/state/m.room.power_levels/", levels)
    else:
        allow = [{"type": "m.room_membership", "room_id": hall}]
        await user.put(f"{path}/state/m.room.join_rules/", {"join_rule": RULES[other], "allow": allow})


async def _play(world: World, version: str, actions: list[tuple[str, int, int]]) -> None:
    people = [await world.user(name) for name in PEOPLE]
    alice = people[0]
    hall = await alice.creates_room(preset="public_chat", room_version=version)
    for person in people[1:]:
        await person.joins(hall)
    room = await alice.creates_room(
        people[1], room_version=version, preset="trusted_private_chat", name="Room", room_alias_name="room"
    )
    for serial, action in enumerate(actions):
        await _act(people, room, hall, action, serial)
    await alice.post(f"/rooms/{q(room)}/upgrade", {"new_version": version})


async def _all_events(world: World) -> list[Event]:
    store = world.app.services.rooms.timeline.events

    def read(conn: Connection) -> list[Event]:
        nids = [
            EventNid(nid) for nid in conn.execute(sa.select(events_table.c.nid).order_by(events_table.c.nid)).scalars()
        ]
        found = store.by_nids(conn, nids)
        return [found[nid] for nid in nids]

    return await world.app.services.db.read(read)


async def _judge_all(world: World) -> int:
    """Judge every event of the server as one that came from it; return how many there are."""
    key = world.app.services.server_keys.own.signing
    known: dict[EventID, Pdu] = {}
    states: dict[RoomID, dict[Slot, Pdu]] = {}
    stored = await _all_events(world)
    for event in stored:
        wire = json.loads(json.dumps(dict(event.pdu.fields)))
        pdu = Pdu.from_wire(wire, event.version)
        assert pdu.event_id == event.event_id
        received = verify(
            pdu, lambda server, key_id: key.public_key if (server, key_id) == (SERVER_NAME, key.key_id) else None
        )
        assert isinstance(received, Received), received
        assert received.fault is None
        # What has been redacted since has the hash of what it was, if that was another.
        assert not received.redacted or event.redacted_by is not None
        state = states.setdefault(event.room_id, {})
        create = state.get(("m.room.create", ""))
        verdict = judge(
            received,
            auth_events=[known[cited] for cited in pdu.auth_events],
            create=create,
            before=dict(state),
            current=state,
        )
        assert verdict == ACCEPTED, (event.type, event.content, verdict)
        known[pdu.event_id] = pdu
        if pdu.state_key is not None:
            state[pdu.slot] = pdu
    return len(stored)


async def _in_a_world(database: str, play: Callable[[World], Awaitable[None]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory)
        if database == "sqlite":
            async with World.start(f"sqlite:///{path}/isthmus.db", path) as world:
                await play(world)
        else:
            async with fresh_postgres_database(POSTGRES) as url, World.start(url, path) as world:
                await play(world)


@pytest.mark.parametrize("database", DATABASES)
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(version=st.sampled_from(VERSIONS), actions=ACTIONS)
def test_whatever_people_do_every_event_passes_the_checks_on_receipt(
    database: str, version: str, actions: list[tuple[str, int, int]]
) -> None:
    async def play(world: World) -> None:
        await _play(world, version, actions)
        assert await _judge_all(world) > 10

    asyncio.run(_in_a_world(database, play))


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_life_of_a_room_in_every_version_passes_the_checks_on_receipt(world: World, version: str) -> None:
    actions = [
        ("join", 1, 0), ("rule", 0, 3), ("join", 2, 0), ("say", 1, 0), ("rename", 1, 0), ("say", 0, 0),
        ("redact", 0, 0), ("rename", 0, 0), ("kick", 0, 2), ("rule", 0, 2), ("knock", 2, 0), ("invite", 0, 2),
        ("join", 2, 0), ("promote", 0, 2), ("ban", 0, 2), ("unban", 0, 2), ("rule", 0, 0), ("join", 2, 0),
        ("leave", 2, 0), ("say", 0, 0),
    ]  # fmt: skip

    await _play(world, version, actions)

    assert await _judge_all(world) > 35


async def test_events_sent_at_once_stand_in_one_row(world: World, alice: User, bob: User) -> None:
    room = await alice.creates_room(bob)
    await bob.joins(room)

    sent = await asyncio.gather(*(user.says(room, str(n)) for n in range(20) for user in (alice, bob)))

    row = [event for event in await _all_events(world) if event.room_id == room]
    assert len(set(sent)) == 40
    assert [event.depth for event in row] == list(range(1, len(row) + 1))
    for before, event in pairwise(row):
        assert list(event.pdu.prev_events) == [before.event_id]


async def test_what_is_refused_stands_nowhere_though_others_share_its_commit(
    world: World, alice: User, bob: User
) -> None:
    room = await alice.creates_room()
    before = len(await _all_events(world))

    async def tries(user: User, n: int) -> int:
        status, _ = await user.put(f"/rooms/{q(room)}/send/m.room.message/{n}", {"msgtype": "m.text", "body": "x"})
        return status

    statuses = await asyncio.gather(*(tries(user, n) for n in range(10) for user in (alice, bob)))

    assert sorted(statuses) == [200] * 10 + [403] * 10
    assert len(await _all_events(world)) == before + 10
    await _judge_all(world)


async def test_state_that_says_the_same_again_is_not_sent_again(world: World, alice: User) -> None:
    room = await alice.creates_room()

    first = await alice.sets(room, "m.room.name", {"name": "A"})
    before = len(await _all_events(world))

    assert await alice.sets(room, "m.room.name", {"name": "A"}) == first
    assert len(await _all_events(world)) == before
    assert await alice.sets(room, "m.room.name", {"name": "B"}) != first
    ok(await alice.get(f"/rooms/{q(room)}/state/m.room.name"))
