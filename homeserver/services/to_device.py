"""Messages from device to device.

https://spec.matrix.org/v1.19/client-server-api/#send-to-device-messaging and, between servers,
https://spec.matrix.org/v1.19/server-server-api/#send-to-device-messaging
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from federation.core.ids import DeviceID, ServerName, UserID, server_of
from federation.matrix.edus import DIRECT_TO_DEVICE
from homeserver.clock import Clock, Ids
from homeserver.errors import InvalidParam, TooLarge
from homeserver.model.accounts import Requester
from homeserver.model.nids import DeviceNid, UserNid
from homeserver.services import once
from homeserver.services.live import Live
from homeserver.services.outgoing import Outgoing
from homeserver.storage import to_device
from homeserver.storage.database import Database, Write
from homeserver.storage.names import Names

ALL_DEVICES = DeviceID("*")
MOST_AT_ONCE = 10_000
"""Messages of one request."""
LARGEST = 64 * 1024
"""Bytes of one message's content."""
LONGEST_TYPE = 255
MESSAGES_IN_AN_EDU = 100

Messages = Mapping[UserID, Mapping[DeviceID, Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class ToDevice:
    """Sends messages to devices; those for devices of this server that are none are left out."""

    own: ServerName
    db: Database
    clock: Clock
    ids: Ids
    names: Names
    live: Live
    outgoing: Outgoing

    async def send(self, who: Requester, message_type: str, txn_id: str, messages: Messages) -> None:
        """Let each message wait for its device, once for each transaction. Raises `InvalidParam` or `TooLarge`."""
        if not message_type or len(message_type.encode()) > LONGEST_TYPE:
            raise InvalidParam(f"eventType: must have 1 to {LONGEST_TYPE} bytes")
        encoded = _encoded(messages)
        scope = f"sendToDevice {message_type}"
        now = self.clock.now_ms()
        here = {user_id: each for user_id, each in encoded.items() if server_of(user_id) == self.own}
        elsewhere: dict[ServerName, dict[UserID, dict[DeviceID, bytes]]] = {}
        for user_id, each in encoded.items():
            if user_id not in here:
                elsewhere.setdefault(server_of(user_id), {})[user_id] = each

        def write(tx: Write) -> None:
            if once.is_done(tx.conn, who.device, scope, txn_id):
                return
            once.remember(tx, who.device, scope, txn_id, None, now)
            self._deliver(tx, who.user, message_type, here)
            for server, wanted in elsewhere.items():
                self._send_elsewhere(tx, who.user_id, message_type, server, wanted)

        await self.db.write(write)

    async def hear(self, origin: ServerName, content: Mapping[str, Any]) -> None:
        """Take the messages of another server's user: a checked `m.direct_to_device`."""
        messages = {
            UserID(user_id): {DeviceID(device): orjson.dumps(each) for device, each in devices.items()}
            for user_id, devices in content["messages"].items()
            if server_of(UserID(user_id)) == self.own
        }
        too_large = any(len(each) > LARGEST for devices in messages.values() for each in devices.values())
        if too_large or not 0 < len(content["type"].encode()) <= LONGEST_TYPE:
            return
        now = self.clock.now_ms()

        def write(tx: Write) -> None:
            if to_device.receive(tx, origin, content["message_id"], now):
                sender = self.names.intern_user(tx, UserID(content["sender"]))
                self._deliver(tx, sender, content["type"], messages)

        await self.db.write(write)

    def _deliver(
        self, tx: Write, sender: UserNid, message_type: str, messages: Mapping[UserID, Mapping[DeviceID, bytes]]
    ) -> None:
        """Let messages wait for devices of this server. Raises `TooLarge`."""
        addressed: list[tuple[DeviceNid, bytes]] = []
        told: set[UserNid] = set()
        for user_id, (user, devices) in to_device.devices_of(tx.conn, messages).items():
            for device_id, device in devices.items():
                content = messages[user_id].get(device_id) or messages[user_id].get(ALL_DEVICES)
                if content is not None:
                    addressed.append((device, content))
                    told.add(user)
        if len(addressed) > MOST_AT_ONCE:
            raise TooLarge(f"messages: more than {MOST_AT_ONCE} at once")
        position = to_device.add(tx, sender, message_type, addressed)
        if position is not None:
            tx.after_commit(self.live.ring_users, position, told)

    def _send_elsewhere(
        self, tx: Write, sender: UserID, message_type: str, server: ServerName,
        messages: Mapping[UserID, Mapping[DeviceID, bytes]],
    ) -> None:  # fmt: skip
        """Send messages to another server, in as many EDUs as they take."""
        flat = [(user_id, device, each) for user_id, devices in messages.items() for device, each in devices.items()]
        for start in range(0, len(flat), MESSAGES_IN_AN_EDU):
            part: dict[str, dict[str, Any]] = {}
            for user_id, device, each in flat[start : start + MESSAGES_IN_AN_EDU]:
                part.setdefault(user_id, {})[device] = orjson.loads(each)
            content = {
                "sender": sender, "type": message_type, "message_id": self.ids.letters(24), "messages": part,
            }  # fmt: skip
            edu = {"edu_type": DIRECT_TO_DEVICE, "content": content}
            self.outgoing.edu(tx, frozenset((server,)), edu, durable=True)

    async def prune(self) -> None:
        """Drop the oldest messages of devices for which too many wait, and forget what came long ago."""
        now = self.clock.now_ms()
        await self.db.write(to_device.prune)
        await self.db.write(lambda tx: to_device.prune_received(tx, now))


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
