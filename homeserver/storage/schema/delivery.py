"""Tables of what is on its way: the position, receipts, to-device messages, answers kept for retries."""

from sqlalchemy import Column, Index, Integer, Table

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
