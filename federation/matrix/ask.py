"""Carries the law's questions out into the world, and the answers back."""

from collections.abc import Awaitable, Callable, Generator
from typing import TypeVar

Q = TypeVar("Q")
A = TypeVar("A")
R = TypeVar("R")


async def carry(conversation: Generator[Q, A, R], answer: Callable[[Q], Awaitable[A]]) -> R:
    """Run `conversation` to its end, answering each question that it asks; return what it returns."""
    try:
        question = next(conversation)
        while True:
            question = conversation.send(await answer(question))
    except StopIteration as end:
        result: R = end.value
        return result
