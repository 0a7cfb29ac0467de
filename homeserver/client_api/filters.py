"""Filters: https://spec.matrix.org/v1.19/client-server-api/#filtering."""

from federation.core.ids import UserID
from homeserver.http.bodies import JsonObject, convert
from homeserver.http.routing import Answer, Call, Json, Routes
from homeserver.model.filters import Filter

routes = Routes()


@routes.post("/_matrix/client/v3/user/{user_id}/filter")
async def define(call: Call, user_id: UserID, body: JsonObject) -> Json:
    """Store a filter."""
    convert(body, Filter)
    return {"filter_id": await call.services.filters.define(call.who, user_id, body)}


@routes.get("/_matrix/client/v3/user/{user_id}/filter/{filter_id}")
async def get(call: Call, user_id: UserID, filter_id: str) -> Answer:
    """Return a filter."""
    return Answer(await call.services.filters.get(call.who, user_id, filter_id))
