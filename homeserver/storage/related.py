"""Lists of related events: the children of an event, the threads of a room, page by page."""

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy import Connection

from homeserver.model.events import Status
from homeserver.model.nids import EventNid, RoomNid, UserNid
from homeserver.storage.aggregations import THREAD, rel_type
from homeserver.storage.database import one_of
from homeserver.storage.schema.accounts import users
from homeserver.storage.schema.rooms import event_types, events, relations

DEEPEST = 3
"""Levels of relations that are followed, at most."""


def children(
    conn: Connection, room: RoomNid, parent: str, kind: str | None, event_type: str | None, *, deep: bool,
    after: int | None, until: int, limit: int, newest_first: bool,
) -> list[EventNid]:  # fmt: skip
    """Return events with `after` < place <= `until` that relate to `parent`, at most `limit`, in the order asked for.

    `deep` follows relations of relations, by any kind; `kind` and `event_type` choose among all that are found.
    """
    found = _below(room, parent) if deep else None
    query = (
        sa.select(relations.c.event)
        .join(events, events.c.nid == relations.c.event)
        .where(relations.c.room == room, relations.c.place <= until, events.c.status == int(Status.ACCEPTED))
    )
    query = query.where(relations.c.event.in_(found) if found is not None else relations.c.parent == parent)
    if after is not None:
        query = query.where(relations.c.place > after)
    if kind is not None:
        query = query.where(relations.c.rel_type == rel_type(kind))
    if event_type is not None:
        type_nid = sa.select(event_types.c.nid).where(event_types.c.type == event_type).scalar_subquery()
        query = query.where(relations.c.type == type_nid)
    order = relations.c.place.desc() if newest_first else relations.c.place
    return [EventNid(nid) for nid in conn.execute(query.order_by(order).limit(limit)).scalars()]


def with_children(
    conn: Connection, room: RoomNid, parents: Collection[str], *, until: int, by: Collection[str] | None,
    kinds: Collection[str] | None,
) -> set[str]:  # fmt: skip
    """Return those of the events to which others up to `until` relate: by these users, in these ways; None is any."""
    query = sa.select(relations.c.parent).where(
        relations.c.room == room, one_of(relations.c.parent, parents), relations.c.place <= until
    )
    if by is not None:
        query = query.where(relations.c.sender.in_(sa.select(users.c.nid).where(one_of(users.c.user_id, by))))
    if kinds is not None:
        type_nids = sa.select(event_types.c.nid).where(one_of(event_types.c.type, kinds))
        query = query.where(relations.c.rel_type.in_(type_nids))
    return set(conn.execute(query.distinct()).scalars())


def _below(room: RoomNid, parent: str) -> sa.Select[int]:
    first = (
        sa.select(relations.c.event, sa.literal(1).label("depth"))
        .where(relations.c.room == room, relations.c.parent == parent)
        .cte("below", recursive=True)
    )
    further = (
        sa.select(relations.c.event, first.c.depth + 1)
        .join(events, events.c.event_id == relations.c.parent)
        .join(first, first.c.event == events.c.nid)
        .where(relations.c.room == room, first.c.depth < DEEPEST)
    )
    below = first.union(further)
    return sa.select(below.c.event)


def threads(
    conn: Connection, room: RoomNid, reader: UserNid, ignored: Collection[UserNid], *, participated: bool, until: int,
    limit: int,
) -> list[tuple[EventNid, int]]:  # fmt: skip
    """Return root and place of the newest reply of a room's threads, those with the newest first, at most `limit`.

    Replies by `ignored` users and after `until` are as if they were not there. `participated` leaves out the threads to
    which the reader contributed nothing.
    """
    reply, newer, own = relations.alias("reply"), relations.alias("newer"), relations.alias("own")
    root = events.alias("root")
    is_older = sa.exists().where(
        newer.c.room == room, newer.c.parent == reply.c.parent, newer.c.rel_type == reply.c.rel_type,
        newer.c.place > reply.c.place, newer.c.place <= until, _kept(newer, ignored),
    )  # fmt: skip
    query = (
        sa.select(root.c.nid, reply.c.place)
        .join(root, sa.and_(root.c.event_id == reply.c.parent, root.c.room == reply.c.room))
        .where(
            reply.c.room == room, reply.c.rel_type == THREAD, reply.c.place <= until, _kept(reply, ignored), ~is_older,
            # What relates to something is no root, whatever was sent to it.
            ~sa.exists().where(relations.c.event == root.c.nid),
        )
        .order_by(reply.c.place.desc())
        .limit(limit)
    )  # fmt: skip
    if participated:
        has_replied = sa.exists().where(
            own.c.room == room, own.c.parent == reply.c.parent, own.c.rel_type == reply.c.rel_type,
            own.c.sender == reader, own.c.place <= until,
        )  # fmt: skip
        query = query.where(sa.or_(root.c.sender == reader, has_replied))
    return [(EventNid(nid), latest) for nid, latest in conn.execute(query)]


def _kept(table: sa.FromClause, ignored: Collection[UserNid]) -> sa.ColumnElement[bool]:
    return sa.not_(one_of(table.c.sender, ignored)) if ignored else sa.true()
