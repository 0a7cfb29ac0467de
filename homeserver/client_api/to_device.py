"""Messages from device to device: https://spec.matrix.org/v1.19/client-server-api/#send-to-device-messaging."""

from typing import Any

import msgspec

from federation.core.errors import InvalidIdentifier
from federation.core.ids import DeviceID, UserID, parse_user_id
from homeserver.errors import InvalidParam
from homeserver.http.routing import Call, Json, Routes

routes = Routes()


class MessagesBody(msgspec.Struct):
    """Messages by user and device."""

    messages: dict[str, dict[str, dict[str, Any]]]


@routes.put("/_matrix/client/v3/sendToDevice/{event_type}/{txn_id}")
async def send(call: Call, event_type: str, txn_id: str, body: MessagesBody) -> Json:
    """Send messages to devices."""
    messages = {
        _user_id(user): {DeviceID(device): content for device, content in devices.items()}
        for user, devices in body.messages.items()
    }
    await call.services.to_device.send(call.who, event_type, txn_id, messages)
    return {}


def _user_id(text: str) -> UserID:
    try:
        return parse_user_id(text)
    except InvalidIdentifier as error:
        raise InvalidParam(f"messages.{text[:255]}: {error}") from error
