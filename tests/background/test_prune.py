"""The loop that prunes."""

import asyncio

from homeserver.background.prune import CHORES, Chore, run
from homeserver.services import Services
from tests.support.world import World


async def test_every_chore_of_the_server_can_be_done(world: World) -> None:
    for chore in CHORES:
        await chore.do(world.app.services)


async def test_chores_are_done_again_and_again_even_after_one_fails(world: World) -> None:
    done: list[str] = []
    enough = asyncio.Event()

    async def good(services: Services) -> None:
        done.append("good")
        if done.count("good") >= 3 and done.count("bad") >= 2:
            enough.set()

    async def bad(services: Services) -> None:
        done.append("bad")
        raise RuntimeError("no")

    chores = (Chore("good", good, 0.01), Chore("bad", bad, 0.02))
    task = asyncio.create_task(run(world.app.services, world.app.services.clock, chores))
    await enough.wait()
    task.cancel()
    assert isinstance((await asyncio.gather(task, return_exceptions=True))[0], asyncio.CancelledError)


async def test_the_server_prunes_while_it_runs(world: World) -> None:
    assert [task.get_name() for task in world.app._tasks].count("prune") == 1
