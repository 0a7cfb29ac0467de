"""Which messages were made of a file that somebody has uploaded by XMPP."""

import sqlalchemy as sa
from sqlalchemy import Connection

from homeserver.model.nids import EventNid
from homeserver.storage.database import Write
from homeserver.storage.schema.chats import sent_files

MOST = 1000


def store(tx: Write, event: EventNid, media_id: str) -> None:
    """Store that a message is a file of this server's."""
    tx.conn.execute(sent_files.insert().values(event=event, media_id=media_id))


def messages_of(conn: Connection, media_id: str) -> list[EventNid]:
    """Return the newest messages that are a file, by the media ID of its upload."""
    query = sa.select(sent_files.c.event).where(sent_files.c.media_id == media_id)
    found = conn.execute(query.order_by(sent_files.c.event.desc()).limit(MOST)).scalars()
    return [EventNid(event) for event in found]
