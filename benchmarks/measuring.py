"""How something is measured: the server's CPU time, the latencies that a client sees, the bytes that are stored."""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from benchmarks.client import User
from benchmarks.server import Server


@dataclass(frozen=True)
class Cost:
    """What some operations cost the server."""

    operations: int
    cpu_seconds: float
    seconds: float
    latencies: list[float] = field(repr=False)

    def percentile(self, percent: float) -> float:
        """Return the latency, in milliseconds, that so many percent do not exceed."""
        ordered = sorted(self.latencies)
        return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]

    def figures(self) -> dict[str, float]:
        """Return what is compared."""
        return {
            "cpu_seconds_per_1000": 1000 * self.cpu_seconds / self.operations,
            "per_second": self.operations / self.seconds,
            "p50_ms": self.percentile(50),
            "p99_ms": self.percentile(99),
        }


Measurement = Callable[[], Awaitable[Cost]]


@dataclass
class Bench:
    """A server under load, its users, and what scenarios have prepared on it."""

    server: Server
    scale: float = 1.0
    users: list[User] = field(default_factory=list)
    numbers: "count[int]" = field(default_factory=count)
    kept: dict[str, Any] = field(default_factory=dict)

    def times(self, full: int, least: int = 4) -> int:
        """Return how often to do something, given how often in a full run."""
        return max(least, round(full * self.scale))

    async def people(self, how_many: int) -> list[User]:
        """Return so many users, making those that are missing."""

        async def make(_: int) -> None:
            self.users.append(await self.server.client.register(f"user{next(self.numbers)}"))

        await at_once(4, make, how_many - len(self.users))
        return self.users[:how_many]

    async def room(self, members: list[User]) -> str:
        """Return a new room with these members."""
        room = await members[0].creates_room()
        await at_once(8, lambda number: members[number + 1].joins(room), len(members) - 1)
        return room

    async def keep(self, name: str, make: Callable[[], Awaitable[Any]]) -> Any:
        """Return what was made under a name, making it the first time."""
        if name not in self.kept:
            self.kept[name] = await make()
        return self.kept[name]

    async def measure(self, do: Callable[[int], Awaitable[object]], operations: int, workers: int = 1) -> Cost:
        """Do something so many times, some at once; return what it cost."""
        latencies: list[float] = []

        async def timed(number: int) -> None:
            began = time.perf_counter()
            await do(number)
            latencies.append(time.perf_counter() - began)

        gc.collect()
        cpu, began = self.server.cpu(), time.perf_counter()
        await at_once(workers, timed, operations)
        return Cost(operations, self.server.cpu() - cpu, time.perf_counter() - began, latencies)


async def at_once(workers: int, do: Callable[[int], Awaitable[object]], times: int) -> None:
    """Do something so many times, with the numbers from 0, some at once."""
    left = iter(range(times))

    async def work() -> None:
        for number in left:
            await do(number)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(min(workers, times)):
            tasks.create_task(work())
