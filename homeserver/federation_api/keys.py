"""Signing keys, ours and those of others: https://spec.matrix.org/v1.19/server-server-api/#retrieving-server-keys."""

from contextlib import suppress

import msgspec

from federation.core.errors import InvalidIdentifier
from federation.core.ids import ServerName, parse_server_name
from homeserver.errors import InvalidParam
from homeserver.http.routing import Auth, Call, Json, Routes
from homeserver.services.server_keys import Wanted

routes = Routes()

MOST_SERVERS = 1000
"""Servers that one request may ask for."""


class Criteria(msgspec.Struct):
    """What a key must be good for."""

    minimum_valid_until_ts: int | None = None


class Query(msgspec.Struct):
    """The keys that are looked for, by server and key identifier."""

    server_keys: dict[str, dict[str, Criteria]]


@routes.get("/_matrix/key/v2/server", auth=Auth.NONE, limit="none")
async def own_keys(call: Call) -> Json:
    """Say with which keys this server signs, and with which it has."""
    return call.services.server_keys.own_document()


@routes.get("/_matrix/key/v2/query/{server}", auth=Auth.NONE, limit="notary")
async def query_server(call: Call, server: ServerName, query: Criteria) -> Json:
    """Tell the keys of a server as a notary."""
    return await _notarise(call, {server: Wanted(_until(call, query), {})})


@routes.post("/_matrix/key/v2/query", auth=Auth.NONE, limit="notary")
async def query_servers(call: Call, body: Query) -> Json:
    """Tell the keys of some servers as a notary."""
    if len(body.server_keys) > MOST_SERVERS:
        raise InvalidParam(f"server_keys: more than {MOST_SERVERS} servers")
    wants = {}
    for name, keys in body.server_keys.items():
        # Names come from events, where anybody can write nonsense: that must not hide the keys of the others.
        with suppress(InvalidIdentifier):
            by_id = {key_id: _until(call, criteria) for key_id, criteria in keys.items()}
            wants[parse_server_name(name)] = Wanted(call.services.clock.now_ms(), by_id)
    return await _notarise(call, wants)


def _until(call: Call, criteria: Criteria) -> int:
    until_ts = criteria.minimum_valid_until_ts
    return call.services.clock.now_ms() if until_ts is None else until_ts


async def _notarise(call: Call, wants: dict[ServerName, Wanted]) -> Json:
    return {"server_keys": await call.services.server_keys.notarise(wants)}
