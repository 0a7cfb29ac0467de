"""Which servers to try to reach a room through, in which order."""

from collections.abc import Iterable
from dataclasses import dataclass

import orjson
from sqlalchemy import Connection

from federation.core.errors import InvalidIdentifier
from federation.core.ids import RoomID, ServerName, domain_of, parse_server_name, server_of
from homeserver.model.nids import UserNid
from homeserver.storage import memberships
from homeserver.storage.names import Names
from homeserver.storage.room_servers import RoomServers

MOST = 10
"""Servers that are tried."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Finds servers that may be in a room."""

    server_name: ServerName
    names: Names
    room_servers: RoomServers

    def find(self, conn: Connection, room_id: RoomID, user: UserNid, given: Iterable[str]) -> list[ServerName]:
        """Return the servers to try: those given first, then who invited the user, then those that may be there."""
        found = list(given)
        room = self.names.room(conn, room_id)
        if room is not None:
            standing = memberships.of_user_in(conn, room, user)
            if standing is not None and standing.sender != user:
                found.append(server_of(self.names.user_id(conn, standing.sender)))
            found += sorted(self.room_servers.servers(conn, room))
            # Who has set what the user was told of the room may be there still.
            told = memberships.stripped_states(conn, user, [room]).get(room)
            found += _senders(told) if told is not None else []
        # The server on which the room was made, where its ID still tells.
        domain = domain_of(room_id)
        if domain is not None:
            found.append(domain)
        return usable(found, self.server_name)[:MOST]


def usable(several: Iterable[str], own: ServerName) -> list[ServerName]:
    """Return those texts that name other servers than this, each once."""
    found: dict[ServerName, None] = {}
    for text in several:
        try:
            server = parse_server_name(text)
        except InvalidIdentifier:
            continue
        if server != own:
            found[server] = None
    return list(found)


def _senders(stripped_state: bytes) -> list[str]:
    entries = orjson.loads(stripped_state)
    senders = [entry.get("sender") for entry in entries if isinstance(entry, dict)]
    return [sender.partition(":")[2] for sender in senders if isinstance(sender, str)]
