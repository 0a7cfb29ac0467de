"""Conversations are carried to their end."""

from collections.abc import Generator

import pytest

from federation.matrix.ask import carry


async def double(question: int) -> int:
    return 2 * question


async def test_every_question_is_answered_in_turn() -> None:
    def conversation() -> Generator[int, int, str]:
        first = yield 1
        second = yield first + 1
        return f"{first} {second}"

    assert await carry(conversation(), double) == "2 6"


async def test_a_conversation_may_ask_nothing() -> None:
    def conversation() -> Generator[int, int, str]:
        return "at once"
        yield

    assert await carry(conversation(), double) == "at once"


async def test_what_goes_wrong_with_an_answer_ends_it() -> None:
    def conversation() -> Generator[int, int, None]:
        yield 1

    async def fail(question: int) -> int:
        raise OSError("no network")

    with pytest.raises(OSError, match="no network"):
        await carry(conversation(), fail)
