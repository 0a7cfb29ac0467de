"""Many who wait, and messages at a rate that does not wait for them: is anything lost, is the event loop ever late?"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.deliveries import listening
from benchmarks.measuring import Bench
from benchmarks.server import running

PERCENT = 0.99


@dataclass(frozen=True)
class Outcome:
    """What came of it."""

    messages: int
    lost: int
    doubled: int
    out_of_order: int
    p50_seconds: float
    p99_seconds: float
    lag_seconds: float
    """An upper bound of the event loop's delay, 99 times of 100."""


async def fan_out(bench: Bench, listeners: int, rate: float, seconds: float) -> Outcome:
    """Send so many messages a second into a room whose members all wait."""
    people = await bench.people(listeners)
    room = await bench.room(people)
    texts = [f"message {number}" for number in range(int(rate * seconds))]
    sent_at: dict[str, float] = {}
    async with listening(people, room) as waiting:
        await bench.server.rests()
        before = await bench.server.lag()
        began = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for number, text in enumerate(texts):
                await asyncio.sleep(began + number / rate - time.perf_counter())
                sent_at[text] = time.perf_counter()
                tasks.create_task(people[number % 10].says(room, next(bench.numbers), text))
        for listener in waiting:
            await listener.hears(len(texts))
        after = await bench.server.lag()
    heard = [[text for text, _ in listener.heard] for listener in waiting]
    latencies = sorted(at - sent_at[text] for listener in waiting for text, at in listener.heard)
    return Outcome(
        messages=len(texts),
        lost=sum(len(set(texts) - set(each)) for each in heard),
        doubled=sum(len(each) - len(set(each)) for each in heard),
        out_of_order=sum(each != heard[0] for each in heard),
        p50_seconds=latencies[len(latencies) // 2],
        p99_seconds=latencies[int(len(latencies) * PERCENT)],
        lag_seconds=lag_percentile({edge: count - before[edge] for edge, count in after.items()}, PERCENT),
    )


def lag_percentile(buckets: Mapping[float, float], part: float) -> float:
    """Return the seconds that so great a part of the delays did not exceed."""
    edges = sorted(buckets)
    return next(edge for edge in edges if buckets[edge] >= part * buckets[edges[-1]])


async def run(seconds: float) -> int:
    """Offer 20 messages a second to 200 who wait; return 0 if none was lost or doubled and the loop was not late."""
    async with running("isthmus") as server:
        outcome = await fan_out(Bench(server), 200, 20, seconds)
    print(
        f"{outcome.messages:,} messages to 200: {outcome.lost} lost, {outcome.doubled} doubled, "
        f"{outcome.out_of_order} saw another order; delivered in {1000 * outcome.p50_seconds:.0f} ms (p50), "
        f"{1000 * outcome.p99_seconds:.0f} ms (p99); "
        f"event loop at most {1000 * outcome.lag_seconds:g} ms late (p99)"
    )
    good = not (outcome.lost or outcome.doubled or outcome.out_of_order) and outcome.lag_seconds <= 0.05
    return 0 if good else 1
