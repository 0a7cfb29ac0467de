"""Values worked out from rows that change seldom and are read all the time, kept in memory and never out of date.

Whoever changes a row tells the new value once that is committed (`tx.after_commit(remembered.learn, ...)`). A reader
that looked at an older moment may tell what it found too, later: the position of the row says which of both is newer.
What is read on a connection that writes may never be committed, so it is told after the commit as well.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Generic, TypeVar

from sqlalchemy import Connection

from homeserver.storage.database import Write, fresh

K = TypeVar("K", bound=int)
V = TypeVar("V")


class Remembered(Generic[K, V]):
    """The newest known value of each row, bounded by forgetting what was not asked for longest."""

    def __init__(self, most: int = 50_000) -> None:
        """Remember at most `most` rows."""
        self._rows: OrderedDict[K, tuple[int, V]] = OrderedDict()
        self._most = most
        self._lock = threading.Lock()

    def learn(self, key: K, position: int, value: V) -> None:
        """Take what a row held at a position (0 where there was no row), unless a newer one is known."""
        with self._lock:
            known = self._rows.get(key)
            if known is not None and known[0] > position:
                return
            self._rows[key] = (position, value)
            self._rows.move_to_end(key)
            if len(self._rows) > self._most:
                self._rows.popitem(last=False)

    def known(self, key: K) -> V | None:
        """Return the value of a row if it is remembered."""
        known = self._rows.get(key)
        return known[1] if known is not None else None

    def find(
        self,
        at: Connection | Write,
        keys: Iterable[K],
        load: Callable[[Connection, Collection[K]], Mapping[K, tuple[int, V]]],
    ) -> dict[K, V]:
        """Return the values of some rows; those that are not remembered are loaded together, with their positions."""
        found: dict[K, V] = {}
        missing: list[K] = []
        with self._lock:
            for key in keys:
                known = self._rows.get(key)
                if known is not None:
                    self._rows.move_to_end(key)
                    found[key] = known[1]
                else:
                    missing.append(key)
        if missing:
            conn = at.conn if isinstance(at, Write) else at
            for key, (position, value) in load(conn, missing).items():
                found[key] = value
                if isinstance(at, Write):
                    at.after_commit(self.learn, key, position, value)
                elif fresh(conn) is None:
                    self.learn(key, position, value)
        return found
