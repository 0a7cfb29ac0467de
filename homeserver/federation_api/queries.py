"""Queries: https://spec.matrix.org/v1.19/server-server-api/#querying-for-information."""

import msgspec

from federation.core.errors import InvalidIdentifier
from federation.core.ids import parse_alias, parse_user_id, server_of
from homeserver.errors import InvalidParam, NotFound
from homeserver.http.routing import Auth, Call, Json, Routes

routes = Routes()


class DirectoryQuery(msgspec.Struct):
    """The alias that is asked for."""

    room_alias: str


class ProfileQuery(msgspec.Struct):
    """Whose profile is asked for, and which field of it."""

    user_id: str
    field: str | None = None


@routes.get("/_matrix/federation/v1/query/directory", auth=Auth.SERVER)
async def query_directory(call: Call, query: DirectoryQuery) -> Json:
    """Say which room an alias of this server points to, and which servers are in it."""
    try:
        alias = parse_alias(query.room_alias)
    except InvalidIdentifier as error:
        raise InvalidParam(f"room_alias: {error}") from error
    if server_of(alias) != call.services.config.server_name:
        raise NotFound("The alias is not of this server")
    room_id, servers = await call.services.aliases.resolve(alias)
    return {"room_id": room_id, "servers": servers}


@routes.get("/_matrix/federation/v1/query/profile", auth=Auth.SERVER)
async def query_profile(call: Call, query: ProfileQuery) -> Json:
    """Return the profile of a user of this server, or one field of it."""
    try:
        user_id = parse_user_id(query.user_id)
    except InvalidIdentifier as error:
        raise InvalidParam(f"user_id: {error}") from error
    if server_of(user_id) != call.services.config.server_name:
        raise InvalidParam("user_id: not a user of this server")
    profile = await call.services.profiles.local(user_id)
    if query.field is None:
        return profile
    return {query.field: profile[query.field]} if query.field in profile else {}
