"""EDUs as they come: what another server may say, and no more.

https://spec.matrix.org/v1.19/server-server-api/#edus

Nobody signs an EDU but the server that brings it, so it may speak of that server's own users only. `read` leaves out
whatever speaks of others, and everything that has not the form of its type; `without_rooms` what is about rooms in
which the server has no say.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from federation.core.errors import InvalidIdentifier
from federation.core.ids import RoomID, ServerName, UserID, parse_event_id, parse_room_id, parse_user_id, server_of

TYPING = "m.typing"
PRESENCE = "m.presence"
RECEIPT = "m.receipt"
DEVICE_LIST_UPDATE = "m.device_list_update"
SIGNING_KEY_UPDATE = "m.signing_key_update"
DIRECT_TO_DEVICE = "m.direct_to_device"

MOST_ENTRIES = 1000
"""Users, rooms or devices that one EDU speaks of; what is beyond is left out."""
MOST_MESSAGE_ID = 255
"""The specification says 32; servers in use send longer ones."""
_PRESENCES = ("online", "unavailable", "offline")
_MAX_TIME = 2**53 - 1

Content = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Edu:
    """An EDU of a known type, with nothing in it that its origin may not say."""

    type: str
    content: Content

    def rooms(self) -> set[RoomID]:
        """Return the rooms that it is about."""
        if self.type == TYPING:
            return {RoomID(self.content["room_id"])}
        if self.type == RECEIPT:
            return {RoomID(room_id) for room_id in self.content}
        return set()

    def without_rooms(self, refused: Collection[RoomID]) -> "Edu | None":
        """Return what is left of it without these rooms; None if that is nothing."""
        if self.type == TYPING:
            return None if self.content["room_id"] in refused else self
        if self.type == RECEIPT:
            left = {room_id: each for room_id, each in self.content.items() if room_id not in refused}
            return Edu(self.type, left) if left else None
        return self


def read(origin: ServerName, edu: object) -> Edu | None:
    """Return what of an EDU its origin may say; None if that is nothing, or it is of a type that nobody knows."""
    if not isinstance(edu, dict):
        return None
    edu_type, content = edu.get("edu_type"), edu.get("content")
    reader = _READERS.get(edu_type) if isinstance(edu_type, str) else None
    if reader is None or not isinstance(edu_type, str) or not isinstance(content, dict):
        return None
    allowed = reader(origin, content)
    return Edu(edu_type, allowed) if allowed and _can_be_written(allowed) else None


def _can_be_written(content: Content) -> bool:
    """Return whether others can be told of it: integers of old events are of any size; nobody needs such here."""
    try:
        orjson.dumps(content)
    except orjson.JSONEncodeError:
        return False
    return True


def _own_user(origin: ServerName, value: object) -> UserID | None:
    """Return a user ID of the server; None for anything else."""
    if not isinstance(value, str):
        return None
    try:
        user_id = parse_user_id(value)
    except InvalidIdentifier:
        return None
    return user_id if server_of(user_id) == origin else None


def _room(value: object) -> RoomID | None:
    try:
        return parse_room_id(value) if isinstance(value, str) else None
    except InvalidIdentifier:
        return None


def _is_event_id(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(parse_event_id(value))
    except InvalidIdentifier:
        return False


def _is_time(value: object) -> bool:
    return type(value) is int and 0 <= value <= _MAX_TIME


def _typing(origin: ServerName, content: Mapping[str, Any]) -> Content | None:
    room_id, user_id = _room(content.get("room_id")), _own_user(origin, content.get("user_id"))
    typing = content.get("typing")
    if room_id is None or user_id is None or not isinstance(typing, bool):
        return None
    return {"room_id": room_id, "user_id": user_id, "typing": typing}


def _presence(origin: ServerName, content: Mapping[str, Any]) -> Content | None:
    push = content.get("push")
    if not isinstance(push, list):
        return None
    kept = []
    for entry in push[:MOST_ENTRIES]:
        if not isinstance(entry, dict) or _own_user(origin, entry.get("user_id")) is None:
            continue
        if entry.get("presence") not in _PRESENCES or not _is_time(entry.get("last_active_ago", 0)):
            continue
        if not isinstance(entry.get("status_msg"), str | None) or not isinstance(
            entry.get("currently_active", False), bool
        ):
            continue
        kept.append(entry)
    return {"push": kept} if kept else None


def _receipt(origin: ServerName, content: Mapping[str, Any]) -> Content | None:
    kept: Content = {}
    left = MOST_ENTRIES
    for room_id, kinds in content.items():
        # Only public receipts go to other servers.
        of_users = kinds.get("m.read") if isinstance(kinds, dict) else None
        if _room(room_id) is None or not isinstance(of_users, dict):
            continue
        receipts = {
            user_id: receipt
            for user_id, receipt in of_users.items()
            if _own_user(origin, user_id) is not None and _is_receipt(receipt)
        }
        if not receipts:
            continue
        if len(receipts) > left:
            break
        left -= len(receipts)
        kept[room_id] = {"m.read": receipts}
    return kept or None


def _is_receipt(receipt: object) -> bool:
    if not isinstance(receipt, dict):
        return False
    event_ids, data = receipt.get("event_ids"), receipt.get("data")
    if not isinstance(event_ids, list) or len(event_ids) != 1 or not _is_event_id(event_ids[0]):
        return False
    if not isinstance(data, dict) or not _is_time(data.get("ts")):
        return False
    # https://spec.matrix.org/v1.19/client-server-api/#threaded-read-receipts
    thread = data.get("thread_id")
    return "thread_id" not in data or thread == "main" or _is_event_id(thread)


def _device_list_update(origin: ServerName, content: Mapping[str, Any]) -> Content | None:
    if _own_user(origin, content.get("user_id")) is None or not _is_device(content.get("device_id")):
        return None
    if not _is_time(content.get("stream_id")) or not isinstance(content.get("deleted", False), bool):
        return None
    earlier = content.get("prev_id", [])
    if not isinstance(earlier, list) or not all(type(each) is int for each in earlier):
        return None
    if not isinstance(content.get("device_display_name"), str | None) or not isinstance(
        content.get("keys"), dict | None
    ):
        return None
    return dict(content)


def _signing_key_update(origin: ServerName, content: Mapping[str, Any]) -> Content | None:
    if _own_user(origin, content.get("user_id")) is None:
        return None
    keys = (content.get("master_key"), content.get("self_signing_key"))
    return dict(content) if all(isinstance(key, dict | None) for key in keys) else None


def _direct_to_device(origin: ServerName, content: Mapping[str, Any]) -> Content | None:
    message_id, messages = content.get("message_id"), content.get("messages")
    if _own_user(origin, content.get("sender")) is None or not isinstance(content.get("type"), str):
        return None
    if not isinstance(message_id, str) or len(message_id) > MOST_MESSAGE_ID or not isinstance(messages, dict):
        return None
    kept: dict[str, dict[str, Any]] = {}
    left = MOST_ENTRIES
    for user_id, of_devices in messages.items():
        if not isinstance(of_devices, dict) or not _is_user(user_id):
            continue
        devices = {device: body for device, body in of_devices.items() if _is_device(device) and isinstance(body, dict)}
        if len(devices) > left:
            break
        left -= len(devices)
        if devices:
            kept[user_id] = devices
    return {**content, "messages": kept} if kept else None


def _is_user(value: str) -> bool:
    try:
        return bool(parse_user_id(value))
    except InvalidIdentifier:
        return False


def _is_device(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 255 and "\0" not in value


_READERS: Mapping[str, Callable[[ServerName, Mapping[str, Any]], Content | None]] = {
    TYPING: _typing,
    PRESENCE: _presence,
    RECEIPT: _receipt,
    DEVICE_LIST_UPDATE: _device_list_update,
    SIGNING_KEY_UPDATE: _signing_key_update,
    DIRECT_TO_DEVICE: _direct_to_device,
}
