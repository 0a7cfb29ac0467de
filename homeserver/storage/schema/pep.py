"""What XMPP users publish for others or for themselves."""

from sqlalchemy import Column, Index, Table, UniqueConstraint

from homeserver.storage.schema.columns import Bytes, Json, Key, Number, metadata, reference

pep_nodes = Table(
    "pep_nodes",
    metadata,
    Column("nid", Number, primary_key=True),
    reference("user", "accounts.user"),
    Column("node", Key, nullable=False),
    # What the owner has configured, by the names of the fields.
    Column("config", Json, nullable=False),
    UniqueConstraint("user", "node"),
    info={"pruned": "by its owner; bounded in number for each user"},
)

pep_items = Table(
    "pep_items",
    metadata,
    Column("nid", Number, primary_key=True),
    reference("node", "pep_nodes.nid"),
    Column("item_id", Key, nullable=False),
    Column("payload", Bytes, nullable=False),
    UniqueConstraint("node", "item_id"),
    Index(None, "node", "nid"),
    info={"pruned": "by its owner, and the oldest when a node has too many; bounded in size"},
    # A number that is never given again says what came last.
    sqlite_autoincrement=True,
)
