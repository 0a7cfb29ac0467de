"""By which IDs XMPP clients know the events that they have sent."""

from collections.abc import Collection, Iterable

import sqlalchemy as sa
from sqlalchemy import Connection

from homeserver.model.nids import EventNid, RoomNid, UserNid
from homeserver.storage.database import Write, one_of
from homeserver.storage.schema.chats import stanza_ids
from homeserver.storage.schema.rooms import events


def store(tx: Write, event: EventNid, room: RoomNid, sender: UserNid, stanza_id: str) -> None:
    """Store what a client calls the event that it has sent."""
    tx.conn.execute(stanza_ids.insert().values(event=event, room=room, sender=sender, stanza_id=stanza_id))


def of_events(conn: Connection, wanted: Collection[EventNid]) -> dict[EventNid, str]:
    """Return the IDs of those of the events that have one, in one query."""
    if not wanted:
        return {}
    query = sa.select(stanza_ids.c.event, stanza_ids.c.stanza_id).where(one_of(stanza_ids.c.event, wanted))
    return {EventNid(event): stanza_id for event, stanza_id in conn.execute(query)}


def find(conn: Connection, room: RoomNid, wanted: str, *, sender: UserNid | None = None) -> EventNid | None:
    """Return the newest event of a room (and of a sender) that was sent with an ID."""
    query = sa.select(stanza_ids.c.event).where(stanza_ids.c.room == room, stanza_ids.c.stanza_id == wanted)
    if sender is not None:
        query = query.where(stanza_ids.c.sender == sender)
    found = conn.execute(query.order_by(stanza_ids.c.event.desc()).limit(1)).scalar_one_or_none()
    return EventNid(found) if found is not None else None


def same(conn: Connection, room: RoomNid, sender: UserNid, wanted: str, content: bytes) -> EventNid | None:
    """Return the event that a sender has sent already with an ID and this content.

    Some clients count their stanzas from one at each start, so an ID alone is no proof.
    """
    query = (
        sa.select(stanza_ids.c.event)
        .join(events, events.c.nid == stanza_ids.c.event)
        .where(
            stanza_ids.c.room == room, stanza_ids.c.stanza_id == wanted, stanza_ids.c.sender == sender,
            events.c.content == content,
        )
        .order_by(stanza_ids.c.event.desc())
        .limit(1)
    )  # fmt: skip
    found = conn.execute(query).scalar_one_or_none()
    return EventNid(found) if found is not None else None


def in_rooms(
    conn: Connection, rooms: Iterable[RoomNid], wanted: str, *, sender: UserNid | None = None
) -> EventNid | None:
    """Return the newest event of these rooms (and of a sender) that was sent with an ID."""
    query = sa.select(stanza_ids.c.event).where(one_of(stanza_ids.c.room, rooms), stanza_ids.c.stanza_id == wanted)
    if sender is not None:
        query = query.where(stanza_ids.c.sender == sender)
    found = conn.execute(query.order_by(stanza_ids.c.event.desc()).limit(1)).scalar_one_or_none()
    return EventNid(found) if found is not None else None
