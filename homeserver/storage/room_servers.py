"""Which servers are in a room: those of which a user is joined.

Counted in the write that changes a membership, and kept in memory by room, so that whom an event must be sent to is
known without a question.
"""

import threading
from collections import OrderedDict
from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy import Connection

from federation.core.ids import ServerName
from homeserver.model.nids import RoomNid
from homeserver.storage.database import Write, fresh, moment, next_moment, upsert
from homeserver.storage.schema.rooms import room_servers

MOST_ROOMS = 20_000
"""Rooms whose servers are kept in memory."""
_KIND = "room_servers"


class RoomServers:
    """The servers of rooms. One a process."""

    def __init__(self) -> None:
        """Start with nothing in memory."""
        self._known: OrderedDict[RoomNid, tuple[Mapping[ServerName, int], frozenset[ServerName]]] = OrderedDict()
        self._changed_at = 0
        self._lock = threading.Lock()

    def servers(self, conn: Connection, room: RoomNid) -> frozenset[ServerName]:
        """Return the servers that have a user joined to a room, ours among them."""
        return self._of(conn, room)[1]

    def shared_with(self, conn: Connection, server: ServerName) -> list[RoomNid]:
        """Return the rooms in which a server is."""
        query = sa.select(room_servers.c.room).where(room_servers.c.server == server)
        return [RoomNid(room) for room in conn.execute(query).scalars()]

    def change(self, tx: Write, room: RoomNid, more: Mapping[ServerName, int]) -> None:
        """Count so many more joined users for each of these servers, or fewer."""
        more = {server: number for server, number in more.items() if number}
        if not more:
            return
        counts = dict(self._of(tx.conn, room)[0])
        rows = []
        for server, number in more.items():
            counts[server] = counts.get(server, 0) + number
            if counts[server] > 0:
                rows.append({"room": room, "server": server, "joined": counts[server]})
            else:
                del counts[server]
                gone = (room_servers.c.room == room) & (room_servers.c.server == server)
                tx.conn.execute(room_servers.delete().where(gone))
        if rows:
            insert = upsert(tx.conn, room_servers)
            new = insert.on_conflict_do_update(
                index_elements=["room", "server"], set_={"joined": insert.excluded.joined}
            )
            tx.conn.execute(new, rows)
        known = (counts, frozenset(counts))
        tx.fresh.put(_KIND, room, known)
        tx.after_commit(self._learn, room, known)

    def _of(self, conn: Connection, room: RoomNid) -> tuple[Mapping[ServerName, int], frozenset[ServerName]]:
        memory = fresh(conn)
        if memory is not None and (stored := memory.get(_KIND, room)) is not None:
            return stored  # type: ignore[no-any-return]
        with self._lock:
            if (known := self._known.get(room)) is not None:
                self._known.move_to_end(room)
                return known
        began = moment(conn)
        query = sa.select(room_servers.c.server, room_servers.c.joined).where(room_servers.c.room == room)
        counts = {ServerName(server): joined for server, joined in conn.execute(query)}
        found = (counts, frozenset(counts))
        with self._lock:
            # Who began before the last change was told of may have read what was before it.
            if began >= self._changed_at:
                self._keep(room, found)
        return found

    def _learn(self, room: RoomNid, known: tuple[Mapping[ServerName, int], frozenset[ServerName]]) -> None:
        with self._lock:
            self._changed_at = next_moment()
            self._keep(room, known)

    def _keep(self, room: RoomNid, known: tuple[Mapping[ServerName, int], frozenset[ServerName]]) -> None:
        self._known[room] = known
        self._known.move_to_end(room)
        if len(self._known) > MOST_ROOMS:
            self._known.popitem(last=False)
