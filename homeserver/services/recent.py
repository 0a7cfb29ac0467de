"""The events of the last while, in memory by room, from which live readers are served without asking the database.

Runs on the event loop; events come in after their commit, in the order of their positions.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass, field

from homeserver.model.events import Event
from homeserver.model.nids import DeviceNid, EventNid, RoomNid
from homeserver.model.receipts import Receipt


@dataclass(slots=True)
class _Window:
    """The newest events of one room: all of those after `complete_from`."""

    complete_from: int
    events: deque[Event] = field(default_factory=deque)
    receipts: deque[tuple[int, Receipt]] = field(default_factory=deque)
    """Public receipts with their positions."""


class Recent:
    """The newest events of all rooms, bounded in number by forgetting the rooms that were quiet longest."""

    def __init__(self, position: int, most_events: int = 20_000, most_in_a_room: int = 1_000) -> None:
        """Take the position from which on every event will be told."""
        self._floor = position
        self._rooms: OrderedDict[RoomNid, _Window] = OrderedDict()
        self._most_events = most_events
        self._most_in_a_room = most_in_a_room
        self._count = 0
        self._sent_as: OrderedDict[EventNid, tuple[DeviceNid, str]] = OrderedDict()

    def sent_as(self, event: EventNid, device: DeviceNid, txn_id: str) -> None:
        """Remember the transaction by which a device sent an event."""
        self._sent_as[event] = (device, txn_id)
        if len(self._sent_as) > self._most_events:
            self._sent_as.popitem(last=False)

    def transaction_id(self, event: EventNid, device: DeviceNid) -> str | None:
        """Return the transaction ID of an event in the window, for the device that sent it."""
        sent = self._sent_as.get(event)
        return sent[1] if sent is not None and sent[0] == device else None

    def add(self, event: Event) -> None:
        """Take in a new event."""
        window = self._window(event.room)
        window.events.append(event)
        if len(window.events) > self._most_in_a_room:
            window.complete_from = max(window.complete_from, window.events.popleft().at)
            self._count -= 1
        self._shrink()

    def add_receipt(self, position: int, receipt: Receipt) -> None:
        """Take in a receipt that everyone in the room may see."""
        window = self._window(receipt.room)
        window.receipts.append((position, receipt))
        if len(window.receipts) > self._most_in_a_room:
            window.complete_from = max(window.complete_from, window.receipts.popleft()[0])
            self._count -= 1
        self._shrink()

    def _window(self, room: RoomNid) -> _Window:
        window = self._rooms.get(room)
        if window is None:
            window = self._rooms[room] = _Window(self._floor)
        else:
            self._rooms.move_to_end(room)
        self._count += 1
        return window

    def _shrink(self) -> None:
        while self._count > self._most_events:
            _, quiet = self._rooms.popitem(last=False)
            self._count -= len(quiet.events) + len(quiet.receipts)
            newest: list[int] = [quiet.events[-1].at] if quiet.events else []
            newest += [quiet.receipts[-1][0]] if quiet.receipts else []
            self._floor = max(self._floor, quiet.complete_from, *newest)

    def replace(self, event: Event) -> None:
        """Put an event in the place of its form before it was redacted."""
        window = self._rooms.get(event.room)
        if window is not None:
            for index, old in enumerate(window.events):
                if old.nid == event.nid:
                    window.events[index] = event
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
