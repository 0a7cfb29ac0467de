"""Sending: https://spec.matrix.org/v1.19/client-server-api/#sending-events-to-a-room and #redactions."""

import msgspec

from federation.core.ids import EventID, RoomID
from homeserver.errors import InvalidParam
from homeserver.http.bodies import JsonObject
from homeserver.http.routing import Call, Json, Routes

routes = Routes()


class RedactBody(msgspec.Struct):
    """Why an event is redacted."""

    reason: str | None = None


class SendQuery(msgspec.Struct):
    """A delayed event (MSC4140) is refused: sent at once it would say the opposite of what was meant."""

    delay: str | None = msgspec.field(default=None, name="org.matrix.msc4140.delay")

    def __post_init__(self) -> None:
        if self.delay is not None:
            raise InvalidParam("org.matrix.msc4140.delay: delayed events are not supported")


@routes.put("/_matrix/client/v3/rooms/{room_id}/send/{event_type}/{txn_id}", limit="messages")
async def send(call: Call, room_id: RoomID, event_type: str, txn_id: str, query: SendQuery, body: JsonObject) -> Json:
    """Send a message event."""
    call.services.presence.active(call.who)
    return {"event_id": await call.services.messages.send(call.who, room_id, event_type, body, txn_id)}


@routes.put("/_matrix/client/v3/rooms/{room_id}/state/{event_type}", limit="messages")
async def set_state_without_key(
    call: Call, room_id: RoomID, event_type: str, query: SendQuery, body: JsonObject
) -> Json:
    """Send a state event with the empty state key."""
    call.services.presence.active(call.who)
    return {"event_id": await call.services.messages.set_state(call.who, room_id, event_type, "", body)}


@routes.put("/_matrix/client/v3/rooms/{room_id}/state/{event_type}/{state_key}", limit="messages")
async def set_state(
    call: Call, room_id: RoomID, event_type: str, state_key: str, query: SendQuery, body: JsonObject
) -> Json:
    """Send a state event."""
    call.services.presence.active(call.who)
    return {"event_id": await call.services.messages.set_state(call.who, room_id, event_type, state_key, body)}


@routes.put("/_matrix/client/v3/rooms/{room_id}/redact/{event_id}/{txn_id}", limit="messages")
async def redact(call: Call, room_id: RoomID, event_id: EventID, txn_id: str, body: RedactBody) -> Json:
    """Redact an event."""
    call.services.presence.active(call.who)
    content = {} if body.reason is None else {"reason": body.reason}
    return {"event_id": await call.services.messages.redact(call.who, room_id, event_id, content, txn_id)}
