"""Which JID each room has: given when an XMPP client first hears of it, and valid ever after.

Whatever is asked for at another address of the same room (an alias, its ID) is served there too, so the JIDs that
clients keep in bookmarks and archives go on working.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection

from federation.core.errors import InvalidIdentifier
from federation.core.ids import RoomAlias, RoomID, parse_alias
from federation.core.xmpp.jid import Jid
from homeserver.model.nids import RoomNid
from homeserver.services import Services
from homeserver.storage import aliases, room_addresses
from homeserver.storage.database import Write
from homeserver.xmpp.addresses import Addresses


@dataclass(frozen=True, slots=True)
class RoomNames:
    """Gives rooms their JIDs."""

    services: Services
    addresses: Addresses

    async def of_rooms(self, rooms: Iterable[RoomNid]) -> dict[RoomNid, Jid]:
        """Return the JIDs of rooms, giving those that have none theirs."""
        wanted = list(rooms)
        if not wanted:
            return {}
        found = await self.services.db.read(lambda conn: room_addresses.of_rooms(conn, wanted))
        missing = [room for room in wanted if room not in found]
        if missing:
            found |= await self.services.db.write(lambda tx: room_addresses.give(tx, self._choose(tx, missing)))
        return {room: Jid(localpart, self.addresses.rooms) for room, localpart in found.items()}

    async def of_room(self, room: RoomNid) -> Jid:
        """Return the JID of a room."""
        return (await self.of_rooms([room]))[room]

    async def entered(self, room: RoomNid, jid: Jid) -> None:
        """Let a room be called for good by what it was entered by, if it has no JID yet."""
        if await self.services.db.read(lambda conn: room_addresses.of_rooms(conn, [room])):
            return

        def write(tx: Write) -> None:
            names = {nid: (jid.local or "", *chosen) for nid, chosen in self._choose(tx, [room]).items()}
            room_addresses.give(tx, names)

        await self.services.db.write(write)

    def known(self, conn: Connection, jid: Jid) -> RoomNid | None:
        """Return the room of this server that a JID means: by what it was called first, by an alias or by its ID."""
        if jid.local is None or jid.domain != self.addresses.rooms:
            return None
        room = room_addresses.find(conn, jid.local)
        if room is not None:
            return room
        named = self.addresses.room(jid)
        if named is None:
            return None
        if named.startswith("#"):
            found = aliases.find(conn, RoomAlias(named))
            return found[0] if found is not None else None
        return self.services.history.names.room(conn, RoomID(named))

    def _choose(self, tx: Write, rooms: list[RoomNid]) -> dict[RoomNid, tuple[str, ...]]:
        """Return what each room could be called: by its alias of this server, else by its ID."""
        views = self.services.summaries.views.load(tx.conn, rooms)
        room_ids = self.services.history.names.room_ids(tx.conn, rooms)
        chosen = {}
        for room in rooms:
            names: list[RoomID | RoomAlias] = [room_ids[room]]
            alias = views[room].canonical_alias if room in views else None
            # Anybody can claim an alias; it counts where it leads.
            own = alias is not None and alias.endswith(f":{self.addresses.server_name}")
            found = aliases.find(tx.conn, parse_alias(alias)) if own and alias is not None else None
            if alias is not None and found is not None and found[0] == room:
                names.insert(0, parse_alias(alias))
            chosen[room] = tuple(self._localparts(names))
        return chosen

    def _localparts(self, names: Iterable[RoomID | RoomAlias]) -> Iterable[str]:
        for name in names:
            try:
                localpart = self.addresses.of_room(name).local
            except InvalidIdentifier:
                continue
            if localpart is not None:
                yield localpart
