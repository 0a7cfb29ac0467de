"""Identifiers: parsed once at a door, typed from then on.

https://spec.matrix.org/v1.19/appendices/#identifier-grammar

Every `parse_*` returns the very text it was given, as its type, or raises `InvalidIdentifier`. Grammars are
the widest that servers must accept; `new_user_id` has the narrow one for accounts that we make ourselves.
"""

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address
from typing import NewType

from federation.core.errors import InvalidIdentifier

UserID = NewType("UserID", str)
RoomID = NewType("RoomID", str)
EventID = NewType("EventID", str)
RoomAlias = NewType("RoomAlias", str)
ServerName = NewType("ServerName", str)
DeviceID = NewType("DeviceID", str)

MAX_ID_BYTES = 255
"""No user ID, room ID, alias or event ID is longer, sigil and domain included."""

_SERVER_NAME = (
    r"(?:(?P<ipv4>[0-9]{1,3}(?:\.[0-9]{1,3}){3})(?=:|\Z)"
    r"|\[(?P<ipv6>[0-9A-Fa-f:.]{2,45})\]"
    r"|[0-9A-Za-z.-]{1,255})"
    r"(?::(?P<port>[0-9]{1,5}))?"
)
# "any legal non-surrogate Unicode code points except for `:` and `NUL`"
_LOCALPART = "[^:\x00\ud800-\udfff]*"
_HASH = "[A-Za-z0-9_-]{43}"

_server_name = re.compile(_SERVER_NAME).fullmatch
_user_id = re.compile(f"@{_LOCALPART}:{_SERVER_NAME}").fullmatch
_room_id = re.compile(f"!(?:{_HASH}|{_LOCALPART}:{_SERVER_NAME})").fullmatch
_alias = re.compile(f"#{_LOCALPART}:{_SERVER_NAME}").fullmatch
# Version 3 uses the standard alphabet, later ones the URL-safe one, versions 1 and 2 have a domain.
_event_id = re.compile(f"\\$(?:[A-Za-z0-9+/]{{43}}|{_HASH}|{_LOCALPART}:{_SERVER_NAME})").fullmatch
_new_localpart = re.compile(r"[a-z0-9._=/+-]+").fullmatch
_hash_room_id = re.compile(f"!{_HASH}").fullmatch

_CACHED = 16384  # identifiers of a kind; a parsed one costs about 100 bytes to remember


def fits(text: str, limit: int = MAX_ID_BYTES) -> bool:
    """Return whether `text` takes at most `limit` bytes in UTF-8."""
    if text.isascii():
        return len(text) <= limit
    return len(text.encode("utf-8", "surrogatepass")) <= limit


@lru_cache(_CACHED)
def parse_user_id(text: str) -> UserID:
    """Return `text` as a user ID, historical ones included, or raise `InvalidIdentifier`."""
    if _user_id(text) is None or not fits(text):
        raise InvalidIdentifier("not a user ID")
    return UserID(text)


def new_user_id(localpart: str, server_name: ServerName) -> UserID:
    """Return the ID for a new account of ours, or raise `InvalidIdentifier`."""
    user_id = f"@{localpart}:{server_name}"
    if _new_localpart(localpart) is None:
        raise InvalidIdentifier("a user name may only hold a-z, 0-9 and . _ = - / +")
    if not fits(user_id):
        raise InvalidIdentifier("the user name is too long")
    return UserID(user_id)


def is_compliant_user_id(user_id: UserID) -> bool:
    """Return whether clients may be told of this user outside of events.

    https://spec.matrix.org/v1.19/appendices/#historical-user-ids: an empty localpart, or one with characters
    outside U+0021 to U+007E, is non-compliant.
    """
    localpart = localpart_of(user_id)
    return bool(localpart) and all("\x21" <= char <= "\x7e" for char in localpart)


@lru_cache(_CACHED)
def parse_room_id(text: str) -> RoomID:
    """Return `text` as a room ID of any room version, or raise `InvalidIdentifier`."""
    if _room_id(text) is None or not fits(text):
        raise InvalidIdentifier("not a room ID")
    return RoomID(text)


def is_hash_room_id(room_id: str) -> bool:
    """Return whether a room ID has the form without a domain: the hash of the create event."""
    return _hash_room_id(room_id) is not None


@lru_cache(_CACHED)
def parse_event_id(text: str) -> EventID:
    """Return `text` as an event ID of any room version, or raise `InvalidIdentifier`."""
    if _event_id(text) is None or not fits(text):
        raise InvalidIdentifier("not an event ID")
    return EventID(text)


def parse_alias(text: str) -> RoomAlias:
    """Return `text` as a room alias, or raise `InvalidIdentifier`."""
    if _alias(text) is None or not fits(text):
        raise InvalidIdentifier("not a room alias")
    return RoomAlias(text)


@lru_cache(_CACHED)
def parse_server_name(text: str) -> ServerName:
    """Return `text` as a server name one could connect to, or raise `InvalidIdentifier`.

    Stricter than the name inside another identifier: there only the grammar counts, because servers that
    differ about a sender or a power level would split the room.
    """
    match = _server_name(text)
    if match is None:
        raise InvalidIdentifier("not a server name")
    if match["ipv4"] and any(int(number) > 255 for number in match["ipv4"].split(".")):
        raise InvalidIdentifier("not an IPv4 address")
    if match["ipv6"]:
        try:
            IPv6Address(match["ipv6"])
        except AddressValueError as error:
            raise InvalidIdentifier("not an IPv6 address") from error
    if match["port"] and int(match["port"]) > 65535:
        raise InvalidIdentifier("not a port")
    return ServerName(text)


def split_server_name(name: ServerName) -> tuple[str, int | None]:
    """Return host and port of a parsed server name; an IPv6 host keeps its brackets."""
    host, colon, port = name.rpartition(":")
    if not colon or name.endswith("]"):
        return name, None
    return host, int(port)


def is_ip_literal(host: str) -> bool:
    """Return whether a host (no port) is an IPv4 address or a bracketed IPv6 address."""
    match = _server_name(host)
    return match is not None and bool(match["ipv4"] or match["ipv6"])


def localpart_of(identifier: UserID | RoomAlias) -> str:
    """Return what stands between the sigil and the first colon."""
    return identifier[1 : identifier.index(":")]


def server_of(identifier: UserID | RoomAlias) -> ServerName:
    """Return the server that allocated a user ID or an alias."""
    return ServerName(identifier[identifier.index(":") + 1 :])


def domain_of(identifier: RoomID | EventID) -> ServerName | None:
    """Return the domain of a room or event ID, or None where its room version gives it none."""
    _, colon, domain = identifier.partition(":")
    return ServerName(domain) if colon else None


def parse_device_id(text: str) -> DeviceID:
    """Return `text` as a device ID, an opaque text of 1 to 255 bytes, or raise `InvalidIdentifier`."""
    if not text or "\x00" in text or not fits(text):
        raise InvalidIdentifier("not a device ID")
    return DeviceID(text)
