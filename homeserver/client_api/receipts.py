"""Receipts and read markers.

https://spec.matrix.org/v1.19/client-server-api/#receipts and #read-and-unread-markers
"""

from typing import Any

import msgspec

from federation.core.errors import InvalidIdentifier
from federation.core.ids import EventID, RoomID, parse_event_id
from homeserver.errors import InvalidParam
from homeserver.http.routing import Call, Json, Routes
from homeserver.model.receipts import MAIN_THREAD, UNTHREADED, ReceiptKind
from homeserver.services.receipts import Mark

routes = Routes()


class ReceiptBody(msgspec.Struct):
    """Which thread a receipt is about; whatever is no thread has an error code of its own."""

    thread_id: Any = msgspec.UNSET


class MarkersBody(msgspec.Struct):
    """How far a user has read, and what they want others to know of it."""

    fully_read: str | None = msgspec.field(default=None, name="m.fully_read")
    read: str | None = msgspec.field(default=None, name="m.read")
    read_private: str | None = msgspec.field(default=None, name="m.read.private")


@routes.post("/_matrix/client/v3/rooms/{room_id}/receipt/{receipt_type}/{event_id}")
async def send_receipt(
    call: Call, room_id: RoomID, receipt_type: ReceiptKind, event_id: EventID, body: ReceiptBody
) -> Json:
    """Say how far the caller has read in a room or a thread."""
    mark = Mark(receipt_type, event_id, _thread(receipt_type, body.thread_id))
    await call.services.receipts.mark(call.who, room_id, [mark])
    call.services.presence.active(call.who)
    return {}


@routes.post("/_matrix/client/v3/rooms/{room_id}/read_markers")
async def set_markers(call: Call, room_id: RoomID, body: MarkersBody) -> Json:
    """Move the read marker and the receipts at once."""
    wanted = (
        (ReceiptKind.FULLY_READ, body.fully_read),
        (ReceiptKind.READ, body.read),
        (ReceiptKind.READ_PRIVATE, body.read_private),
    )
    marks = [Mark(kind, _event_id(kind, text)) for kind, text in wanted if text is not None]
    await call.services.receipts.mark(call.who, room_id, marks)
    call.services.presence.active(call.who)
    return {}


def _thread(kind: ReceiptKind, thread: Any) -> str:
    if thread is msgspec.UNSET:
        return UNTHREADED
    if kind is ReceiptKind.FULLY_READ:
        raise InvalidParam("thread_id: m.fully_read is not about a thread")
    if not isinstance(thread, str) or not thread:
        raise InvalidParam("thread_id: must be a text that is not empty")
    return thread if thread == MAIN_THREAD else _event_id("thread_id", thread)


def _event_id(field: str, text: str) -> EventID:
    try:
        return parse_event_id(text)
    except InvalidIdentifier as error:
        raise InvalidParam(f"{field}: {error}") from error
