"""Devices of the user: https://spec.matrix.org/v1.19/client-server-api/#device-management."""

from collections.abc import Iterable

import msgspec

from federation.core.errors import InvalidIdentifier
from federation.core.ids import DeviceID, parse_device_id
from homeserver.client_api.login import display_name
from homeserver.errors import InvalidParam
from homeserver.http.bodies import JsonObject
from homeserver.http.routing import Call, Json, Routes
from homeserver.model.devices import Device
from homeserver.services.devices import removal_demand

routes = Routes()


class DeviceBody(msgspec.Struct):
    """Body of `PUT /devices/{deviceId}`."""

    display_name: str | None = None


class DeleteBody(msgspec.Struct):
    """Body of `DELETE /devices/{deviceId}`."""

    auth: JsonObject | None = None


class DeleteManyBody(msgspec.Struct):
    """Body of `POST /delete_devices`."""

    devices: list[str]
    auth: JsonObject | None = None


@routes.get("/_matrix/client/v3/devices")
async def all_devices(call: Call) -> Json:
    """Return the user's devices."""
    return {"devices": [_json(device) for device in await call.services.devices.all(call.who)]}


@routes.get("/_matrix/client/v3/devices/{device_id}")
async def one_device(call: Call, device_id: DeviceID) -> Json:
    """Return one of the user's devices."""
    return _json(await call.services.devices.one(call.who, device_id))


@routes.put("/_matrix/client/v3/devices/{device_id}")
async def rename(call: Call, device_id: DeviceID, body: DeviceBody) -> Json:
    """Give a device another display name."""
    await call.services.devices.rename(call.who, device_id, display_name(body.display_name))
    return {}


@routes.delete("/_matrix/client/v3/devices/{device_id}")
async def delete(call: Call, device_id: DeviceID, body: DeleteBody) -> Json:
    """Remove a device."""
    return await _remove(call, [device_id], body.auth)


@routes.post("/_matrix/client/v3/delete_devices")
async def delete_many(call: Call, body: DeleteManyBody) -> Json:
    """Remove several devices."""
    return await _remove(call, _device_ids(body.devices), body.auth)


async def _remove(call: Call, device_ids: list[DeviceID], auth: JsonObject | None) -> Json:
    passed = await call.services.interactive_auth.check(removal_demand(call.who, device_ids), auth)
    await call.services.devices.remove(call.who, device_ids, passed)
    return {}


def _device_ids(texts: Iterable[str]) -> list[DeviceID]:
    try:
        return [parse_device_id(text) for text in texts]
    except InvalidIdentifier as error:
        raise InvalidParam(f"devices: {error}") from error


def _json(device: Device) -> dict[str, str | int]:
    fields = {
        "device_id": device.device_id,
        "display_name": device.display_name,
        "last_seen_ip": device.last_seen_ip,
        "last_seen_ts": device.last_seen_at,
    }
    return {name: value for name, value in fields.items() if value is not None}
