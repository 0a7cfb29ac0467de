"""Answers of other servers, kept for a while: bounded in number, and each asked for once by all who want it."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from homeserver.clock import Clock

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Expiring(Generic[K, V]):
    """A cache whose entries end by themselves. Failures are not kept. Runs on the event loop."""

    def __init__(self, clock: Clock, seconds: float, most: int) -> None:
        """Keep each answer for `seconds`, and at most `most` of them."""
        self._clock = clock
        self._seconds = seconds
        self._most = most
        self._kept: OrderedDict[K, tuple[float, V]] = OrderedDict()
        self._asking: dict[K, asyncio.Task[V]] = {}

    def known(self, key: K) -> V | None:
        """Return what is kept under a key and has not expired."""
        found = self._kept.get(key)
        return found[1] if found is not None and found[0] > self._clock.monotonic() else None

    async def get(self, key: K, ask: Callable[[], Awaitable[V]]) -> V:
        """Return what is kept under a key, or else what `ask` returns, and keep that. Raises what `ask` raises."""
        found = self.known(key)
        if found is not None:
            return found
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.create_task(self._ask(key, ask), name="ask-elsewhere")
            # Nobody may be left to hear of a failure.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        # One who goes away does not take the answer from the others.
        return await asyncio.shield(task)

    async def _ask(self, key: K, ask: Callable[[], Awaitable[V]]) -> V:
        try:
            value = await ask()
        finally:
            del self._asking[key]
        self._kept[key] = (self._clock.monotonic() + self._seconds, value)
        self._kept.move_to_end(key)
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return value
