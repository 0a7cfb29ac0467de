"""What child events add up to, for many parents in one statement.

Children come in by `homeserver.storage.relations`; a redacted one relates to nothing and so does not count.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from homeserver.model.events import Status
from homeserver.model.nids import EventNid, RoomNid, UserNid
from homeserver.storage.database import Given, among, numbers
from homeserver.storage.schema.rooms import event_types, events, relations

MOST_CHILDREN = 100
"""Children of one kind that are looked at for one parent, but for those of threads."""
MOST_REPLIES = 1000


@dataclass(frozen=True, slots=True)
class ThreadRow:
    """What a thread adds up to."""

    room: RoomNid
    root: str
    count: int
    latest: EventNid
    participated: bool


@dataclass(frozen=True, slots=True)
class Child:
    """An event with what it relates to."""

    room: RoomNid
    parent: str
    kind: str
    event: EventNid


Pairs = Collection[tuple[RoomNid, str]]
"""Rooms, each with the ID of an event in it."""


def threads(conn: Connection, roots: Pairs, reader: UserNid, ignored: Collection[UserNid]) -> list[ThreadRow]:
    """Return what the threads below these roots add up to, without the replies of `ignored` users."""
    rows = _THREADS.run(conn, {**_values(conn, roots, ignored), "reader": reader})
    return [
        ThreadRow(RoomNid(room), root, count, EventNid(latest), bool(participated))
        for room, root, count, latest, participated in rows
    ]


def replies(conn: Connection, roots: Pairs, ignored: Collection[UserNid]) -> list[Child]:
    """Return the newest replies in these threads, newest first, at most `MOST_REPLIES` in all."""
    rows = _REPLIES.run(conn, _values(conn, roots, ignored))
    return [Child(RoomNid(room), root, "m.thread", EventNid(nid)) for room, root, nid in rows]


def children(conn: Connection, parents: Pairs, ignored: Collection[UserNid]) -> list[Child]:
    """Return edits of and references to these events, the most recent first, at most `MOST_CHILDREN` of a kind each.

    Edits only by the parent's sender and of its type, and not state. Most recent by `origin_server_ts`, then by the
    event ID: https://spec.matrix.org/v1.19/client-server-api/#server-side-aggregation-of-mreplace-relationships.
    """
    rows = _CHILDREN.run(conn, _values(conn, parents, ignored))
    return [Child(RoomNid(room), of, kind, EventNid(nid)) for room, of, kind, nid in rows]


def _values(conn: Connection, parents: Pairs, ignored: Collection[UserNid]) -> dict[str, object]:
    return {**_PARENTS.values(conn, parents), "ignored": numbers(conn, ignored)}


def rel_type(name: str) -> sa.ScalarSelect[Any]:
    """Return the number of a relation type, for use in a query; NULL if nothing ever related so."""
    return sa.select(event_types.c.nid).where(event_types.c.type == name).scalar_subquery()


def _below(parents: sa.FromClause) -> sa.ColumnElement[bool]:
    return (relations.c.room == parents.c.room) & (relations.c.parent == parents.c.parent)


def _threads(roots: sa.FromClause) -> sa.Select[Any]:
    counted = (
        sa.select(
            relations.c.room,
            relations.c.parent,
            sa.func.count().label("count"),
            sa.func.max(relations.c.place).label("latest"),
            sa.func.max(sa.case((relations.c.sender == sa.bindparam("reader"), 1), else_=0)).label("participated"),
        )
        .select_from(roots.join(relations, _below(roots)))
        .where(relations.c.rel_type == THREAD, _NOT_IGNORED)
        .group_by(relations.c.room, relations.c.parent)
        .subquery()
    )
    latest = relations.alias("latest")
    is_latest = sa.and_(
        latest.c.room == counted.c.room, latest.c.parent == counted.c.parent, latest.c.rel_type == THREAD,
        latest.c.place == counted.c.latest,
    )  # fmt: skip
    return sa.select(
        counted.c.room, counted.c.parent, counted.c.count, latest.c.event, counted.c.participated
    ).select_from(counted.join(latest, is_latest))


def _replies(roots: sa.FromClause) -> sa.Select[Any]:
    return (
        sa.select(relations.c.room, relations.c.parent, relations.c.event)
        .select_from(roots.join(relations, _below(roots)))
        .where(relations.c.rel_type == THREAD, _NOT_IGNORED)
        .order_by(relations.c.place.desc())
        .limit(MOST_REPLIES)
    )


def _children(parents: sa.FromClause) -> sa.Select[Any]:
    parent, child = events.alias("parent_event"), events.alias("child_event")
    edits = sa.and_(
        relations.c.rel_type == REPLACE,
        child.c.sender == parent.c.sender,
        child.c.type == parent.c.type,
        child.c.slot.is_(None),
    )
    by_age = (child.c.sent_at.desc(), child.c.event_id.desc())
    ranked = (
        sa.select(
            relations.c.room,
            relations.c.parent,
            sa.case((relations.c.rel_type == REPLACE, "m.replace"), else_="m.reference").label("kind"),
            relations.c.event,
            sa.func.row_number()
            .over(partition_by=(relations.c.room, relations.c.parent, relations.c.rel_type), order_by=by_age)
            .label("rank"),
        )
        .select_from(parents.join(relations, _below(parents)))
        .join(child, child.c.nid == relations.c.event)
        .join(parent, sa.and_(parent.c.event_id == relations.c.parent, parent.c.room == relations.c.room))
        .where(
            _NOT_IGNORED,
            # Says no more than the last line, but lets the index pass over replies and reactions.
            relations.c.rel_type.in_([REPLACE, REFERENCE]),
            child.c.status == int(Status.ACCEPTED),
            sa.or_(relations.c.rel_type == REFERENCE, edits),
        )
        .subquery()
    )
    return (
        sa.select(ranked.c.room, ranked.c.parent, ranked.c.kind, ranked.c.event)
        .where(ranked.c.rank <= MOST_CHILDREN)
        .order_by(ranked.c.rank)
    )


THREAD, REPLACE, REFERENCE = rel_type("m.thread"), rel_type("m.replace"), rel_type("m.reference")
_NOT_IGNORED = sa.not_(among(relations.c.sender, "ignored"))
_PARENTS = Given(room=int, parent=str)
_THREADS, _REPLIES, _CHILDREN = _PARENTS.hot(_threads), _PARENTS.hot(_replies), _PARENTS.hot(_children)
