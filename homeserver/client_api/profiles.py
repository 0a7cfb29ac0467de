"""Profiles: https://spec.matrix.org/v1.19/client-server-api/#profiles.

Also under the path that clients use while they take the fields beyond name and avatar for a proposal (MSC4133).
"""

from federation.core.ids import UserID
from homeserver.http.bodies import JsonObject
from homeserver.http.routing import Auth, Call, Json, Routes

routes = Routes()


@routes.get("/_matrix/client/v3/profile/{user_id}", auth=Auth.NONE)
async def get_profile(call: Call, user_id: UserID) -> Json:
    """Return a user's profile."""
    return await call.services.profiles.all(user_id)


@routes.get("/_matrix/client/v3/profile/{user_id}/{key_name}", auth=Auth.NONE)
@routes.get("/_matrix/client/unstable/uk.tcpip.msc4133/profile/{user_id}/{key_name}", auth=Auth.NONE)
async def get_field(call: Call, user_id: UserID, key_name: str) -> Json:
    """Return one field of a user's profile."""
    return await call.services.profiles.get(user_id, key_name)


@routes.put("/_matrix/client/v3/profile/{user_id}/{key_name}")
@routes.put("/_matrix/client/unstable/uk.tcpip.msc4133/profile/{user_id}/{key_name}")
async def put_field(call: Call, user_id: UserID, key_name: str, body: JsonObject) -> Json:
    """Set a field of the caller's profile."""
    await call.services.profiles.put(call.who, user_id, key_name, body)
    return {}


@routes.delete("/_matrix/client/v3/profile/{user_id}/{key_name}")
@routes.delete("/_matrix/client/unstable/uk.tcpip.msc4133/profile/{user_id}/{key_name}")
async def delete_field(call: Call, user_id: UserID, key_name: str) -> Json:
    """Remove a field of the caller's profile."""
    await call.services.profiles.delete(call.who, user_id, key_name)
    return {}
