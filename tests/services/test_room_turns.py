"""In each room one thing goes on at a time, in the order of asking."""

import asyncio

import pytest

from federation.core.ids import RoomID
from homeserver.services.room_turns import RoomTurns

ONE, OTHER = RoomID("!one:hs1"), RoomID("!other:hs1")


async def test_turns_of_a_room_come_one_after_the_other_and_rooms_do_not_wait_for_each_other() -> None:
    turns = RoomTurns()
    order: list[str] = []
    begun, release = asyncio.Event(), asyncio.Event()

    async def first() -> None:
        async with turns.of(ONE):
            order.append("first")
            begun.set()
            await release.wait()

    async def next_in(room: RoomID, name: str) -> None:
        async with turns.of(room):
            order.append(name)

    holding = asyncio.create_task(first())
    waiting = [asyncio.create_task(next_in(ONE, name)) for name in ("second", "third")]
    await begun.wait()
    await next_in(OTHER, "elsewhere")
    assert turns.is_taken(ONE)
    assert not turns.is_taken(OTHER)
    release.set()
    await asyncio.gather(holding, *waiting)
    assert order == ["first", "elsewhere", "second", "third"]
    assert not turns._turns, "a room that nobody waits for is kept"


async def test_who_does_not_want_to_wait_longer_goes_and_leaves_the_turn_to_others() -> None:
    turns = RoomTurns()
    async with turns.of(ONE):
        with pytest.raises(TimeoutError):
            async with turns.of(ONE, 0.01):
                raise AssertionError
    async with turns.of(ONE, 0.01):
        assert turns.is_taken(ONE)
    with pytest.raises(ValueError, match="of ours"):
        async with turns.of(ONE):
            raise ValueError("a mistake of ours")
    assert not turns.is_taken(ONE)
