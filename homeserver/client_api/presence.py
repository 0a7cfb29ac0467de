"""Presence: https://spec.matrix.org/v1.19/client-server-api/#presence."""

import msgspec

from federation.core.ids import UserID
from homeserver.http.routing import Call, Json, Routes
from homeserver.model.presence import PresenceState

routes = Routes()


class PresenceBody(msgspec.Struct):
    """Whether a user is there, and what they say about it."""

    presence: PresenceState
    status_msg: str | None = None


@routes.put("/_matrix/client/v3/presence/{user_id}/status")
async def set_presence(call: Call, user_id: UserID, body: PresenceBody) -> Json:
    """Set the caller's presence."""
    await call.services.presence.set(call.who, user_id, body.presence, body.status_msg)
    return {}


@routes.get("/_matrix/client/v3/presence/{user_id}/status")
async def get_presence(call: Call, user_id: UserID) -> Json:
    """Return a user's presence."""
    return await call.services.presence.get(call.who, user_id)
