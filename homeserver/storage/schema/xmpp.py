"""Tables of what only XMPP has: rosters, private XML, and secrets of the server's own."""

from sqlalchemy import Column, Table

from homeserver.storage.schema.columns import Bytes, Json, Key, metadata, reference

secrets = Table(
    "secrets",
    metadata,
    Column("name", Key, primary_key=True),
    Column("value", Bytes, nullable=False),
    info={"pruned": "kept: a few, each made once"},
)

roster_items = Table(
    "roster_items",
    metadata,
    reference("user", "accounts.user", primary_key=True),
    Column("jid", Key, primary_key=True),
    Column("name", Key),
    Column("subscription", Key, nullable=False),
    Column("ask", Key),
    Column("groups", Json, nullable=False),
    info={"pruned": "by its owner; bounded in number for each user"},
)

private_xml = Table(
    "private_xml",
    metadata,
    reference("user", "accounts.user", primary_key=True),
    Column("namespace", Key, primary_key=True),
    Column("name", Key, primary_key=True),
    Column("content", Bytes, nullable=False),
    info={"pruned": "by its owner; bounded in number and size for each user"},
)
