"""Messages from device to device: https://spec.matrix.org/v1.19/client-server-api/#send-to-device-messaging."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from federation.core.ids import DeviceID, UserID
from homeserver.clock import Clock
from homeserver.errors import InvalidParam, TooLarge
from homeserver.model.accounts import Requester
from homeserver.model.nids import DeviceNid, UserNid
from homeserver.services import once
from homeserver.services.live import Live
from homeserver.storage import to_device
from homeserver.storage.database import Database, Write

ALL_DEVICES = DeviceID("*")
MOST_AT_ONCE = 10_000
"""Messages of one request."""
LARGEST = 64 * 1024
"""Bytes of one message's content."""
LONGEST_TYPE = 255

Messages = Mapping[UserID, Mapping[DeviceID, Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class ToDevice:
    """Sends messages to devices of local users; those of users and devices that are not here are left out."""

    db: Database
    clock: Clock
    live: Live

    async def send(self, who: Requester, message_type: str, txn_id: str, messages: Messages) -> None:
        """Let each message wait for its device, once for each transaction. Raises `InvalidParam` or `TooLarge`."""
        if not message_type or len(message_type.encode()) > LONGEST_TYPE:
            raise InvalidParam(f"eventType: must have 1 to {LONGEST_TYPE} bytes")
        encoded = _encoded(messages)
        scope = f"sendToDevice {message_type}"
        now = self.clock.now_ms()

        def write(tx: Write) -> None:
            if once.is_done(tx.conn, who.device, scope, txn_id):
                return
            once.remember(tx, who.device, scope, txn_id, None, now)
            addressed: list[tuple[DeviceNid, bytes]] = []
            told: set[UserNid] = set()
            for user_id, (user, devices) in to_device.devices_of(tx.conn, encoded).items():
                for device_id, device in devices.items():
                    content = encoded[user_id].get(device_id) or encoded[user_id].get(ALL_DEVICES)
                    if content is not None:
                        addressed.append((device, content))
                        told.add(user)
            if len(addressed) > MOST_AT_ONCE:
                raise TooLarge(f"messages: more than {MOST_AT_ONCE} at once")
            position = to_device.add(tx, who.user, message_type, addressed)
            if position is not None:
                tx.after_commit(self.live.ring_users, position, told)

        await self.db.write(write)

    async def prune(self) -> None:
        """Drop the oldest messages of devices for which too many wait."""
        await self.db.write(to_device.prune)


def _encoded(messages: Messages) -> dict[UserID, dict[DeviceID, bytes]]:
    if sum(len(devices) for devices in messages.values()) > MOST_AT_ONCE:
        raise TooLarge(f"messages: more than {MOST_AT_ONCE} at once")
    encoded = {
        user_id: {device: orjson.dumps(content) for device, content in devices.items()}
        for user_id, devices in messages.items()
    }
    if any(len(content) > LARGEST for devices in encoded.values() for content in devices.values()):
        raise TooLarge(f"messages: a content has at most {LARGEST} bytes")
    return encoded
