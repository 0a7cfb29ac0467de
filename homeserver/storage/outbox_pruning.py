"""What nobody needs in the outbox any more.

That is what all its destinations have taken, and what a server that is far behind would not be sent anyway: of a room
that it misses much of, it gets the newest event only. The newest row of a room stays, to keep the set of its servers.

Found out in a read, and deleted in writes of their own, a part at a time: cursors only go forward, so what nobody needs
now nobody will need then.
"""

from collections.abc import Collection, Container, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy import Connection

from homeserver.storage.database import Write, among, current_position, numbers
from homeserver.storage.destinations import lagging
from homeserver.storage.outbox import IN_ORDER
from homeserver.storage.schema.delivery import destination_set_members, destination_sets, destinations, outbox
from homeserver.storage.schema.rooms import events

MOST_AT_ONCE = 50_000
MOST_EDUS = 50_000
"""EDUs without a key, such as messages to devices, that wait for one server; of more, the oldest are dropped."""


@dataclass(slots=True)
class Laggard:
    """A server that is so far behind that it is not sent everything."""

    nid: int
    cursor: int
    in_order: int
    """What is behind this position is sent whatever it is."""
    sets: set[int]
    seen: set[tuple[str, int | str]] = field(default_factory=set)
    """Rooms, and keys of EDUs, of which the newest was found."""
    edus: int = 0

    def needs(self, position: int, room: int | None, key: str | None) -> bool:
        """Return whether the server is to get something, being asked from the newest to the oldest."""
        if room is None and key is None:
            self.edus += 1
            return self.edus <= MOST_EDUS
        what = ("room", room) if room is not None else ("key", key or "")
        newest = what not in self.seen
        self.seen.add(what)
        return newest or position > self.in_order


def idle(conn: Connection) -> tuple[int, Sequence[int]]:
    """Return the newest position, and the servers that have taken all up to there but whose cursor does not say so."""
    position = current_position(conn)
    query = sa.select(destinations.c.nid).where(destinations.c.cursor < position, destinations.c.nid.not_in(lagging()))
    return position, conn.execute(query).scalars().all()


def advance(tx: Write, position: int, idle: Collection[int]) -> None:
    """Move cursors of servers that have taken all up to a position."""
    query = destinations.update().where(among(destinations.c.nid, "idle"), destinations.c.cursor < position)
    tx.conn.execute(query.values(cursor=position), {"idle": numbers(tx.conn, idle)})


def expendable(conn: Connection, in_flight: Container[int]) -> Sequence[int]:
    """Return positions of what nobody needs, not more than are deleted in one go.

    What is `in_flight` stays: a transaction that may have arrived is repeated with all that was in it.
    """
    taken = list(conn.execute(_TAKEN, {"most": MOST_AT_ONCE}).scalars())
    found = taken + _last_of_sets(conn) + _not_worth_sending(conn)
    return [position for position in found if position not in in_flight][:MOST_AT_ONCE]


def prune(tx: Write, positions: Collection[int]) -> int:
    """Delete these rows of the outbox; return how many they were."""
    query = outbox.delete().where(among(outbox.c.position, "positions"))
    return tx.conn.execute(query, {"positions": numbers(tx.conn, positions)}).rowcount


def prune_sets(tx: Write) -> int:
    """Delete the sets of destinations that nothing of the outbox names; return how many they were."""
    named = sa.exists().where(outbox.c.destinations == destination_sets.c.nid)
    return tx.conn.execute(destination_sets.delete().where(~named)).rowcount


def _last_of_sets(conn: Connection) -> list[int]:
    """Return the newest rows of their sets that all have taken, if the room went on with another set, or none."""
    rows = conn.execute(_LAST_OF_SETS).all()
    newest: dict[int, int] = {}
    for position, room, _ in rows:
        if room is not None:
            newest[room] = max(position, newest.get(room, 0))
    return [position for position, room, taken in rows if taken and (room is None or newest[room] != position)]


def _not_worth_sending(conn: Connection) -> list[int]:
    laggards = _laggards(conn)
    if not laggards:
        return []
    of_set: dict[int, list[Laggard]] = {}
    for laggard in laggards:
        for number in laggard.sets:
            of_set.setdefault(number, []).append(laggard)
    # What all the others have taken.
    others = _FLOORS.where(destinations.c.nid.not_in([laggard.nid for laggard in laggards]))
    floors: dict[int, int] = {row.set: row.floor for row in conn.execute(others)}
    found = []
    for position, number, omitted, room, key in conn.execute(_NEWEST_FIRST, {"sets": numbers(conn, of_set.keys())}):
        asked = [one for one in of_set[number] if one.cursor < position and one.nid != omitted]
        needed = [one.needs(position, room, key) for one in asked]
        if asked and not any(needed) and position <= floors.get(number, position):
            found.append(position)
    return found


def _laggards(conn: Connection) -> list[Laggard]:
    found = []
    query = sa.select(destinations.c.nid, destinations.c.cursor).where(destinations.c.nid.in_(lagging()))
    for nid, cursor in conn.execute(query).all():
        bounds = {"for_nid": nid, "after": cursor, "in_order": IN_ORDER}
        in_order = conn.execute(_OLDEST_IN_ORDER, bounds).scalar_one_or_none()
        if in_order is not None:
            sets = conn.execute(_SETS, {"for_nid": nid}).scalars().all()
            found.append(Laggard(nid, cursor, in_order, set(sets)))
    return found


_FLOORS = (
    sa.select(destination_set_members.c.set, sa.func.min(destinations.c.cursor).label("floor"))
    .join(destinations, destinations.c.nid == destination_set_members.c.destination)
    .group_by(destination_set_members.c.set)
)
_floors = _FLOORS.subquery("floors")
_last = (
    sa.select(outbox.c.destinations.label("set"), sa.func.max(outbox.c.position).label("position"))
    .group_by(outbox.c.destinations)
    .subquery("last")
)
_TAKEN = (
    sa.select(outbox.c.position)
    .join(_floors, _floors.c.set == outbox.c.destinations)
    .join(_last, _last.c.set == outbox.c.destinations)
    .where(outbox.c.position <= _floors.c.floor, outbox.c.position < _last.c.position)
    .limit(sa.bindparam("most"))
)
_LAST_OF_SETS = (
    sa.select(_last.c.position, events.c.room, _last.c.position <= _floors.c.floor)
    .join(_floors, _floors.c.set == _last.c.set)
    .join(outbox, outbox.c.position == _last.c.position)
    .outerjoin(events, events.c.nid == outbox.c.event)
)
_OLDEST_IN_ORDER = (
    sa.select(outbox.c.position)
    .join(destination_set_members, destination_set_members.c.set == outbox.c.destinations)
    .where(
        destination_set_members.c.destination == sa.bindparam("for_nid"),
        outbox.c.position > sa.bindparam("after"),
        sa.or_(outbox.c.omitted.is_(None), outbox.c.omitted != sa.bindparam("for_nid")),
    )
    .order_by((outbox.c.position + sa.literal_column("0")).desc())
    .offset(sa.bindparam("in_order"))
    .limit(1)
)
_SETS = sa.select(destination_set_members.c.set).where(destination_set_members.c.destination == sa.bindparam("for_nid"))
_NEWEST_FIRST = (
    sa.select(outbox.c.position, outbox.c.destinations, outbox.c.omitted, events.c.room, outbox.c.key)
    .outerjoin(events, events.c.nid == outbox.c.event)
    .where(among(outbox.c.destinations, "sets"))
    .order_by(outbox.c.position.desc())
)
