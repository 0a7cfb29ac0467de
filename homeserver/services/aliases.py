"""Addresses of rooms: https://spec.matrix.org/v1.19/client-server-api/#room-aliases."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from federation.core.errors import InvalidIdentifier
from federation.core.ids import RoomAlias, RoomID, ServerName, localpart_of, parse_alias, server_of
from homeserver.errors import BadAlias, BadJson, InvalidParam, NotFound
from homeserver.model.nids import RoomNid
from homeserver.services.timeline import Timeline, Turn
from homeserver.storage import aliases
from homeserver.storage.names import Names

CANONICAL_ALIAS = "m.room.canonical_alias"
MOST_ALIASES = 100
"""Aliases that are looked up for one event."""


def find_room(conn: Connection, names: Names, room: RoomID | RoomAlias) -> RoomNid:
    """Return the number of a room by its ID or an alias. Raises `NotFound`; whoever asks may not look in yet."""
    if room.startswith("#"):
        found = aliases.find(conn, RoomAlias(room))
        nid = found[0] if found is not None else None
    else:
        nid = names.room(conn, RoomID(room))
    if nid is None:
        raise NotFound(f"There is no room {room} here")
    return nid


def check_canonical_alias(turn: Turn, timeline: Timeline, content: Mapping[str, Any]) -> None:
    """Check the aliases that an `m.room.canonical_alias` event adds to those that stand there already.

    Raises `InvalidParam` for what is no alias, `BadAlias` for one that does not point to the room.
    Source: https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidstateeventtypestatekey
    """
    wanted = _aliases_in(content)
    if not wanted:
        return
    standing = timeline.entry(turn, CANONICAL_ALIAS)
    known = {text for text in _texts_in(standing.content) if isinstance(text, str)} if standing is not None else set()
    added = [alias for alias in dict.fromkeys(wanted) if alias not in known]
    if len(added) > MOST_ALIASES:
        raise InvalidParam(f"alt_aliases: more than {MOST_ALIASES} new aliases")
    for alias in added:
        if server_of(alias) != timeline.server_name:
            raise BadAlias(f"The alias {alias} is of another server, which cannot be asked")
        found = aliases.find(turn.tx.conn, alias)
        if found is None or found[0] != turn.room.nid:
            raise BadAlias(f"The alias {alias} does not point to this room")


def _texts_in(content: Mapping[str, Any]) -> list[Any]:
    alternatives = content.get("alt_aliases")
    return [content.get("alias") or None, *(alternatives if isinstance(alternatives, list) else ())]


def _aliases_in(content: Mapping[str, Any]) -> list[RoomAlias]:
    alias, alternatives = content.get("alias"), content.get("alt_aliases")
    if not isinstance(alias, str | None):
        raise BadJson("alias: must be a string")
    if not isinstance(alternatives, list | None) or any(not isinstance(text, str) for text in alternatives or ()):
        raise BadJson("alt_aliases: must be a list of strings")
    texts = ([alias] if alias else []) + list(alternatives or ())
    try:
        return [parse_alias(text) for text in texts]
    except InvalidIdentifier as error:
        raise InvalidParam(f"There is something that is no room alias: {error}") from error


def new_alias(localpart: str, server_name: ServerName) -> RoomAlias:
    """Return the alias with a local part. Raises `InvalidParam` if that is none one could ask for by a link."""
    alias = RoomAlias(f"#{localpart}:{server_name}")
    check_new_alias(alias)
    return alias


def check_new_alias(alias: RoomAlias) -> None:
    """Raise `InvalidParam` for an alias that nobody should make: empty, too long, or with spaces.

    Source: https://spec.matrix.org/v1.19/appendices/#room-aliases
    """
    try:
        localpart = localpart_of(parse_alias(alias))
    except InvalidIdentifier as error:
        raise InvalidParam(f"{alias!r} is no room alias: {error}") from error
    if not localpart or any(char.isspace() or not char.isprintable() for char in localpart):
        raise InvalidParam(f"{alias!r} is no room alias: it is empty or has spaces")
