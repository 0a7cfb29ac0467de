"""The servers to which something is sent: how far each has come, and how it has been failing."""

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from federation.core.ids import RoomID, ServerName
from homeserver.model.destinations import Destination
from homeserver.storage.database import Write
from homeserver.storage.outbox import intern_destinations
from homeserver.storage.schema.columns import Key, Number
from homeserver.storage.schema.delivery import destination_set_members, destinations, outbox
from homeserver.storage.schema.rooms import room_servers, rooms


def save(tx: Write, rows: Iterable[Destination]) -> None:
    """Store how far servers have come and how they are failing; a cursor never goes back."""
    values = [
        {
            "of_server": row.server,
            "new_cursor": row.cursor,
            "new_in_flight": row.in_flight,
            "new_failing_since": row.failing_since,
            "new_tried_at": row.tried_at,
            "new_retry_at": row.retry_at,
            "new_error": row.error.replace("\0", "") if row.error is not None else None,
        }
        for row in rows
    ]
    if values:
        tx.conn.execute(_SAVE, values)


def unfinished(conn: Connection) -> Sequence[Destination]:
    """Return the servers for which something waits, or which were failing when they were last tried."""
    wait = destinations.c.nid.in_(lagging())
    query = _ROWS.where(sa.or_(destinations.c.in_flight.is_not(None), destinations.c.failing_since.is_not(None), wait))
    return [_destination(row) for row in conn.execute(query)]


def lagging() -> sa.Select[tuple[int]]:
    """Return a query of the numbers of the servers for which something waits."""
    # Most servers are up to date with most sets, which the newest row of a set says at once.
    newest = (
        sa.select(outbox.c.destinations.label("set"), sa.func.max(outbox.c.position).label("position"))
        .group_by(outbox.c.destinations)
        .subquery()
    )
    return (
        sa.select(destination_set_members.c.destination)
        .join(destinations, destinations.c.nid == destination_set_members.c.destination)
        .join(newest, newest.c.set == destination_set_members.c.set)
        .where(
            newest.c.position > destinations.c.cursor,
            sa.exists().where(
                outbox.c.destinations == destination_set_members.c.set,
                outbox.c.position > destinations.c.cursor,
                sa.or_(outbox.c.omitted.is_(None), outbox.c.omitted != destinations.c.nid),
            ),
        )
    )


def find(conn: Connection, server: ServerName) -> Destination | None:
    """Return a server, or None if nothing was ever sent there."""
    row = conn.execute(_ROWS.where(destinations.c.server == server)).one_or_none()
    return _destination(row) if row is not None else None


def listed(
    conn: Connection, *, containing: str | None, order_by: str, backwards: bool, start: int, limit: int
) -> tuple[Sequence[Destination], int]:
    """Return some of the servers, and how many there are. `order_by` is the name of a column."""
    column = destinations.c[order_by]
    order = column.desc().nulls_last() if backwards else column.asc().nulls_last()
    query, count = _ROWS, sa.select(sa.func.count()).select_from(destinations)
    if containing is not None:
        query, count = [
            each.where(destinations.c.server.contains(containing, autoescape=True)) for each in (query, count)
        ]
    rows = conn.execute(query.order_by(order, destinations.c.server).offset(start).limit(limit))
    return [_destination(row) for row in rows], int(conn.execute(count).scalar_one())


def rooms_of(
    conn: Connection, server: ServerName, *, backwards: bool, start: int, limit: int
) -> tuple[Sequence[tuple[RoomID, int]], int]:
    """Return some of the rooms that are shared with a server, each with its newest position, and how many there are."""
    shared = sa.select(rooms.c.room_id, rooms.c.head).join(room_servers, room_servers.c.room == rooms.c.nid)
    shared = shared.where(room_servers.c.server == server)
    order = rooms.c.room_id.desc() if backwards else rooms.c.room_id
    found = [(row.room_id, row.head) for row in conn.execute(shared.order_by(order).offset(start).limit(limit))]
    count = sa.select(sa.func.count()).select_from(shared.subquery())
    return found, int(conn.execute(count).scalar_one())


def neighbours(conn: Connection, most: int) -> Sequence[ServerName]:
    """Return servers with which rooms are shared, those with the most rooms first."""
    count = sa.func.count().desc()
    query = sa.select(room_servers.c.server).group_by(room_servers.c.server).order_by(count).limit(most)
    return conn.execute(query).scalars().all()


def forget_failure(tx: Write, server: ServerName) -> None:
    """Take it that nothing is wrong with a server."""
    _update(tx, server, failing_since=None, tried_at=None, retry_at=None, error=None)


def set_blocked(tx: Write, server: ServerName, blocked: bool) -> None:
    """Store whether anything may be sent to a server."""
    _update(tx, server, blocked=blocked)


def ask_to_retry(tx: Write, server: ServerName) -> bool:
    """Let the running server try a server again; return False if nothing was ever sent there."""
    query = destinations.update().where(destinations.c.server == server).values(retry_asked=True)
    return tx.conn.execute(query).rowcount > 0


def blocked(conn: Connection) -> frozenset[ServerName]:
    """Return the servers that an operator has blocked."""
    return frozenset(conn.execute(_BLOCKED).scalars())


def to_retry(conn: Connection) -> frozenset[ServerName]:
    """Return the servers that an operator wants to be tried again."""
    return frozenset(conn.execute(_TO_RETRY).scalars())


def retried(tx: Write) -> None:
    """Forget which servers were to be tried again."""
    tx.conn.execute(destinations.update().where(destinations.c.retry_asked).values(retry_asked=False))


def _update(tx: Write, server: ServerName, **values: Any) -> None:
    intern_destinations(tx, [server])
    tx.conn.execute(destinations.update().where(destinations.c.server == server).values(**values))


def _destination(row: Row[Any]) -> Destination:
    return Destination(**row._mapping)


_ROWS = sa.select(*(destinations.c[field.name] for field in fields(Destination)))
_BLOCKED = sa.select(destinations.c.server).where(destinations.c.blocked)
_TO_RETRY = sa.select(destinations.c.server).where(destinations.c.retry_asked)
_NEW_CURSOR = sa.bindparam("new_cursor", type_=Number)
_SAVE = (
    destinations.update()
    .where(destinations.c.server == sa.bindparam("of_server", type_=Key))
    .values(
        cursor=sa.case((destinations.c.cursor < _NEW_CURSOR, _NEW_CURSOR), else_=destinations.c.cursor),
        **{
            name: sa.bindparam(f"new_{name}", type_=destinations.c[name].type)
            for name in ("in_flight", "failing_since", "tried_at", "retry_at", "error")
        },
    )
)
