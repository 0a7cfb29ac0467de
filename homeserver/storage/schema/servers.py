"""Tables of what is known of servers: their keys, and those that this one has used."""

from sqlalchemy import Boolean, Column, Table

from homeserver.storage.schema.columns import Bytes, Json, Key, Number, metadata

server_keys = Table(
    "server_keys",
    metadata,
    Column("server", Key, primary_key=True),
    Column("key_id", Key, primary_key=True),
    Column("public_key", Bytes, nullable=False),
    Column("valid_until", Number, nullable=False),
    Column("current", Boolean, nullable=False),
    Column("fetched_at", Number, nullable=False, index=True),
    # The newest document that names the key, as its server has signed it: this server gives it to those who ask.
    Column("document", Json, nullable=False),
    info={"pruned": "after a year in which no document named the key", "pruner": "server_keys.prune"},
)

retired_keys = Table(
    "retired_keys",
    metadata,
    Column("key_id", Key, primary_key=True),
    Column("public_key", Bytes, nullable=False),
    Column("expired_at", Number, nullable=False),
    info={"pruned": "kept: a row for each key that this server has used; it has signed events that others check"},
)
"""Signing keys that this server used before."""
