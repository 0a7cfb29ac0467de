"""Tables of what comes from other servers: their transactions, and the joins that wait for them."""

from sqlalchemy import Column, Table

from homeserver.storage.schema.columns import Json, Key, Number, metadata, reference

server_transactions = Table(
    "server_transactions",
    metadata,
    Column("origin", Key, primary_key=True),
    Column("txn_id", Key, primary_key=True),
    Column("answer", Json, nullable=False),
    Column("created_at", Number, nullable=False, index=True),
    info={"pruned": "after an hour", "pruner": "server_transactions.prune"},
)

unfinished_joins = Table(
    "unfinished_joins",
    metadata,
    reference("user", "users.nid", primary_key=True),
    Column("room_id", Key, primary_key=True),
    # What the join was asked with: the servers to try, and the reason.
    Column("request", Json, nullable=False),
    Column("created_at", Number, nullable=False, index=True),
    info={"pruned": "by the join when it ends, or after a day", "pruner": "unfinished_joins.prune"},
)
