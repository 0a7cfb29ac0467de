"""Which members a device has been told of, so that lazily loaded members are not told again with every message."""

import threading
from collections.abc import Iterable

from homeserver.model.bounded import forget_oldest
from homeserver.model.nids import DeviceNid, EventNid


class LazyMembers:
    """Remembers membership events by device, and at which position they were told.

    A client that asks again from before that position may not have got the answer, and is told once more.
    """

    def __init__(self, most: int = 50_000) -> None:
        """Start with nothing told; remember about so many."""
        self._told: dict[tuple[DeviceNid, EventNid], int] = {}
        self._most = most
        self._lock = threading.Lock()

    def knows(self, device: DeviceNid, event: EventNid, since: int) -> bool:
        """Return whether a device that has seen everything up to `since` knows a membership event."""
        told_at = self._told.get((device, event))
        return told_at is not None and told_at <= since

    def forget(self, device: DeviceNid, events: Iterable[EventNid]) -> None:
        """Forget what a device was told of."""
        with self._lock:
            for event in events:
                self._told.pop((device, event), None)

    def told(self, device: DeviceNid, events: Iterable[EventNid], position: int) -> None:
        """Remember what an answer that ends at `position` tells."""
        with self._lock:
            for event in events:
                known = self._told.get((device, event))
                if known is None or position < known:
                    self._told[device, event] = position
            forget_oldest(self._told, self._most)
