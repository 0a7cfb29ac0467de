"""Tables of rooms: events, state, memberships, addresses, relations.

State is kept as snapshots. A snapshot is a *base* (`base` is NULL, `entries` is the whole state) or one cumulative
delta against a base. `entries` packs pairs of slot and event; event 0 says that the slot is empty.
"""

from sqlalchemy import Boolean, Column, ForeignKey, Index, SmallInteger, Table, Text, UniqueConstraint

from homeserver.storage.schema.columns import SPARSE_INDEX, Bytes, Json, Key, Number, metadata, reference

event_types = Table(
    "event_types",
    metadata,
    Column("nid", Number, primary_key=True),
    Column("type", Key, nullable=False, unique=True),
    info={"pruned": "kept: interned"},
)

state_slots = Table(
    "state_slots",
    metadata,
    Column("nid", Number, primary_key=True),
    reference("type", "event_types.nid", ondelete=None),
    Column("state_key", Key, nullable=False),
    UniqueConstraint("type", "state_key"),
    info={"pruned": "kept: interned"},
)

rooms = Table(
    "rooms",
    metadata,
    Column("nid", Number, primary_key=True),
    Column("room_id", Key, nullable=False, unique=True),
    Column("version", Key, nullable=False),
    Column("created_at", Number, nullable=False),
    # The head: changes with every event. `head` is the place of the newest event; `extremities` packs the forward
    # extremities; `snapshot` is the current state, resolved.
    Column("head", Number, nullable=False, default=0),
    Column("depth", Number, nullable=False, default=0),
    Column("extremities", Bytes, nullable=False, default=b""),
    Column("snapshot", Number, ForeignKey("snapshots.nid", use_alter=True), index=True),
    # How many are joined and invited, kept so that nobody has to count.
    Column("joined", Number, nullable=False, default=0),
    Column("invited", Number, nullable=False, default=0),
    Column("published", Boolean, nullable=False, default=False),
    info={"pruned": "by deletion of the room"},
    sqlite_autoincrement=True,
)

snapshots = Table(
    "snapshots",
    metadata,
    Column("nid", Number, primary_key=True),
    reference("room", "rooms.nid", index=True),
    reference("base", "snapshots.nid", nullable=True, ondelete=None, index=True),
    Column("entries", Bytes, nullable=False),
    info={"pruned": "with the room"},
    sqlite_autoincrement=True,
)

events = Table(
    "events",
    metadata,
    Column("nid", Number, primary_key=True, autoincrement=False),
    reference("room", "rooms.nid", ondelete=None),
    Column("event_id", Key, nullable=False, unique=True),
    reference("type", "event_types.nid", ondelete=None),
    reference("slot", "state_slots.nid", nullable=True, ondelete=None),
    reference("sender", "users.nid", ondelete=None),
    Column("sent_at", Number, nullable=False),
    Column("depth", Number, nullable=False),
    Column("content", Json, nullable=False),
    Column("envelope", Json, nullable=False),
    # Where the event is in the room's timeline: live ones count up, older ones that were fetched down from -1; NULL
    # for what is not in it. One stream of positions for all live ones, so a reader knows what is new.
    Column("place", Number),
    # The state after the event, and the room's resolved state once it was taken in if it was forked then.
    reference("snapshot", "snapshots.nid", nullable=True, ondelete=None, index=True),
    reference("room_snapshot", "snapshots.nid", nullable=True, ondelete=None),
    # The state event that stood in the slot before. Not a foreign key: the event may be one we never had.
    Column("replaces", Number),
    # What stood there before by the event's own past: another one where branches differ.
    Column("stood", Number),
    Column("redacted_by", Number),
    Column("status", SmallInteger, nullable=False, default=0),
    Index(None, "room", "place"),
    Index(None, "room", "sent_at"),
    Index(SPARSE_INDEX, "room_snapshot"),
    info={"pruned": "with the room"},
)

memberships = Table(
    "memberships",
    metadata,
    reference("room", "rooms.nid", primary_key=True),
    reference("user", "users.nid", primary_key=True),
    Column("membership", Key, nullable=False),
    reference("event", "events.nid", ondelete=None, index=True),
    # The event with which the user came to this membership; `event` may be a later one that changed their name.
    reference("began", "events.nid", ondelete=None, index=True),
    # At which positions the two came to stand here: where branches of a room meet, an old event may stand anew.
    Column("position", Number, nullable=False),
    Column("began_at", Number, nullable=False),
    reference("sender", "users.nid", ondelete=None),
    Column("display_name", Text),
    Column("avatar_url", Text),
    Column("forgotten", Boolean, nullable=False, default=False),
    # For invites and knocks: the stripped state that came with them, a JSON list.
    Column("stripped_state", Json),
    Index(None, "user", "membership"),
    Index(None, "room", "membership"),
    info={"pruned": "with the room"},
)

room_servers = Table(
    "room_servers",
    metadata,
    reference("room", "rooms.nid", primary_key=True),
    Column("server", Key, primary_key=True),
    # How many of the server's users are joined; never 0.
    Column("joined", Number, nullable=False),
    Index(None, "server"),
    info={"pruned": "when the last one leaves; with the room"},
)

awaited_events = Table(
    "awaited_events",
    metadata,
    reference("room", "rooms.nid", primary_key=True),
    # What we lack, and who needs it: an event that comes after it, or a redaction of it.
    Column("event_id", Key, primary_key=True),
    reference("by", "events.nid", primary_key=True, index=True),
    # The state after it, where that is known: what comes after it alone was given with the state before.
    reference("snapshot", "snapshots.nid", nullable=True, ondelete=None, index=True),
    info={"pruned": "when the event comes; with the room"},
)

aliases = Table(
    "aliases",
    metadata,
    Column("alias", Key, primary_key=True),
    reference("room", "rooms.nid", index=True),
    reference("creator", "users.nid", ondelete=None),
    info={"pruned": "by its maker, and with the room"},
)

relations = Table(
    "relations",
    metadata,
    reference("event", "events.nid", primary_key=True),
    reference("room", "rooms.nid"),
    # That of the event.
    Column("place", Number, nullable=False),
    # The parent by its event ID: it may be one that has not arrived.
    Column("parent", Key, nullable=False),
    reference("rel_type", "event_types.nid", ondelete=None),
    reference("type", "event_types.nid", ondelete=None),
    reference("sender", "users.nid", ondelete=None),
    Column("key", Key),
    Index(None, "room", "parent", "rel_type", "place"),
    Index(None, "room", "rel_type", "place"),
    info={"pruned": "with the event; a redacted event relates to nothing"},
)
