"""Devices and their keys.

https://spec.matrix.org/v1.19/server-server-api/#device-management and #end-to-end-encryption
"""

from typing import Any

import msgspec

from federation.core.errors import InvalidIdentifier
from federation.core.ids import DeviceID, UserID, parse_user_id, server_of
from homeserver.errors import InvalidParam
from homeserver.http.routing import Auth, Call, Json, Routes

routes = Routes()


class Query(msgspec.Struct):
    """Whose keys are asked for."""

    device_keys: dict[str, list[str]]


class Claim(msgspec.Struct):
    """Of which devices a key is to be taken, by which algorithm."""

    one_time_keys: dict[str, dict[str, str]]


@routes.get("/_matrix/federation/v1/user/devices/{user_id}", auth=Auth.SERVER)
async def user_devices(call: Call, user_id: UserID) -> Json:
    """Return the devices of a user of this server that have keys."""
    return await call.services.device_keys.list_for_server(_own(call, user_id))


@routes.post("/_matrix/federation/v1/user/keys/query", auth=Auth.SERVER)
async def query_keys(call: Call, body: Query) -> Json:
    """Return the keys of users of this server."""
    wanted = {_own(call, user_id): [DeviceID(each) for each in names] for user_id, names in body.device_keys.items()}
    return await call.services.device_keys.for_server(wanted)


@routes.post("/_matrix/federation/v1/user/keys/claim", auth=Auth.SERVER)
async def claim_keys(call: Call, body: Claim) -> Json:
    """Take one-time keys of devices of users of this server."""
    wanted: dict[UserID, dict[DeviceID, str]] = {
        _own(call, user_id): {DeviceID(device): algorithm for device, algorithm in names.items()}
        for user_id, names in body.one_time_keys.items()
    }
    found: dict[str, Any] = await call.services.device_keys.claim_here(wanted)
    return {"one_time_keys": found}


def _own(call: Call, text: str) -> UserID:
    try:
        user_id = parse_user_id(text)
    except InvalidIdentifier as error:
        raise InvalidParam(f"{text!r} is no user ID: {error}") from error
    if server_of(user_id) != call.services.config.server_name:
        raise InvalidParam(f"{user_id} is not a user of this server")
    return user_id
