"""A server that is killed while a user comes into a room of another one, or while the room's past is fetched: it starts
again, goes on with what was begun, and what it has stored fits together."""

import asyncio
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest
import sqlalchemy as sa

from tests.federation.across import reads_back
from tests.support import forked_consistency
from tests.support.answers import ANSWERS, Asked, Reply
from tests.support.certificates import Authority
from tests.support.pair import file_in, in_process_of_its_own
from tests.support.peer import Peer
from tests.support.process import ServerProcess
from tests.support.shared_room import SharedRoom
from tests.support.waiting import asking
from tests.support.world import User, ok, q

MEMBERS = 60
MESSAGES = 150
MOMENTS = (None, 0.0, 0.05)
"""Seconds after an answer at which the server is killed; None: it never got one."""


def large_room(peer: Peer) -> SharedRoom:
    """Return a room with members and messages."""
    room = peer.creates_room("11")
    for number in range(MEMBERS):
        member = peer.user(f"member{number}")
        room.member(member, member, "join")
    for number in range(MESSAGES):
        room.says(peer.user("creator"), f"message {number}")
    return room


async def kills_at(peer: Peer, ability: str, seconds: float | None, server: ServerProcess) -> None:
    """Let the server be killed when it has asked for something, and start again."""
    asked, answered = asyncio.Event(), asyncio.Event()

    async def reply(peer: Peer, request: Asked) -> Reply:
        answer = await ANSWERS[ability](peer, request)
        asked.set()
        if seconds is None:
            await answered.wait()
        return answer

    peer.instead[ability] = reply
    await asked.wait()
    await asyncio.sleep(seconds or 0)
    await server.dies()
    peer.instead.clear()
    answered.set()
    await server.starts()


async def check(server: ServerProcess, directory: Path) -> None:
    """Hold what is stored against itself, while the server is down."""
    await server.dies()
    engine = sa.create_engine(file_in(directory))
    with engine.connect() as conn:
        forked_consistency.check(conn)
    engine.dispose()
    await server.starts()


async def tries(user: User, method: str, path: str) -> None:
    """Ask a server that may not live to answer."""
    with suppress(aiohttp.ClientError, OSError):
        await (user.post(path) if method == "POST" else user.get(path, dir="b", limit=100))


async def until_joined(user: User, room_id: str) -> None:
    """Wait until a user is in a room."""
    await asking(lambda: user.get("/joined_rooms"), lambda answer: room_id in answer[1]["joined_rooms"])


async def until_read(user: User, room_id: str) -> list[str]:
    """Return all messages of the room, once they are there."""
    return await asking(lambda: reads_back(user, room_id, 100), lambda seen: len(seen) >= MESSAGES)


@pytest.mark.timeout(300)
async def test_a_server_that_is_killed_goes_on_with_a_join(authority: Authority, peer: Peer, tmp_path: Path) -> None:
    async with in_process_of_its_own(authority, tmp_path / "ours") as (server, site):
        alice = await site.user("alice")
        for ability, moment in [("make_join", None), *(("send_join", moment) for moment in MOMENTS)]:
            room = large_room(peer)
            joining = asyncio.create_task(tries(alice, "POST", f"/join/{q(room.room_id)}?via={peer.name}"))
            await kills_at(peer, ability, moment, server)
            await joining
            await until_joined(alice, room.room_id)
            members = ok(await alice.get(f"/rooms/{q(room.room_id)}/joined_members"))["joined"]
            assert len(members) == MEMBERS + 2
        await check(server, tmp_path / "ours")


@pytest.mark.timeout(300)
async def test_a_server_that_is_killed_while_it_fetches_the_past_fetches_it_again(
    authority: Authority, peer: Peer, tmp_path: Path
) -> None:
    async with in_process_of_its_own(authority, tmp_path / "ours") as (server, site):
        alice = await site.user("alice")
        for moment in MOMENTS:
            room = large_room(peer)
            ok(await alice.post(f"/join/{q(room.room_id)}?via={peer.name}"))
            reading = asyncio.create_task(tries(alice, "GET", f"/rooms/{q(room.room_id)}/messages"))
            await kills_at(peer, "backfill", moment, server)
            await reading
            texts = await until_read(alice, room.room_id)
            assert sorted(texts) == sorted(f"message {number}" for number in range(MESSAGES))
        await check(server, tmp_path / "ours")
