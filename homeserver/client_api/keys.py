"""Keys of devices: https://spec.matrix.org/v1.19/client-server-api/#key-management-api."""

from typing import Any

import msgspec

from federation.core.errors import InvalidIdentifier
from federation.core.ids import DeviceID, UserID, parse_user_id
from homeserver.errors import BadJson, InvalidParam
from homeserver.http.bodies import JsonObject
from homeserver.http.routing import Call, Json, Routes
from homeserver.model.encryption import Usage
from homeserver.model.positions import SyncToken
from homeserver.services.encryption.cross_signing import demand_of

routes = Routes()

USUAL_WAIT_MS = 10_000


class Upload(msgspec.Struct):
    """Keys of the device that asks."""

    device_keys: JsonObject | None = None
    one_time_keys: JsonObject = {}
    fallback_keys: JsonObject = {}


class Query(msgspec.Struct):
    """Whose keys are asked for."""

    device_keys: dict[str, list[str]]
    timeout: int = USUAL_WAIT_MS


class Claim(msgspec.Struct):
    """Of which devices a key is to be taken, by which algorithm."""

    one_time_keys: dict[str, dict[str, str]]
    timeout: int = USUAL_WAIT_MS


class ChangesQuery(msgspec.Struct):
    """Between which places of /sync."""

    from_: str = msgspec.field(name="from")
    to: str = ""


class CrossSigningKeys(msgspec.Struct):
    """Cross-signing keys, with what proves who the user is."""

    master_key: JsonObject | None = None
    self_signing_key: JsonObject | None = None
    user_signing_key: JsonObject | None = None
    auth: JsonObject | None = None


@routes.post("/_matrix/client/v3/keys/upload")
async def upload(call: Call, body: Upload) -> Json:
    """Publish keys of the caller's device."""
    keys = call.services.device_keys
    counts = await keys.upload(call.who, body.device_keys, body.one_time_keys, body.fallback_keys)
    return {"one_time_key_counts": counts}


@routes.post("/_matrix/client/v3/keys/query")
async def query(call: Call, body: Query) -> Json:
    """Return the keys of users' devices."""
    wanted = {_user(user_id): [DeviceID(each) for each in devices] for user_id, devices in body.device_keys.items()}
    return await call.services.device_keys.query(call.who, wanted, body.timeout)


@routes.post("/_matrix/client/v3/keys/claim")
async def claim(call: Call, body: Claim) -> Json:
    """Take one-time keys of devices."""
    wanted: dict[UserID, dict[DeviceID, str]] = {
        _user(user_id): {DeviceID(device): algorithm for device, algorithm in devices.items()}
        for user_id, devices in body.one_time_keys.items()
    }
    return await call.services.device_keys.claim(wanted, body.timeout)


@routes.get("/_matrix/client/v3/keys/changes")
async def changes(call: Call, query: ChangesQuery) -> Json:
    """Say whose devices have changed between two places."""
    try:
        since = SyncToken.parse(query.from_)
    except ValueError as error:
        raise InvalidParam("from: not a token of /sync") from error
    changed, left = await call.services.device_lists.since(call.who, since.position)
    return {"changed": sorted(changed), "left": sorted(left)}


@routes.post("/_matrix/client/v3/keys/device_signing/upload")
@routes.post("/_matrix/client/unstable/keys/device_signing/upload")
async def upload_cross_signing(call: Call, body: CrossSigningKeys) -> Json:
    """Publish the caller's cross-signing keys."""
    service = call.services.cross_signing
    given = {
        Usage.MASTER: body.master_key,
        Usage.SELF_SIGNING: body.self_signing_key,
        Usage.USER_SIGNING: body.user_signing_key,
    }
    keys = {usage: key for usage, key in given.items() if key is not None}
    passed = None
    if await service.needs_proof(call.who, keys):
        passed = await call.services.interactive_auth.check(demand_of(call.who), body.auth)
    await service.upload(call.who, keys, passed)
    return {}


@routes.post("/_matrix/client/v3/keys/signatures/upload")
@routes.post("/_matrix/client/unstable/keys/signatures/upload")
async def upload_signatures(call: Call, body: JsonObject) -> Json:
    """Publish signatures that the caller's devices and keys have made."""
    signed: dict[UserID, dict[str, Any]] = {}
    for user_id, objects in body.items():
        if not isinstance(objects, dict):
            raise BadJson(f"{user_id}: expected an object")
        signed[_user(user_id)] = objects
    return {"failures": await call.services.cross_signing.sign(call.who, signed)}


def _user(text: str) -> UserID:
    try:
        return parse_user_id(text)
    except InvalidIdentifier as error:
        raise InvalidParam(f"{text!r} is no user ID: {error}") from error
