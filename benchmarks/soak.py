"""Loads a server for minutes, and watches that its memory does not grow and its event loop is never late.

Looked at is the memory that is the server's alone. SQLite maps the database's file besides, up to 256 MiB of it: those
pages are the system's cache, come and go, and are more as the database grows.
"""

import asyncio
import sys
import time
from statistics import mean

from benchmarks.client import User
from benchmarks.deliveries import listening
from benchmarks.fan_out import lag_percentile
from benchmarks.measuring import Bench
from benchmarks.server import running

SMALL_CACHES = {"ISTHMUS_CACHES__BUDGET_BYTES": str(16 * 1024 * 1024)}
"""So that they are full early, and what grows afterwards should not."""
LISTENERS = 50
MESSAGES_A_SECOND = 40
SAMPLES = 40
GROWTH = 1.05
"""How much more memory the last quarter may take than the second."""


async def run(minutes: float) -> int:
    """Run for so long; return 0 if memory stayed flat, else 1."""
    async with running("isthmus", options=SMALL_CACHES) as server:
        bench = Bench(server)
        people = await bench.people(LISTENERS)
        rooms = [await bench.room(people), *[await bench.room(people[at : at + 5]) for at in range(0, LISTENERS, 5)]]
        samples: list[float] = []
        async with listening(people, rooms[0]) as listeners:
            until = time.perf_counter() + 60 * minutes
            talk = asyncio.create_task(_talk(bench, people, rooms, until))
            while not talk.done():
                await asyncio.wait([talk], timeout=60 * minutes / SAMPLES)
                samples.append(server.own_bytes() / 2**20)
                resident = server.resident_bytes() / 2**20
                print(f"{len(samples)}/{SAMPLES}: {samples[-1]:.1f} MiB, {resident:.0f} with files", file=sys.stderr)
            sent = await talk
            heard = sum(len(listener.heard) for listener in listeners)
        lag = lag_percentile(await server.lag(), 0.99)
    quarter = max(1, len(samples) // 4)
    early, late = mean(samples[quarter : 2 * quarter] or samples), mean(samples[-quarter:])
    flat = late <= early * GROWTH
    print(f"{sent:,} messages in {minutes:g} minutes, {heard:,} heard in the room of all")
    print(
        f"memory: {early:.1f} MiB in the second quarter, {late:.1f} MiB in the last: {'flat' if flat else 'it grows'}"
    )
    print(f"event loop: 99 of 100 times less than {1000 * lag:.1f} ms late")
    return 0 if flat else 1


async def _talk(bench: Bench, people: list[User], rooms: list[str], until: float) -> int:
    """Send into all rooms in turn at a steady rate, with a room made and a history read now and then."""
    began, sent = time.perf_counter(), 0
    while time.perf_counter() < until:
        place = sent % len(rooms)
        sender = people[(place - 1) * 5 if place else sent % LISTENERS]
        await sender.says(rooms[place], next(bench.numbers))
        sent += 1
        if sent % 100 == 0:
            room = await sender.creates_room()
            await people[sent // 100 % LISTENERS].joins(room)
            await sender.ask("GET", f"/rooms/{rooms[place]}/messages?dir=b&limit=50")
            await (await sender.on_another_device()).syncs()
        await asyncio.sleep(began + sent / MESSAGES_A_SECOND - time.perf_counter())
    return sent
