"""What is measured. A scenario prepares unmeasured what it needs, and returns what the measured part cost."""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from urllib.parse import quote

from benchmarks.client import User
from benchmarks.server import Server


@dataclass(frozen=True)
class Cost:
    """What some operations cost the server."""

    operations: int
    cpu_seconds: float
    seconds: float
    latencies: list[float] = field(repr=False)
    bytes_per_event: float | None = None

    def percentile(self, percent: float) -> float:
        """Return the latency, in milliseconds, that so many percent do not exceed."""
        ordered = sorted(self.latencies)
        return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


@dataclass
class Bench:
    """A server under load, and its users."""

    server: Server
    scale: float = 1.0
    users: list[User] = field(default_factory=list)
    numbers: "count[int]" = field(default_factory=count)

    def times(self, full: int, least: int = 4) -> int:
        """Return how often to do something, given how often in a full run."""
        return max(least, round(full * self.scale))

    async def people(self, how_many: int) -> list[User]:
        """Return so many users, making those that are missing."""
        while len(self.users) < how_many:
            self.users.append(await self.server.client.register(f"user{next(self.numbers)}"))
        return self.users[:how_many]

    async def room(self, members: list[User]) -> str:
        """Return a new room with these members."""
        room = await members[0].creates_room()
        for member in members[1:]:
            await member.joins(room)
        return room

    async def measure(self, do: Callable[[int], Awaitable[object]], operations: int, at_once: int = 1) -> Cost:
        """Do something so many times, some at once; return what it cost."""
        latencies: list[float] = []
        left = iter(range(operations))

        async def work() -> None:
            for number in left:
                began = time.perf_counter()
                await do(number)
                latencies.append(time.perf_counter() - began)

        gc.collect()
        cpu, began = self.server.cpu(), time.perf_counter()
        await asyncio.gather(*(work() for _ in range(at_once)))
        return Cost(operations, self.server.cpu() - cpu, time.perf_counter() - began, latencies)


async def register_and_login(bench: Bench) -> Cost:
    """Make an account and log in on another device."""

    async def do(number: int) -> None:
        user = await bench.server.client.register(f"new{number}")
        await user.login()

    return await bench.measure(do, bench.times(50), at_once=4)


async def send_to_one_room(bench: Bench) -> Cost:
    """Send messages into one room of ten."""
    members = await bench.people(10)
    return await _send(bench, members, [await bench.room(members)])


async def send_to_many_rooms(bench: Bench) -> Cost:
    """Send messages into fifty rooms of two."""
    members = await bench.people(10)
    rooms = [await bench.room([members[n % 10], members[(n + 1) % 10]]) for n in range(bench.times(50))]

    return await _send(bench, members, rooms)


async def _send(bench: Bench, members: list[User], rooms: list[str]) -> Cost:
    async def say(number: int) -> None:
        room = number % len(rooms)
        sender = members[room % 10] if len(rooms) > 1 else members[number % 10]
        await sender.says(rooms[room], next(bench.numbers))

    before = bench.server.stored_bytes()
    cost = await bench.measure(say, bench.times(2000), at_once=20)
    grown = bench.server.stored_bytes() - before
    per_event = grown / cost.operations if before else None
    return Cost(cost.operations, cost.cpu_seconds, cost.seconds, cost.latencies, per_event)


async def send_one_by_one(bench: Bench) -> Cost:
    """Send messages one after the other: each pays for its own commit."""
    members = await bench.people(2)
    room = await bench.room(members)
    return await bench.measure(lambda _: members[0].says(room, next(bench.numbers)), bench.times(300))


async def deliver(bench: Bench) -> Cost:
    """Deliver messages to fifty long polls; an operation is one delivery."""
    members = await bench.people(bench.times(50))
    room = await bench.room(members)
    messages = bench.times(20)
    for member in members:
        await member.syncs()
    latencies: list[float] = []
    sent_at: dict[str, float] = {}
    delivered = asyncio.Semaphore(0)

    async def listen(member: User) -> None:
        seen = 0
        while seen < messages:
            answer, at = await member.syncs(30_000)
            joined = answer.get("rooms", {}).get("join", {})
            for event in joined.get(room, {}).get("timeline", {}).get("events", []):
                latencies.append(at - sent_at[event["content"]["body"]])
                seen += 1
                delivered.release()

    gc.collect()
    cpu, began = bench.server.cpu(), time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for member in members:
            tasks.create_task(listen(member))
        for number in range(messages):
            await asyncio.sleep(0.02)
            sent_at[f"message {number}"] = time.perf_counter()
            await members[0].says(room, next(bench.numbers), f"message {number}")
            for _ in members:
                await delivered.acquire()
    return Cost(len(latencies), bench.server.cpu() - cpu, time.perf_counter() - began, latencies)


async def initial_sync(bench: Bench) -> Cost:
    """Sync for the first time with a hundred rooms of twenty messages."""
    other, reader = (await bench.people(2))[0], await bench.server.client.register("reader")
    for _ in range(bench.times(100)):
        room = await bench.room([other, reader])
        await asyncio.gather(*(other.says(room, next(bench.numbers)) for _ in range(20)))

    async def sync(_: int) -> None:
        reader.since = ""
        await reader.syncs()

    return await bench.measure(sync, bench.times(10))


async def idle_sync(bench: Bench) -> Cost:
    """Sync with nothing new."""
    members = await bench.people(10)
    for member in members:
        await member.syncs()
    return await bench.measure(lambda number: members[number % 10].syncs(), bench.times(1000), at_once=4)


async def create_room(bench: Bench) -> Cost:
    """Create a room with the usual state."""
    members = await bench.people(10)
    return await bench.measure(lambda number: members[number % 10].creates_room(), bench.times(100), at_once=4)


async def join(bench: Bench) -> Cost:
    """Join a room that grows."""
    members = await bench.people(bench.times(101))
    room = await members[0].creates_room()
    return await bench.measure(lambda number: members[number + 1].joins(room), len(members) - 1, at_once=4)


async def paginate(bench: Bench) -> Cost:
    """Read a room's history back in pages of a hundred."""
    members = await bench.people(2)
    room = await bench.room(members)
    for _ in range(bench.times(50)):
        await asyncio.gather(*(members[0].says(room, next(bench.numbers)) for _ in range(20)))
    place = ""

    async def page(_: int) -> None:
        nonlocal place
        start = f"&from={place}" if place else ""
        answer = await members[1].ask("GET", f"/rooms/{quote(room, safe='')}/messages?dir=b&limit=100{start}")
        place = answer.get("end", "")

    return await bench.measure(page, bench.times(100))


SCENARIOS: Mapping[str, Callable[[Bench], Awaitable[Cost]]] = {
    scenario.__name__: scenario
    for scenario in (
        register_and_login,
        create_room,
        join,
        send_one_by_one,
        send_to_one_room,
        send_to_many_rooms,
        deliver,
        idle_sync,
        initial_sync,
        paginate,
    )
}
