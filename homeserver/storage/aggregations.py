"""What child events add up to, for many parents in one statement.

Children come in by `homeserver.storage.relations`; a redacted one relates to nothing and so does not count.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from homeserver.model.events import Status
from homeserver.model.nids import EventNid, RoomNid, UserNid
from homeserver.storage.database import among
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


def threads(
    conn: Connection, rooms: Collection[RoomNid], roots: Collection[str], reader: UserNid, ignored: Collection[UserNid]
) -> list[ThreadRow]:
    """Return what the threads below these roots add up to, without the replies of `ignored` users."""
    rows = conn.execute(_THREADS, {**_among(rooms, roots, ignored), "reader": reader})
    return [
        ThreadRow(RoomNid(room), root, count, EventNid(latest), bool(participated))
        for room, root, count, latest, participated in rows
    ]


def replies(
    conn: Connection, rooms: Collection[RoomNid], roots: Collection[str], ignored: Collection[UserNid]
) -> list[Child]:
    """Return the newest replies in these threads, newest first, at most `MOST_REPLIES` in all."""
    rows = conn.execute(_REPLIES, _among(rooms, roots, ignored))
    return [Child(RoomNid(room), root, "m.thread", EventNid(nid)) for room, root, nid in rows]


def children(
    conn: Connection, rooms: Collection[RoomNid], parents: Collection[str], ignored: Collection[UserNid]
) -> list[Child]:
    """Return edits of and references to these events, the most recent first, at most `MOST_CHILDREN` of a kind each.

    Edits only by the parent's sender and of its type, and not state. Most recent by `origin_server_ts`, then by the
    event ID: https://spec.matrix.org/v1.19/client-server-api/#server-side-aggregation-of-mreplace-relationships.
    """
    rows = conn.execute(_CHILDREN, _among(rooms, parents, ignored))
    return [Child(RoomNid(room), of, kind, EventNid(nid)) for room, of, kind, nid in rows]


def _among(rooms: Iterable[RoomNid], parents: Iterable[str], ignored: Collection[UserNid]) -> dict[str, Any]:
    return {"rooms": list(rooms), "parents": list(parents), "ignored": list(ignored)}


def rel_type(name: str) -> sa.ScalarSelect[Any]:
    """Return the number of a relation type, for use in a query; NULL if nothing ever related so."""
    return sa.select(event_types.c.nid).where(event_types.c.type == name).scalar_subquery()


def _children() -> sa.Select[Any]:
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
        .join(child, child.c.nid == relations.c.event)
        .join(parent, sa.and_(parent.c.event_id == relations.c.parent, parent.c.room == relations.c.room))
        .where(
            *_AMONG,
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
_AMONG = (
    among(relations.c.room, "rooms"),
    among(relations.c.parent, "parents"),
    sa.not_(among(relations.c.sender, "ignored")),
)
_counted = (
    sa.select(
        relations.c.room,
        relations.c.parent,
        sa.func.count().label("count"),
        sa.func.max(relations.c.place).label("latest"),
        sa.func.max(sa.case((relations.c.sender == sa.bindparam("reader"), 1), else_=0)).label("participated"),
    )
    .where(*_AMONG, relations.c.rel_type == THREAD)
    .group_by(relations.c.room, relations.c.parent)
    .subquery()
)
_latest = relations.alias("latest")
_is_latest = sa.and_(
    _latest.c.room == _counted.c.room, _latest.c.parent == _counted.c.parent, _latest.c.rel_type == THREAD,
    _latest.c.place == _counted.c.latest,
)  # fmt: skip
_THREADS: sa.Select[Any] = sa.select(
    _counted.c.room, _counted.c.parent, _counted.c.count, _latest.c.event, _counted.c.participated
).select_from(_counted.join(_latest, _is_latest))
_REPLIES: sa.Select[Any] = (
    sa.select(relations.c.room, relations.c.parent, relations.c.event)
    .where(*_AMONG, relations.c.rel_type == THREAD)
    .order_by(relations.c.place.desc())
    .limit(MOST_REPLIES)
)
_CHILDREN = _children()
