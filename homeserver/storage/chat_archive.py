"""The events of several rooms as one list, and reactions as sets: what XMPP clients ask for of a room's past."""

from collections.abc import Collection, Iterable

import sqlalchemy as sa
from sqlalchemy import Connection

from homeserver.model.events import Status
from homeserver.model.nids import EventNid, RoomNid, TypeNid, UserNid
from homeserver.storage.aggregations import rel_type
from homeserver.storage.database import Write, one_of, upsert
from homeserver.storage.schema.chats import removed_reactions
from homeserver.storage.schema.rooms import events, memberships, relations

ANNOTATION = "m.annotation"


def page(
    conn: Connection, rooms: Iterable[RoomNid], kinds: Collection[TypeNid], *, after: int | None, until: int | None,
    since_ms: int | None, before_ms: int | None, limit: int, newest_first: bool, sender: UserNid | None = None,
) -> list[EventNid]:  # fmt: skip
    """Return events of these types with `after` < place <= `until`, sent in a span of time, at most `limit`.

    Of one sender, if that is wanted.

    Of each room no more than `limit` are looked at: sorting all that several rooms hold takes as long as there is much.
    """
    order = events.c.place.desc() if newest_first else events.c.place
    query = sa.select(events.c.place, events.c.nid).where(
        events.c.room == sa.bindparam("in_room"),
        events.c.type.in_(list(kinds)),
        events.c.place.is_not(None),
        events.c.status == int(Status.ACCEPTED),
    )
    for bound in (
        events.c.place > after if after is not None else None,
        events.c.place <= until if until is not None else None,
        events.c.sent_at >= since_ms if since_ms is not None else None,
        events.c.sent_at <= before_ms if before_ms is not None else None,
        events.c.sender == sender if sender is not None else None,
    ):
        if bound is not None:
            query = query.where(bound)
    query = query.order_by(order).limit(limit)
    # A query a room is cheaper than one of as many parts, which takes long to be put together.
    found = [(place, nid) for room in set(rooms) for place, nid in conn.execute(query, {"in_room": room})]
    found.sort(reverse=newest_first)
    return [EventNid(nid) for _, nid in found[:limit]]


def reactions(
    conn: Connection, rooms: Iterable[RoomNid], parents: Collection[str]
) -> dict[tuple[str, UserNid], list[tuple[str, EventNid]]]:
    """Return what each sender has said to each of these events, with the events by which they did; in one query."""
    if not parents:
        return {}
    query = (
        sa.select(relations.c.parent, relations.c.sender, relations.c.key, relations.c.event)
        .where(
            one_of(relations.c.room, rooms),
            one_of(relations.c.parent, parents),
            relations.c.rel_type == rel_type(ANNOTATION),
            relations.c.key.is_not(None),
        )
        .order_by(relations.c.place)
    )
    found: dict[tuple[str, UserNid], list[tuple[str, EventNid]]] = {}
    for parent, sender, key, event in conn.execute(query):
        found.setdefault((parent, UserNid(sender)), []).append((key, EventNid(event)))
    return found


def remember_removed(tx: Write, redaction: EventNid, parent: str) -> None:
    """Store what a reaction or an edit was for that is taken back; it will not say so itself any more."""
    statement = upsert(tx.conn, removed_reactions).values(event=redaction, parent=parent)
    tx.conn.execute(statement.on_conflict_do_nothing())


def removed(conn: Connection, redactions: Collection[EventNid]) -> dict[EventNid, str]:
    """Return by redaction what the reaction or the edit was for that it took back."""
    if not redactions:
        return {}
    query = sa.select(removed_reactions).where(one_of(removed_reactions.c.event, redactions))
    return {EventNid(row.event): row.parent for row in conn.execute(query)}


def display_names(conn: Connection, room: RoomNid, users: Collection[UserNid]) -> dict[UserNid, str | None]:
    """Return what users are called in a room, or were when they were last there."""
    query = sa.select(memberships.c.user, memberships.c.display_name).where(
        memberships.c.room == room, one_of(memberships.c.user, users)
    )
    return {UserNid(user): name for user, name in conn.execute(query)} if users else {}
