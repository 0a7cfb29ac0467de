"""The outbox: what leaves the server, one row for each event or EDU however many servers get it.

A row names a set of destinations (see `schema/delivery.py`). Sets are found by a hash of their names and never change.
"""

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection

from federation.core.ids import ServerName
from homeserver.model.nids import EventNid
from homeserver.storage.database import Hot, Write, among, numbers, upsert
from homeserver.storage.schema.columns import Json, Key, Number
from homeserver.storage.schema.delivery import destination_set_members, destination_sets, destinations, outbox
from homeserver.storage.schema.rooms import events

NAMES_IN_A_QUERY = 5000
IN_ORDER = 5000
"""Who misses more than that gets the newest event of each room only, and fetches what lies before."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the outbox: an event, or an EDU as JSON."""

    position: int
    event: EventNid | None
    edu: bytes | None


def add(
    tx: Write,
    destination_set: int,
    *,
    event: EventNid | None = None,
    edu: bytes | None = None,
    key: str | None = None,
    omitted: int | None = None,
) -> int | None:
    """Let an event or an EDU wait for a set of servers; return its position, or None if there is no such set."""
    values = {
        "new_position": tx.position(),
        "of_set": destination_set,
        "new_omitted": omitted,
        "new_event": event,
        "new_edu": edu,
        "new_key": key,
    }
    rows = _ADD.run(tx.conn, values)
    return int(rows[0][0]) if rows else None


def intern_set(tx: Write, servers: Collection[ServerName]) -> int:
    """Return the number of a set of servers, making it if need be."""
    digest = hashlib.sha256("\n".join(sorted(servers)).encode()).hexdigest()
    found = tx.conn.execute(_SET, {"of_digest": digest}).scalar_one_or_none()
    if found is not None:
        return int(found)
    members = intern_destinations(tx, servers)
    number = tx.conn.execute(destination_sets.insert().values(digest=digest).returning(destination_sets.c.nid))
    made = int(number.scalar_one())
    tx.conn.execute(destination_set_members.insert(), [{"set": made, "destination": nid} for nid in sorted(members)])
    return made


def intern_destinations(tx: Write, servers: Collection[ServerName]) -> list[int]:
    """Return the numbers of servers, giving new ones if need be."""
    names = list(servers)
    found: list[int] = []
    for start in range(0, len(names), NAMES_IN_A_QUERY):
        part = names[start : start + NAMES_IN_A_QUERY]
        known = {server: nid for nid, server in tx.conn.execute(_NUMBERS, {"wanted": part})}
        missing = [{"server": server} for server in part if server not in known]
        if missing:
            tx.conn.execute(upsert(tx.conn, destinations).on_conflict_do_nothing(), missing)
            known = {server: nid for nid, server in tx.conn.execute(_NUMBERS, {"wanted": part})}
        found += known.values()
    return found


def page(conn: Connection, server: ServerName, after: int, most: int) -> Sequence[Entry]:
    """Return the first entries behind a position that a server is to get, in order.

    If very much waits, what is not the newest of its room is left out, and of EDUs what is not the newest with its key.
    """
    bounds = {"for_server": server, "after": after, "most": most}
    first = [Entry(*row) for row in conn.execute(_PAGE, bounds)]
    if len(first) < most or conn.execute(_COUNT, {**bounds, "most": IN_ORDER + 1}).scalar_one() <= IN_ORDER:
        return first
    return [Entry(*row) for row in conn.execute(_NEWEST, bounds)]


def waiting(conn: Connection, server: ServerName, after: int) -> int:
    """Return how many entries wait for a server behind a position."""
    count = sa.select(sa.func.count()).select_from(_MINE.subquery())
    return int(conn.execute(count, {"for_server": server, "after": after}).scalar_one())


def entries(conn: Connection, positions: Iterable[int]) -> Sequence[Entry]:
    """Return those of the entries that are there, in order."""
    return [Entry(*row) for row in conn.execute(_ENTRIES, {"wanted": numbers(conn, list(positions))})]


def remove_taken(tx: Write, positions: Collection[int]) -> None:
    """Remove those of these EDUs that were for a single server, which has them now."""
    of_one = (
        sa.select(destination_set_members.c.set)
        .where(destination_set_members.c.set == outbox.c.destinations)
        .group_by(destination_set_members.c.set)
        .having(sa.func.count() == 1)
    )
    query = outbox.delete().where(
        among(outbox.c.position, "taken"), outbox.c.event.is_(None), outbox.c.destinations.in_(of_one)
    )
    tx.conn.execute(query, {"taken": numbers(tx.conn, positions)})


_ADD = Hot(
    outbox.insert()
    .from_select(
        ["position", "destinations", "omitted", "event", "edu", "key"],
        sa.select(
            sa.bindparam("new_position", type_=Number),
            destination_sets.c.nid,
            sa.bindparam("new_omitted", type_=Number),
            sa.bindparam("new_event", type_=Number),
            sa.bindparam("new_edu", type_=Json),
            sa.bindparam("new_key", type_=Key),
        ).where(destination_sets.c.nid == sa.bindparam("of_set", type_=Number)),
    )
    .returning(outbox.c.position)
)
_SET = sa.select(destination_sets.c.nid).where(destination_sets.c.digest == sa.bindparam("of_digest"))
_NUMBERS = sa.select(destinations.c.nid, destinations.c.server).where(
    destinations.c.server.in_(sa.bindparam("wanted", expanding=True))
)
_ENTRIES = (
    sa.select(outbox.c.position, outbox.c.event, outbox.c.edu)
    .where(among(outbox.c.position, "wanted"))
    .order_by(outbox.c.position)
)
_MINE = (
    sa.select(outbox.c.position, outbox.c.event, outbox.c.edu, outbox.c.key)
    .join(destination_set_members, destination_set_members.c.set == outbox.c.destinations)
    .join(destinations, destinations.c.nid == destination_set_members.c.destination)
    .where(
        destinations.c.server == sa.bindparam("for_server", type_=Key),
        outbox.c.position > sa.bindparam("after", type_=Number),
        sa.or_(outbox.c.omitted.is_(None), outbox.c.omitted != destinations.c.nid),
    )
)
# The sum keeps the database from going through all of the outbox in order, most of which is for others.
_IN_ORDER = _MINE.order_by(outbox.c.position + sa.literal_column("0")).limit(sa.bindparam("most", type_=Number))
_PAGE = _IN_ORDER.with_only_columns(outbox.c.position, outbox.c.event, outbox.c.edu)
_COUNT = sa.select(sa.func.count()).select_from(
    _MINE.with_only_columns(outbox.c.position).limit(sa.bindparam("most", type_=Number)).subquery()
)
_ALL = _MINE.cte("mine")
_NEWEST_POSITIONS = sa.union_all(
    sa.select(sa.func.max(_ALL.c.position)).join(events, events.c.nid == _ALL.c.event).group_by(events.c.room),
    sa.select(sa.func.max(_ALL.c.position)).where(_ALL.c.key.is_not(None)).group_by(_ALL.c.key),
    sa.select(_ALL.c.position).where(_ALL.c.event.is_(None), _ALL.c.key.is_(None)),
)
_NEWEST = (
    sa.select(outbox.c.position, outbox.c.event, outbox.c.edu)
    .where(outbox.c.position.in_(_NEWEST_POSITIONS))
    .order_by(outbox.c.position)
    .limit(sa.bindparam("most", type_=Number))
)
