"""The events of the last while, in memory by room, from which live readers are served without asking the database.

Runs on the event loop; events come in after their commit, in the order of their positions.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass, field

from homeserver.model.events import Event
from homeserver.model.nids import DeviceNid, EventNid, RoomNid
from homeserver.model.receipts import Receipt

RECEIPT_BYTES = 500
WINDOW_BYTES = 1_600
SENT_BYTES = 300
"""What is remembered of how an event was sent."""


def _size(event: Event) -> int:
    return event.size + SENT_BYTES


@dataclass(slots=True)
class _Window:
    """The newest events of one room: all of those after `complete_from`."""

    complete_from: int
    events: deque[Event] = field(default_factory=deque)
    receipts: deque[tuple[int, Receipt]] = field(default_factory=deque)
    """Public receipts with their positions."""


class Recent:
    """The newest events of all rooms, bounded in bytes by forgetting the rooms that were quiet longest."""

    def __init__(self, position: int, most_bytes: int = 16 * 1024 * 1024, most_in_a_room: int = 1_000) -> None:
        """Take the position from which on every event will be told."""
        self._floor = position
        self._rooms: OrderedDict[RoomNid, _Window] = OrderedDict()
        self._most_bytes = most_bytes
        self._most_in_a_room = most_in_a_room
        self._bytes = 0
        self._sent_as: dict[EventNid, tuple[DeviceNid, str]] = {}

    @property
    def size(self) -> int:
        """About how many bytes it holds."""
        return self._bytes

    def sent_as(self, event: EventNid, device: DeviceNid, txn_id: str) -> None:
        """Remember the transaction by which a device sent an event, as long as the event."""
        self._sent_as[event] = (device, txn_id)

    def transaction_id(self, event: EventNid, device: DeviceNid) -> str | None:
        """Return the transaction ID of an event in the window, for the device that sent it."""
        sent = self._sent_as.get(event)
        return sent[1] if sent is not None and sent[0] == device else None

    def add(self, event: Event) -> None:
        """Take in a new event."""
        window = self._window(event.room)
        window.events.append(event)
        self._bytes += _size(event)
        if len(window.events) > self._most_in_a_room:
            window.complete_from = max(window.complete_from, self._drop(window.events.popleft()))
        self._shrink(window)

    def add_receipt(self, position: int, receipt: Receipt) -> None:
        """Take in a receipt that everyone in the room may see."""
        window = self._window(receipt.room)
        window.receipts.append((position, receipt))
        self._bytes += RECEIPT_BYTES
        if len(window.receipts) > self._most_in_a_room:
            window.complete_from = max(window.complete_from, window.receipts.popleft()[0])
            self._bytes -= RECEIPT_BYTES
        self._shrink(window)

    def _window(self, room: RoomNid) -> _Window:
        window = self._rooms.get(room)
        if window is None:
            window = self._rooms[room] = _Window(self._floor)
            self._bytes += WINDOW_BYTES
        else:
            self._rooms.move_to_end(room)
        return window

    def _shrink(self, newest: _Window) -> None:
        """Forget the quietest rooms while there is too much; of the newest one, what is oldest."""
        while self._bytes > self._most_bytes and len(self._rooms) > 1:
            _, quiet = self._rooms.popitem(last=False)
            self._bytes -= WINDOW_BYTES + RECEIPT_BYTES * len(quiet.receipts)
            last = max([self._drop(event) for event in quiet.events], default=0)
            last_receipt = quiet.receipts[-1][0] if quiet.receipts else 0
            self._floor = max(self._floor, quiet.complete_from, last, last_receipt)
        while self._bytes > self._most_bytes and newest.events:
            newest.complete_from = max(newest.complete_from, self._drop(newest.events.popleft()))

    def _drop(self, event: Event) -> int:
        """Count an event no longer; return its place."""
        self._bytes -= _size(event)
        self._sent_as.pop(event.nid, None)
        return event.at

    def replace(self, event: Event) -> None:
        """Put an event in the place of its form before it was redacted."""
        window = self._rooms.get(event.room)
        if window is not None:
            for index, old in enumerate(window.events):
                if old.nid == event.nid:
                    window.events[index] = event
                    self._bytes += _size(event) - _size(old)
                    return

    def since(self, room: RoomNid, position: int) -> list[Event] | None:
        """Return the events of a room after a position, oldest first; None if the window does not reach back so far."""
        window = self._rooms.get(room)
        if window is None:
            return [] if position >= self._floor else None
        if position < window.complete_from:
            return None
        if not window.events or window.events[-1].at <= position:
            return []
        found = []
        for event in reversed(window.events):
            if event.at <= position:
                break
            found.append(event)
        found.reverse()
        return found

    def receipts_since(self, room: RoomNid, position: int) -> list[Receipt]:
        """Return the public receipts of a room after a position to which `since` reaches back."""
        window = self._rooms.get(room)
        if window is None or not window.receipts or window.receipts[-1][0] <= position:
            return []
        return [receipt for at, receipt in window.receipts if at > position]
