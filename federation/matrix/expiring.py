"""Remembers what was fetched for as long as it holds. However many want the same at once, it is fetched once."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Expiring(Generic[K, V]):
    """Values by key, each with its end; the least recently used ones go when there are too many."""

    def __init__(self, fetch: Callable[[K], Awaitable[tuple[V, float]]], now: Callable[[], float], most: int) -> None:
        """`fetch` returns a value and for how many seconds it holds. What it raises is not remembered."""
        self._fetch = fetch
        self._now = now
        self._most = most
        self._known: OrderedDict[K, tuple[V, float]] = OrderedDict()
        self._fetching: dict[K, asyncio.Task[V]] = {}

    async def get(self, key: K) -> V:
        """Return the value of a key, fetched if it is not known or holds no more. Raises what `fetch` raises."""
        if (known := self._known.get(key)) is not None and self._now() < known[1]:
            self._known.move_to_end(key)
            return known[0]
        task = self._fetching.get(key)
        if task is None:
            task = self._fetching[key] = asyncio.create_task(self._get(key))
            # Nobody may be left to hear of a failure.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        # Whoever gives up waiting does not end it for the others.
        return await asyncio.shield(task)

    def known(self, key: K) -> V | None:
        """Return the value of a key if it was fetched and still holds."""
        known = self._known.get(key)
        return known[0] if known is not None and self._now() < known[1] else None

    def last(self, key: K) -> V | None:
        """Return the value that was fetched last, even if it holds no more."""
        known = self._known.get(key)
        return None if known is None else known[0]

    def forget(self, key: K) -> None:
        """Fetch the value of a key again when it is wanted next."""
        self._known.pop(key, None)

    async def close(self) -> None:
        """End what is being fetched."""
        tasks = list(self._fetching.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _get(self, key: K) -> V:
        try:
            value, seconds = await self._fetch(key)
            self._known[key] = (value, self._now() + seconds)
            self._known.move_to_end(key)
            while len(self._known) > self._most:
                self._known.popitem(last=False)
            return value
        finally:
            del self._fetching[key]
