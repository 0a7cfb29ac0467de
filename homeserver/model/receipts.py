"""Receipts: https://spec.matrix.org/v1.19/client-server-api/#receipts."""

from dataclasses import dataclass
from enum import StrEnum

from federation.core.ids import EventID
from homeserver.model.nids import RoomNid, UserNid

UNTHREADED = ""
"""The thread of a receipt that is about the whole room."""
MAIN_THREAD = "main"
"""What is in no thread."""


class ReceiptKind(StrEnum):
    """What a receipt tells, and whom."""

    READ = "m.read"
    READ_PRIVATE = "m.read.private"
    FULLY_READ = "m.fully_read"
    """Not a receipt but a marker in the user's account data of the room."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """How far a user has read a room or a thread of it."""

    room: RoomNid
    user: UserNid
    kind: ReceiptKind
    thread: str
    event_id: EventID
    place: int
    """The event's place in the room's timeline."""
    sent_at: int
