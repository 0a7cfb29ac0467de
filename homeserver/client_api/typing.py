"""Typing: https://spec.matrix.org/v1.19/client-server-api/#typing-notifications."""

import msgspec

from federation.core.ids import RoomID, UserID
from homeserver.http.routing import Call, Json, Routes

routes = Routes()


class TypingBody(msgspec.Struct):
    """Whether somebody types, and for how many milliseconds."""

    typing: bool
    timeout: int | None = None


@routes.put("/_matrix/client/v3/rooms/{room_id}/typing/{user_id}")
async def set_typing(call: Call, room_id: RoomID, user_id: UserID, body: TypingBody) -> Json:
    """Say that the caller types, or no longer does."""
    call.services.presence.active(call.who)
    await call.services.typing.set(call.who, user_id, room_id, body.typing, body.timeout)
    return {}
