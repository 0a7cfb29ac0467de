"""Account data and tags: https://spec.matrix.org/v1.19/client-server-api/#client-config and #room-tagging."""

from federation.core.ids import RoomID, UserID
from homeserver.http.bodies import JsonObject
from homeserver.http.routing import Answer, Call, Json, Routes

routes = Routes()


@routes.put("/_matrix/client/v3/user/{user_id}/account_data/{data_type}")
async def put(call: Call, user_id: UserID, data_type: str, body: JsonObject) -> Json:
    """Store data of the account."""
    await call.services.account_data.put(call.who, user_id, data_type, body)
    return {}


@routes.get("/_matrix/client/v3/user/{user_id}/account_data/{data_type}")
async def get(call: Call, user_id: UserID, data_type: str) -> Answer:
    """Return data of the account."""
    return Answer(await call.services.account_data.get(call.who, user_id, data_type))


@routes.put("/_matrix/client/v3/user/{user_id}/rooms/{room_id}/account_data/{data_type}")
async def put_in_room(call: Call, user_id: UserID, room_id: RoomID, data_type: str, body: JsonObject) -> Json:
    """Store data of the account for a room."""
    await call.services.account_data.put_in_room(call.who, user_id, room_id, data_type, body)
    return {}


@routes.get("/_matrix/client/v3/user/{user_id}/rooms/{room_id}/account_data/{data_type}")
async def get_in_room(call: Call, user_id: UserID, room_id: RoomID, data_type: str) -> Answer:
    """Return data of the account for a room."""
    return Answer(await call.services.account_data.get_in_room(call.who, user_id, room_id, data_type))


@routes.get("/_matrix/client/v3/user/{user_id}/rooms/{room_id}/tags")
async def get_tags(call: Call, user_id: UserID, room_id: RoomID) -> Json:
    """Return the tags of a room."""
    return {"tags": await call.services.tags.all(call.who, user_id, room_id)}


@routes.put("/_matrix/client/v3/user/{user_id}/rooms/{room_id}/tags/{tag}")
async def put_tag(call: Call, user_id: UserID, room_id: RoomID, tag: str, body: JsonObject) -> Json:
    """Tag a room."""
    await call.services.tags.put(call.who, user_id, room_id, tag, body)
    return {}


@routes.delete("/_matrix/client/v3/user/{user_id}/rooms/{room_id}/tags/{tag}")
async def remove_tag(call: Call, user_id: UserID, room_id: RoomID, tag: str) -> Json:
    """Take a tag from a room."""
    await call.services.tags.remove(call.who, user_id, room_id, tag)
    return {}
