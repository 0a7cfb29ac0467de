"""Many who wait and many who speak: nothing is lost or doubled, and the event loop stays free.

`make bench ARGS="fan_out"` does it for a minute and holds the loop to 50 ms, which a machine that runs tests beside it
cannot promise.
"""

from benchmarks.fan_out import fan_out
from benchmarks.measuring import Bench
from benchmarks.server import running


async def test_two_hundred_long_polls_hear_everything_once_and_in_order() -> None:
    async with running("isthmus") as server:
        outcome = await fan_out(Bench(server), listeners=200, rate=20, seconds=5)

    assert (outcome.lost, outcome.doubled, outcome.out_of_order) == (0, 0, 0)
    assert outcome.lag_seconds <= 0.25
