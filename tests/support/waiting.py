"""Waits for conditions, never for a time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

Answer = TypeVar("Answer")


async def until(condition: Callable[[], object]) -> None:
    """Return as soon as a condition holds; fail if it does not come to hold."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - nobody tells us
            await asyncio.sleep(0.005)


async def asking(
    ask: Callable[[], Awaitable[Answer]], enough: Callable[[Answer], object], seconds: float = 20
) -> Answer:
    """Ask again and again, until an answer is enough; return it, or fail with the last one."""
    answer = await ask()
    try:
        async with asyncio.timeout(seconds):
            while not enough(answer):
                await asyncio.sleep(0.05)
                answer = await ask()
    except TimeoutError:
        raise AssertionError(f"it does not come; the last answer is {answer}") from None
    return answer
