"""Addresses of rooms: https://spec.matrix.org/v1.19/client-server-api/#room-aliases."""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from federation.core.errors import InvalidIdentifier
from federation.core.events.content import Membership
from federation.core.events.draft import Draft
from federation.core.ids import (
    RoomAlias,
    RoomID,
    ServerName,
    localpart_of,
    parse_alias,
    parse_room_id,
    parse_server_name,
    server_of,
)
from federation.matrix.client import FederationClient
from federation.matrix.errors import FederationError
from homeserver.errors import (
    AliasTaken,
    BadAlias,
    BadJson,
    Forbidden,
    InvalidParam,
    MatrixError,
    NotFound,
    OtherServerFailed,
    UserSuspended,
)
from homeserver.model.accounts import Requester
from homeserver.model.nids import RoomNid
from homeserver.services import access
from homeserver.services.access import NOT_IN_ROOM
from homeserver.services.policy.asking import PolicedWrites
from homeserver.services.refusals import public
from homeserver.services.room_views import RoomViews
from homeserver.services.timeline import Timeline, Turn
from homeserver.storage import aliases, memberships
from homeserver.storage.database import Database, Write
from homeserver.storage.names import Names
from homeserver.storage.room_servers import RoomServers

CANONICAL_ALIAS = "m.room.canonical_alias"
MOST_SERVERS = 50
"""Servers of a room that are told with its alias."""
AT_ONCE = 5
"""Aliases of other servers that are asked for at the same time."""
MOST_ALIASES = 100
"""Aliases that are looked up for one event."""


@dataclass(frozen=True, slots=True)
class Aliases:
    """Keeps the addresses that rooms have on this server."""

    db: Database
    policed: PolicedWrites
    timeline: Timeline
    views: RoomViews
    room_servers: RoomServers
    client: FederationClient | None
    """Asks other servers for theirs; None if this server speaks with none."""

    async def create(self, who: Requester, alias: RoomAlias, room_id: RoomID) -> None:
        """Point a new alias to a room that the user is in.

        Raises `InvalidParam` for one that cannot be made here, `AliasTaken`, and `Forbidden` if the user is not there.
        """
        if who.suspended:
            raise UserSuspended("Your account is suspended")
        check_new_alias(alias)
        if server_of(alias) != self.timeline.server_name:
            raise InvalidParam(f"roomAlias: must end in :{self.timeline.server_name}")

        def write(tx: Write) -> None:
            room = access.joined_room(tx.conn, self.timeline.names, who.user, room_id)
            if aliases.find(tx.conn, alias) is not None:
                raise AliasTaken(f"The alias {alias} exists already")
            aliases.create(tx, alias, room, who.user)

        await self.db.write(write)

    async def resolve(self, alias: RoomAlias) -> tuple[RoomID, list[ServerName]]:
        """Return the room that an alias points to, and servers that are in it.

        Raises `NotFound`, and `OtherServerFailed` if the alias is of a server that gives no answer.
        """
        own, server = self.timeline.server_name, server_of(alias)
        if server != own and self.client is not None:
            return await self._ask(self.client, server, alias)

        def read(conn: Connection) -> tuple[RoomID, list[ServerName]] | None:
            found = aliases.find(conn, alias)
            if found is None:
                return None
            others = self.room_servers.servers(conn, found[0]) - {own}
            return found[1], [own, *sorted(others)][:MOST_SERVERS]

        found = await self.db.read(read)
        if found is None:
            raise NotFound(f"There is no alias {alias} here")
        return found

    async def _ask(
        self, client: FederationClient, server: ServerName, alias: RoomAlias
    ) -> tuple[RoomID, list[ServerName]]:
        """https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1querydirectory"""
        try:
            answer = await client.query_directory(server, alias)
            room_id = parse_room_id(answer.get("room_id") or "")
        except FederationError as error:
            raise public(error, server) from error
        except (InvalidIdentifier, TypeError) as error:
            raise OtherServerFailed(f"{server} gave no room for {alias}") from error
        told = answer.get("servers")
        names = told[:MOST_SERVERS] if isinstance(told, list) else []
        found = {name: None for name in [*names, server] if isinstance(name, str) and _is_server(name)}
        return room_id, [ServerName(name) for name in found]

    async def elsewhere(self, who: Requester, room_id: RoomID, content: Mapping[str, Any]) -> set[RoomAlias]:
        """Return the aliases of other servers that an `m.room.canonical_alias` adds, and that point to the room.

        Raises `Forbidden` if the user is not in it, `InvalidParam` or `BadJson` for what are no aliases.
        """

        def write(tx: Write) -> list[RoomAlias]:
            room = access.joined_room(tx.conn, self.timeline.names, who.user, room_id)
            added = _added(self.timeline.turn(tx, room), self.timeline, content)
            return [alias for alias in added if server_of(alias) != self.timeline.server_name]

        wanted = await self.db.write(write)
        slots = asyncio.Semaphore(AT_ONCE)

        async def points_here(alias: RoomAlias) -> bool:
            async with slots:
                try:
                    return (await self.resolve(alias))[0] == room_id
                except MatrixError:
                    return False

        found = await asyncio.gather(*map(points_here, wanted))
        return {alias for alias, here in zip(wanted, found, strict=True) if here}

    async def delete(self, who: Requester, alias: RoomAlias) -> None:
        """Delete an alias, and take it out of the room's published aliases if the user may change those.

        It can be deleted by who made it, by who may publish aliases in the room, and by administrators. Raises
        `NotFound` or `Forbidden`.
        """

        def write(tx: Write) -> None:
            found = aliases.find(tx.conn, alias)
            if found is None:
                raise NotFound(f"There is no alias {alias} here")
            room, _, creator = found
            turn = self.timeline.turn(tx, room)
            if not (who.admin or creator == who.user or may_publish(turn, self.timeline, who)):
                raise Forbidden("You may not delete this alias")
            aliases.delete(tx, alias)
            self._take_out(turn, who, alias)

        await self.policed.write(write)

    def _take_out(self, turn: Turn, who: Requester, alias: RoomAlias) -> None:
        standing = self.timeline.entry(turn, CANONICAL_ALIAS)
        content = without_aliases(standing.content, {alias}) if standing is not None else None
        if content is None:
            return
        try:
            self.timeline.append(turn, Draft(turn.room.room_id, CANONICAL_ALIAS, who.user_id, content, ""))
        except MatrixError:
            # The alias is gone all the same: https://spec.matrix.org/v1.19/client-server-api/#room-aliases
            return

    async def of_room(self, who: Requester, room_id: RoomID) -> list[RoomAlias]:
        """Return a room's aliases on this server. Raises `Forbidden` to who is not in it, unless all may read it."""

        def read(conn: Connection) -> list[RoomAlias]:
            names = self.timeline.names
            room = names.room(conn, room_id)
            if room is None:
                raise Forbidden(NOT_IN_ROOM)
            standing = memberships.of_user_in(conn, room, who.user)
            if standing is None or standing.membership is not Membership.JOIN:
                view = self.views.load(conn, [room]).get(room)
                if view is None or not view.is_world_readable:
                    raise Forbidden(NOT_IN_ROOM)
            return aliases.of_room(conn, room)

        return await self.db.read(read)


def may_publish(turn: Turn, timeline: Timeline, who: Requester) -> bool:
    """Return whether a user is in a room and may say there by which aliases it is known."""
    standing = memberships.of_user_in(turn.tx.conn, turn.room.nid, who.user)
    if standing is None or standing.membership is not Membership.JOIN:
        return False
    levels = timeline.power_levels(turn)
    return levels.user_level(who.user_id) >= levels.event_level(CANONICAL_ALIAS, is_state=True)


def without_aliases(content: Mapping[str, Any], gone: Collection[str]) -> dict[str, Any] | None:
    """Return an `m.room.canonical_alias` content without some aliases, None if it names none of them."""
    if not any(text in gone for text in _texts_in(content) if isinstance(text, str)):
        return None
    left = dict(content)
    if left.get("alias") in gone:
        del left["alias"]
    alternatives = left.get("alt_aliases")
    if isinstance(alternatives, list):
        left["alt_aliases"] = [text for text in alternatives if text not in gone]
    return left


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


def check_canonical_alias(
    turn: Turn, timeline: Timeline, content: Mapping[str, Any], elsewhere: Collection[RoomAlias] = ()
) -> None:
    """Check the aliases that an `m.room.canonical_alias` event adds to those that stand there already.

    `elsewhere` are aliases of other servers that point to the room: see `Aliases.elsewhere`. Raises `InvalidParam` for
    what is no alias, `BadAlias` for one that does not point to the room.
    Source: https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidstateeventtypestatekey
    """
    for alias in _added(turn, timeline, content):
        if server_of(alias) != timeline.server_name:
            if alias not in elsewhere:
                raise BadAlias(
                    f"The alias {alias} of another server does not point to this room, or cannot be asked for"
                )
            continue
        found = aliases.find(turn.tx.conn, alias)
        if found is None or found[0] != turn.room.nid:
            raise BadAlias(f"The alias {alias} does not point to this room")


def _added(turn: Turn, timeline: Timeline, content: Mapping[str, Any]) -> list[RoomAlias]:
    """Return the aliases of a content that do not stand there already. Raises `InvalidParam`, `BadJson`."""
    wanted = _aliases_in(content)
    if not wanted:
        return []
    standing = timeline.entry(turn, CANONICAL_ALIAS)
    known = {text for text in _texts_in(standing.content) if isinstance(text, str)} if standing is not None else set()
    added = [alias for alias in dict.fromkeys(wanted) if alias not in known]
    if len(added) > MOST_ALIASES:
        raise InvalidParam(f"alt_aliases: more than {MOST_ALIASES} new aliases")
    return added


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


def _is_server(name: str) -> bool:
    try:
        return bool(parse_server_name(name))
    except InvalidIdentifier:
        return False
