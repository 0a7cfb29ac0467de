r"""Matrix identifiers in the localparts of JIDs, and back.

A localpart of a JID folds case and forbids characters that Matrix identifiers hold. So they are escaped, reversibly and
in a way that both PRECIS (RFC 7622) and the older nodeprep (RFC 6122, in most clients) leave alone:

* `\20` and the like for what XEP-0106 escapes, for `%`, and byte by byte (UTF-8) for all that is not certainly safe;
* `^a` for `A`, `^^` for `^`, since JIDs do not know case;
* `%` for the colon before the server's name.

`@alice:hs` is `alice` at our domain, `@bob:other.org` is `bob%other.org` at the gateway's, `#room:hs` is `room`, any
other alias `#room%other.org` and a room ID `!opaque%other.org` at that of rooms. No two identifiers share a localpart.

Source: https://xmpp.org/extensions/xep-0106.html
"""

import re
import stringprep
import unicodedata
from collections.abc import Callable
from functools import lru_cache

from federation.core.errors import InvalidIdentifier
from federation.core.ids import (
    RoomAlias,
    RoomID,
    ServerName,
    UserID,
    localpart_of,
    parse_alias,
    parse_room_id,
    parse_user_id,
    server_of,
)
from federation.core.xmpp.jid import prepare_localpart

_CACHED = 16384
_EMPTY = "^_"
_SPACE_AT_END = "^."
"""XEP-0106: an escaped localpart neither begins nor ends with \\20."""

_plain = re.compile(r"[a-z0-9!#$()*+,.;=?\[\]_`{|}~-]+").fullmatch
_escape = re.compile(r"\^(.?)|((?:\\[0-9a-f]{2})+)", re.DOTALL).sub
_SAFE_ASCII = frozenset("abcdefghijklmnopqrstuvwxyz0123456789!#$()*+,.;=?[]_`{|}~-")


@lru_cache(_CACHED)
def local_user(user_id: UserID) -> str:
    """Return the localpart of a user of this server. Raises `InvalidIdentifier` if it would be too long."""
    return prepare_localpart(escape(localpart_of(user_id)) or _EMPTY)


@lru_cache(_CACHED)
def remote_user(user_id: UserID) -> str:
    """Return the localpart of a user of another server. Raises `InvalidIdentifier` if it would be too long."""
    return prepare_localpart(f"{escape(localpart_of(user_id))}%{escape(server_of(user_id))}")


@lru_cache(_CACHED)
def room(room_id: RoomID) -> str:
    """Return the localpart of a room by its ID. Raises `InvalidIdentifier` if it would be too long."""
    opaque, colon, server = room_id[1:].partition(":")
    return prepare_localpart(f"!{escape(opaque)}%{escape(server)}" if colon else f"!{escape(opaque)}")


@lru_cache(_CACHED)
def alias(room_alias: RoomAlias, own: ServerName) -> str:
    """Return the localpart of a room by an alias. Raises `InvalidIdentifier` if it would be too long."""
    name = escape(localpart_of(room_alias))
    if server_of(room_alias) != own:
        return prepare_localpart(f"#{name}%{escape(server_of(room_alias))}")
    if name.startswith(("!", "#")):
        # At the beginning of a localpart they say what follows.
        name = f"\\{ord(name[0]):02x}{name[1:]}"
    return prepare_localpart(name or _EMPTY)


@lru_cache(_CACHED)
def user_of_local(localpart: str, own: ServerName) -> UserID:
    """Return the user of this server whom a localpart means. Raises `InvalidIdentifier`."""
    return parse_user_id(f"@{_name(localpart)}:{own}")


@lru_cache(_CACHED)
def user_of_remote(localpart: str) -> UserID:
    """Return the user of another server whom a localpart means. Raises `InvalidIdentifier`."""
    name, percent, server = localpart.rpartition("%")
    if not percent:
        raise InvalidIdentifier("expected user%server before the @")
    return parse_user_id(f"@{_name(name)}:{unescape(server)}")


@lru_cache(_CACHED)
def room_of(localpart: str, own: ServerName) -> RoomID | RoomAlias:
    """Return the room ID or the alias that a localpart means. Raises `InvalidIdentifier`."""
    name, percent, server = localpart.partition("%")
    if localpart.startswith("!"):
        domain = f":{unescape(server)}" if percent else ""
        return parse_room_id(f"!{_name(name[1:])}{domain}")
    if localpart.startswith("#"):
        if not percent:
            raise InvalidIdentifier("expected #alias%server before the @")
        return parse_alias(f"#{_name(name[1:])}:{unescape(server)}")
    return parse_alias(f"#{_name(localpart)}:{own}")


def escape(text: str) -> str:
    """Return a text as it stands in a localpart."""
    if _plain(text) is not None:
        return text
    escaped = "".join([_escaped(char, _is_safe) for char in text])
    try:
        stable = prepare_localpart(escaped) == escaped
    except InvalidIdentifier:
        stable = False
    if not stable:
        # Letters that are safe alone may not be so together (jamo make syllables, some may not stand beside others).
        escaped = "".join([_escaped(char, _SAFE_ASCII.__contains__) for char in text])
    if escaped.startswith("\\20"):
        escaped = _SPACE_AT_END + escaped[3:]
    if escaped.endswith("\\20"):
        escaped = escaped[:-3] + _SPACE_AT_END
    return escaped


def unescape(localpart: str) -> str:
    """Return the text that `escape` was given. What stands there unescaped stands for itself.

    Raises `InvalidIdentifier` for what is no escape.
    """
    if "\\" not in localpart and "^" not in localpart and "%" not in localpart:
        return localpart
    if "%" in localpart:
        raise InvalidIdentifier("a % that is not escaped")
    return _escape(_unescaped, localpart)


def _name(localpart: str) -> str:
    name = unescape(localpart)
    if ":" in name:
        raise InvalidIdentifier("a name holds no colon")
    return name


def _escaped(char: str, is_safe: Callable[[str], bool]) -> str:
    if is_safe(char):
        return char
    if "A" <= char <= "Z":
        return "^" + char.lower()
    if char == "^":
        return "^^"
    return "".join(f"\\{byte:02x}" for byte in char.encode())


def _is_safe(char: str) -> bool:
    """Whether a character is left alone by PRECIS and by nodeprep alike, whatever stands beside it, as far as known."""
    if char.isascii():
        return char in _SAFE_ASCII
    return (
        unicodedata.category(char) in ("Ll", "Lo")
        and not stringprep.in_table_a1(char)
        and stringprep.in_table_d2(char)
        and stringprep.map_table_b2(char) == char
        and unicodedata.normalize("NFKC", char) == char
        and char.lower() == char
    )


def _unescaped(found: re.Match[str]) -> str:
    if found[1] is not None:
        char = found[1]
        if "a" <= char <= "z":
            return char.upper()
        named = {"^": "^", "_": "", ".": " "}.get(char)
        if named is None:
            raise InvalidIdentifier("a ^ that escapes nothing")
        return named
    try:
        return bytes.fromhex(found[2].replace("\\", "")).decode()
    except UnicodeDecodeError as error:
        raise InvalidIdentifier("escaped bytes that are no UTF-8") from error
