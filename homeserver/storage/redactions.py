"""Which event redacts which, kept also for targets that have not arrived."""

from federation.core.ids import EventID
from homeserver.model.events import Event
from homeserver.storage.database import Write
from homeserver.storage.schema.rooms import redactions


def store(tx: Write, redaction: Event, target: EventID) -> None:
    """Store what a redaction redacts."""
    tx.conn.execute(redactions.insert().values(event=redaction.nid, room=redaction.room, target=target))
