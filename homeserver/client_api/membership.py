"""Coming and going: https://spec.matrix.org/v1.19/client-server-api/#room-membership."""

import msgspec

from federation.core.errors import InvalidIdentifier
from federation.core.ids import RoomAlias, RoomID, UserID, parse_alias, parse_room_id, parse_user_id
from homeserver.client_api.third_party import ThirdPartyInvite, refuse
from homeserver.errors import InvalidParam
from homeserver.http.bodies import JsonObject, convert
from homeserver.http.routing import Call, Json, Routes

routes = Routes()

MOST_VIA = 20
"""Servers that a client may name; three are usual."""


class Reason(msgspec.Struct):
    """Why someone comes or goes."""

    reason: str | None = None


class Via(msgspec.Struct):
    """Servers through which to reach a room; `server_name` is what `via` was called before v1.12."""

    via: list[str] = []
    server_name: list[str] = []

    def servers(self) -> list[str]:
        """Return them, those by the newer name first."""
        return [*self.via, *self.server_name][:MOST_VIA]


class Target(msgspec.Struct):
    """Whom it is about, and why."""

    user_id: str
    reason: str | None = None

    def user(self) -> UserID:
        """Return the user. Raises `InvalidParam`."""
        try:
            return parse_user_id(self.user_id)
        except InvalidIdentifier as error:
            raise InvalidParam(f"user_id: {error}") from error


def room_or_alias(text: str) -> RoomID | RoomAlias:
    """Return a parameter that is a room ID or an alias. Raises `InvalidParam`."""
    try:
        return parse_alias(text) if text.startswith("#") else parse_room_id(text)
    except InvalidIdentifier as error:
        raise InvalidParam(f"roomIdOrAlias: {error}") from error


@routes.post("/_matrix/client/v3/join/{room_id_or_alias}", limit="joins")
async def join(call: Call, room_id_or_alias: str, query: Via, body: Reason) -> Json:
    """Join a room by its ID or alias."""
    room = room_or_alias(room_id_or_alias)
    return {"room_id": await call.services.memberships.join(call.who, room, body.reason, query.servers())}


@routes.post("/_matrix/client/v3/rooms/{room_id}/join", limit="joins")
async def join_by_id(call: Call, room_id: RoomID, body: Reason) -> Json:
    """Join a room by its ID."""
    return {"room_id": await call.services.memberships.join(call.who, room_id, body.reason)}


@routes.post("/_matrix/client/v3/knock/{room_id_or_alias}", limit="joins")
async def knock(call: Call, room_id_or_alias: str, query: Via, body: Reason) -> Json:
    """Ask to be invited to a room."""
    room = room_or_alias(room_id_or_alias)
    return {"room_id": await call.services.memberships.knock(call.who, room, body.reason, query.servers())}


@routes.post("/_matrix/client/v3/rooms/{room_id}/invite", limit="joins")
async def invite(call: Call, room_id: RoomID, body: JsonObject) -> Json:
    """Invite a user, by their ID or by an address of theirs."""
    if "user_id" not in body and "address" in body:
        refuse(convert(body, ThirdPartyInvite))
    target = convert(body, Target)
    await call.services.memberships.invite(call.who, room_id, target.user(), target.reason)
    return {}


@routes.post("/_matrix/client/v3/rooms/{room_id}/leave")
async def leave(call: Call, room_id: RoomID, body: Reason) -> Json:
    """Leave a room, or turn down an invite."""
    await call.services.memberships.leave(call.who, room_id, body.reason)
    return {}


@routes.post("/_matrix/client/v3/rooms/{room_id}/forget")
async def forget(call: Call, room_id: RoomID) -> Json:
    """Forget a room that one has left."""
    await call.services.memberships.forget(call.who, room_id)
    return {}


@routes.post("/_matrix/client/v3/rooms/{room_id}/kick")
async def kick(call: Call, room_id: RoomID, body: Target) -> Json:
    """Remove a user from a room."""
    await call.services.memberships.kick(call.who, room_id, body.user(), body.reason)
    return {}


@routes.post("/_matrix/client/v3/rooms/{room_id}/ban")
async def ban(call: Call, room_id: RoomID, body: Target) -> Json:
    """Ban a user from a room."""
    await call.services.memberships.ban(call.who, room_id, body.user(), body.reason)
    return {}


@routes.post("/_matrix/client/v3/rooms/{room_id}/unban")
async def unban(call: Call, room_id: RoomID, body: Target) -> Json:
    """Lift a ban."""
    await call.services.memberships.unban(call.who, room_id, body.user(), body.reason)
    return {}
