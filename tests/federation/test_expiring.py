"""What was fetched is remembered, for as long as it holds and no longer."""

import asyncio

import pytest

from federation.matrix.expiring import Expiring


class Source:
    """Something to fetch from: it counts, and can be slow."""

    def __init__(self, seconds: float = 10) -> None:
        self.now = 0.0
        self.seconds = seconds
        self.fetched: list[str] = []
        self.open = asyncio.Event()
        self.open.set()
        self.known: Expiring[str, int] = Expiring(self.fetch, lambda: self.now, most=3)

    async def fetch(self, key: str) -> tuple[int, float]:
        self.fetched.append(key)
        await self.open.wait()
        return len(self.fetched), self.seconds


async def test_a_value_is_fetched_again_once_it_holds_no_more() -> None:
    source = Source()
    assert await source.known.get("a") == 1
    source.now = 9.9
    assert await source.known.get("a") == 1
    assert source.known.last("a") == 1
    source.now = 10
    assert await source.known.get("a") == 2


async def test_what_is_known_to_have_changed_is_fetched_again() -> None:
    source = Source()
    assert await source.known.get("a") == 1
    source.known.forget("a")
    source.known.forget("b")
    assert source.known.known("a") is None
    assert await source.known.get("a") == 2


async def test_what_many_want_at_once_is_fetched_once() -> None:
    source = Source()
    source.open.clear()
    waiting = [asyncio.create_task(source.known.get("a")) for _ in range(5)]
    await asyncio.sleep(0)
    source.open.set()
    assert await asyncio.gather(*waiting) == [1] * 5
    assert source.fetched == ["a"]


async def test_who_gives_up_waiting_does_not_end_it_for_others() -> None:
    source = Source()
    source.open.clear()
    impatient, patient = (asyncio.create_task(source.known.get("a")) for _ in range(2))
    await asyncio.sleep(0)
    impatient.cancel()
    source.open.set()
    assert await patient == 1
    with pytest.raises(asyncio.CancelledError):
        await impatient


async def test_the_least_used_values_are_forgotten_first() -> None:
    source = Source()
    for key in "abc":
        await source.known.get(key)
    await source.known.get("a")
    await source.known.get("d")
    assert [key for key in "abcd" if source.known.last(key) is not None] == ["a", "c", "d"]


async def test_a_fault_of_fetching_reaches_those_who_wait_and_is_not_remembered() -> None:
    source = Source()
    source.seconds = "none"  # type: ignore[assignment]
    with pytest.raises(TypeError):
        await source.known.get("a")
    source.seconds = 1
    assert await source.known.get("a") == 2


async def test_what_is_being_fetched_ends_with_it() -> None:
    source = Source()
    source.open.clear()
    waiting = asyncio.create_task(source.known.get("a"))
    await asyncio.sleep(0)
    await source.known.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
