"""People who wait: each in a long poll, for what others say."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from benchmarks.client import User
from benchmarks.measuring import Bench, Cost, Measurement

POLL_MS = 30_000
QUIET_SECONDS = 1.0
PATIENCE_SECONDS = 30.0


@dataclass
class Listener:
    """One device in a loop of long polls."""

    user: User
    room: str
    heard: list[tuple[str, float]] = field(default_factory=list)
    """The messages that have come, with the moments, in their order."""
    news: asyncio.Event = field(default_factory=asyncio.Event)
    answered_at: float = 0.0

    async def listen(self) -> None:
        """Sync for ever."""
        while True:
            answer, self.answered_at = await self.user.syncs(POLL_MS)
            room = answer.get("rooms", {}).get("join", {}).get(self.room, {})
            for event in room.get("timeline", {}).get("events", ()):
                if event["type"] == "m.room.message":
                    self.heard.append((event["content"]["body"], self.answered_at))
                    self.news.set()

    async def hears(self, messages: int) -> None:
        """Return when so many messages have come. Raises TimeoutError if they do not."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(self.heard) < messages:
                self.news.clear()
                await self.news.wait()


@asynccontextmanager
async def listening(people: list[User], room: str) -> AsyncIterator[list[Listener]]:
    """Let people wait in long polls, after what their coming has set off has died down."""
    listeners = [Listener(user, room) for user in people]
    for listener in listeners:
        await listener.user.loads_members_lazily()
        await listener.user.syncs()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(listener.listen()) for listener in listeners]
        until = time.perf_counter() + PATIENCE_SECONDS
        await asyncio.sleep(QUIET_SECONDS)
        while time.perf_counter() < until:
            if time.perf_counter() - max(listener.answered_at for listener in listeners) > QUIET_SECONDS:
                break
            await asyncio.sleep(0.1)
        yield listeners
        for task in tasks:
            task.cancel()


async def deliver(bench: Bench, listeners: int, messages: int) -> Measurement:
    """Bring each message to so many listeners before the next is sent, which every server keeps up with."""

    async def make() -> tuple[list[User], str]:
        people = await bench.people(listeners)
        return people, await bench.room(people)

    people, room = await bench.keep(f"room of {listeners}", make)
    return lambda: _deliver(bench, people, room, messages)


async def _deliver(bench: Bench, people: list[User], room: str, messages: int) -> Cost:
    latencies: list[float] = []
    async with listening(people, room) as listeners:
        await bench.server.rests()
        gc.collect()
        cpu, began = bench.server.cpu(), time.perf_counter()
        for number in range(1, messages + 1):
            sent_at = time.perf_counter()
            await people[0].says(room, next(bench.numbers), f"message {number}")
            await asyncio.gather(*(listener.hears(number) for listener in listeners))
            latencies += [listener.heard[number - 1][1] - sent_at for listener in listeners]
            await asyncio.sleep(0.05)
        return Cost(len(latencies), bench.server.cpu() - cpu, time.perf_counter() - began, latencies)
