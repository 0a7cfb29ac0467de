"""Waits for conditions, never for a time."""

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], object]) -> None:
    """Return as soon as a condition holds; fail if it does not come to hold."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - nobody tells us
            await asyncio.sleep(0.005)
