"""A server that was away, or cut off, has all that happened meanwhile soon after it is back, and in order."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import DATABASES, POSTGRES
from tests.federation.across import Sides, agree, joins, reads_back
from tests.support.certificates import Authority
from tests.support.pair import database, federating, gated
from tests.support.ports import free_port
from tests.support.synapse import Synapse
from tests.support.waiting import asking
from tests.support.world import Site, User, World, q

ROOMS = 20
EVENTS = 1000
SOON_SECONDS = 50
"""On a machine that is busy with other tests. Alone, the whole test takes 3 s on SQLite."""

_numbers = itertools.count(1)


@dataclass(slots=True)
class Absent:
    """A server of ours that can go and come back."""

    authority: Authority
    directory: Path
    database_url: str
    port: int

    @asynccontextmanager
    async def there(self) -> AsyncIterator[World]:
        """Be there, with all that there was before."""
        async with federating(self.authority, self.directory, self.database_url, port=self.port) as world:
            yield world


async def talks(user: User, rooms: list[str], events: int) -> dict[str, list[str]]:
    """Let somebody say so much in all rooms, which are busy at the same time; return what, by room."""

    async def talk(room: str) -> tuple[str, list[str]]:
        said = [f"message {number}" for number in range(events // len(rooms))]
        for number, text in enumerate(said):
            if number % 10 == 5:
                await user.sets(room, "m.room.topic", {"topic": text})
            await user.says(room, text)
        return room, said

    return dict(await asyncio.gather(*(talk(room) for room in rooms)))


async def rooms_of(creator: User, joiner: User, count: int, **how: Any) -> list[str]:
    """Let two people share rooms."""
    how["power_level_content_override"] = {"events": {"m.room.topic": 0}}
    rooms = [await creator.creates_room(preset="public_chat", **how) for _ in range(count)]
    for room in rooms:
        await creator.says(room, "before")
        await joins(joiner, room, creator.world.name)
        await asking(
            lambda room=room: creator.get(f"/rooms/{q(room)}/state/m.room.member/{q(joiner.user_id)}"),  # type: ignore[misc]
            lambda answer: answer[0] == 200,
        )
    return rooms


async def check_has_all(speaker: User, user: User, said: dict[str, list[str]]) -> None:
    """Check that somebody gets to see all of what was said, in order, and the same state, soon."""
    started = time.monotonic()
    for room, texts in said.items():
        await has(user, room, ["before", *texts])
    took = time.monotonic() - started
    assert took < SOON_SECONDS, f"it took {took:.1f} s"
    for room in said:
        await agree(room, speaker, user)


async def has(user: User, room: str, wanted: list[str]) -> None:
    """Wait until somebody reads all of a room, in order."""
    assert await asking(lambda: reads_back(user, room), lambda seen: len(seen) >= len(wanted), SOON_SECONDS) == wanted


@pytest.mark.sqlite_enough
@pytest.mark.parametrize("absent", ["joiner", "creator"])
@pytest.mark.parametrize("kind", DATABASES)
async def test_who_was_down_has_a_thousand_events_soon(
    authority: Authority, tmp_path: Path, kind: str, absent: str
) -> None:
    async with AsyncExitStack() as stack:
        stays, goes = [
            Absent(
                authority, tmp_path / name,
                await stack.enter_async_context(database(kind, POSTGRES, tmp_path / name)), free_port(),
            )
            for name in ("stays", "goes")
        ]  # fmt: skip
        there = await stack.enter_async_context(stays.there())
        async with goes.there() as other:
            speaker, away = await there.user("speaker"), await other.user("away")
            creator, joiner = (speaker, away) if absent == "joiner" else (away, speaker)
            rooms = await rooms_of(creator, joiner, ROOMS)
        said = await talks(speaker, rooms, EVENTS)
        async with goes.there() as other:
            away.world = other
            await check_has_all(speaker, away, said)
            # And it works as before, in both directions.
            answer = await away.says(rooms[0], "I am back")
            await asking(lambda: speaker.get(f"/rooms/{q(rooms[0])}/event/{q(answer)}"), lambda a: a[0] == 200)


async def test_who_was_cut_off_has_all_soon_whoever_spoke(authority: Authority, tmp_path: Path) -> None:
    async with (
        gated(authority, tmp_path / "one") as (one, gate),
        gated(authority, tmp_path / "other") as (other, other_gate),
    ):
        alice, bob = await one.user("alice"), await other.user("bob")
        rooms = await rooms_of(alice, bob, 4)
        gate.shut.add("*")
        other_gate.shut.add("*")
        hers, his = await asyncio.gather(talks(alice, rooms[:2], 100), talks(bob, rooms[2:], 100))
        assert gate.kept_out, "nobody tried"
        gate.shut.clear()
        other_gate.shut.clear()
        await asyncio.gather(check_has_all(alice, bob, hers), check_has_all(bob, alice, his))


async def test_who_was_away_has_what_happened_on_synapse(authority: Authority, tmp_path: Path, synapse: Site) -> None:
    ours = Absent(authority, tmp_path / "ours", "", free_port())
    speaker = await synapse.user(f"speaker{next(_numbers)}")
    async with ours.there() as world:
        away = await world.user("away")
        rooms = await rooms_of(speaker, away, 3, room_version="11")
    said = await talks(speaker, rooms, 150)
    async with ours.there() as world:
        away.world = world
        # Synapse tries again by itself, or when it hears of us.
        await asking(lambda: away.says(rooms[0], "I am back"), bool)
        said[rooms[0]].append("I am back")
        for room in rooms[1:]:
            await speaker.says(room, "are you?")
            said[room].append("are you?")
        for room, texts in said.items():
            assert (await agree(room, speaker, away))["m.room.topic", ""]
            seen = await asking(lambda room=room: reads_back(away, room), lambda seen: texts[-2] in seen)  # type: ignore[misc] # noqa: B023
            assert sorted(seen) == sorted(["before", *texts])
            assert [text for text in seen if text not in ("I am back", "are you?")] == ["before", *texts[:-1]]


async def test_synapse_that_was_away_has_what_happened_here(
    authority: Authority, tmp_path: Path, synapse_process: Synapse, synapse: Site
) -> None:
    async with federating(authority, tmp_path) as world:
        sides = Sides(world, synapse)
        alice, bob = await sides.two()
        rooms = await rooms_of(alice, bob, 3, room_version="11")
        await asyncio.to_thread(synapse_process.stops)
        try:
            said = await talks(alice, rooms, 150)
        finally:
            await asyncio.to_thread(synapse_process.starts)
        await check_has_all(alice, bob, said)
