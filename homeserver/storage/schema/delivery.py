"""Tables of what is on its way: the position, receipts, to-device messages, answers kept for retries, the outbox.

What leaves the server is one row of `outbox`, however many servers get it: the row names a *set* of destinations, made
when a room's servers change and not when something is sent. A set never changes, so a server gets what was sent while
it was in a room, and nothing else.
"""

from sqlalchemy import Boolean, Column, Index, Integer, Table, Text

from homeserver.storage.schema.columns import Json, Key, Number, metadata, reference

position = Table(
    "position",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("value", Number, nullable=False),
    info={"pruned": "one row"},
)

schema_version = Table(
    "schema_version",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    info={"pruned": "one row a migration"},
)

client_transactions = Table(
    "client_transactions",
    metadata,
    reference("device", "devices.nid", primary_key=True),
    Column("scope", Key, primary_key=True),
    Column("txn_id", Key, primary_key=True),
    reference("event", "events.nid", nullable=True, index=True),
    Column("created_at", Number, nullable=False, index=True),
    info={"pruned": "after a day", "pruner": "transactions.prune"},
)

receipts = Table(
    "receipts",
    metadata,
    reference("room", "rooms.nid", primary_key=True),
    reference("user", "users.nid", primary_key=True),
    Column("kind", Key, primary_key=True),
    # "" and not NULL when unthreaded: NULLs are distinct in a unique key.
    Column("thread", Key, primary_key=True),
    Column("event_id", Key, nullable=False),
    # The event's place in the room's timeline.
    Column("place", Number, nullable=False),
    Column("sent_at", Number, nullable=False),
    Column("position", Number, nullable=False),
    Index(None, "room", "position"),
    Index(None, "user", "position"),
    info={"pruned": "one row for each user, kind and thread; with the room"},
)

to_device = Table(
    "to_device",
    metadata,
    Column("position", Number, primary_key=True, autoincrement=False),
    reference("device", "devices.nid"),
    reference("sender", "users.nid", ondelete=None),
    Column("type", Key, nullable=False),
    Column("content", Json, nullable=False),
    Index(None, "device", "position"),
    info={"pruned": "when the device has acknowledged them", "pruner": "to_device.prune"},
)

destinations = Table(
    "destinations",
    metadata,
    Column("nid", Number, primary_key=True),
    Column("server", Key, nullable=False, unique=True),
    # The server has taken everything of the outbox up to here.
    Column("cursor", Number, nullable=False, default=0),
    # A transaction that it may have taken or not: repeated as it is.
    Column("in_flight", Json),
    # Milliseconds since 1970; NULL while nothing is wrong.
    Column("failing_since", Number),
    Column("tried_at", Number),
    Column("retry_at", Number),
    Column("error", Text),
    # What an operator wants; a command beside the server writes here too.
    Column("blocked", Boolean, nullable=False, default=False),
    Column("retry_asked", Boolean, nullable=False, default=False),
    info={"pruned": "kept: one for each server that was ever sent something"},
)

destination_sets = Table(
    "destination_sets",
    metadata,
    Column("nid", Number, primary_key=True),
    # A hash of the names, to find it by.
    Column("digest", Key, nullable=False, unique=True),
    info={"pruned": "after the last row of the outbox that names it", "pruner": "outbox_pruning.prune_sets"},
    sqlite_autoincrement=True,
)

destination_set_members = Table(
    "destination_set_members",
    metadata,
    reference("set", "destination_sets.nid", primary_key=True),
    reference("destination", "destinations.nid", primary_key=True, ondelete=None),
    Index(None, "destination", "set"),
    info={"pruned": "with the set"},
)

outbox = Table(
    "outbox",
    metadata,
    Column("position", Number, primary_key=True, autoincrement=False),
    reference("destinations", "destination_sets.nid", ondelete=None),
    # One of the set that does not get it, since it has it from there.
    reference("omitted", "destinations.nid", nullable=True, ondelete=None),
    # Either an event, or an EDU; of EDUs with one key, who was away long gets the newest only.
    reference("event", "events.nid", nullable=True, index=True),
    Column("edu", Json),
    Column("key", Key),
    Index(None, "destinations", "position"),
    info={
        "pruned": "after all its destinations have it, but for a room's newest; with the room",
        "pruner": "outbox_pruning.prune",
    },
)
