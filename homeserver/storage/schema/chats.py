"""By which names XMPP clients know rooms and events."""

from sqlalchemy import Column, Index, Table

from homeserver.storage.schema.columns import Key, metadata, reference

stanza_ids = Table(
    "stanza_ids",
    metadata,
    reference("event", "events.nid", primary_key=True),
    reference("room", "rooms.nid"),
    reference("sender", "users.nid", ondelete=None),
    # What the client that sent the event calls it.
    Column("stanza_id", Key, nullable=False),
    Index(None, "room", "stanza_id"),
    info={"pruned": "with the event; one for each that an XMPP client sent"},
)

room_addresses = Table(
    "room_addresses",
    metadata,
    # The localpart of the JID by which XMPP clients know a room, from the first time that one is told of it.
    Column("localpart", Key, primary_key=True),
    reference("room", "rooms.nid", index=True),
    info={"pruned": "with the room"},
)

removed_reactions = Table(
    "removed_reactions",
    metadata,
    # The redaction, and what the reaction (or the edit) was for, which its redacted form does not say any more.
    reference("event", "events.nid", primary_key=True),
    Column("parent", Key, nullable=False),
    info={"pruned": "with the event"},
)

sent_files = Table(
    "sent_files",
    metadata,
    # The message, and what it shows of our own media, so that the link that its sender has ends with it.
    reference("event", "events.nid", primary_key=True),
    Column("media_id", Key, nullable=False, index=True),
    info={"pruned": "with the event; one for each file that an XMPP client sent"},
)
