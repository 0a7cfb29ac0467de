"""What became of other servers' transactions, kept for an hour so that a retry is answered with the same."""

import sqlalchemy as sa
from sqlalchemy import Connection

from federation.core.ids import ServerName
from homeserver.storage.database import Hot, Write, upsert
from homeserver.storage.schema.receiving import server_transactions

KEPT_MS = 60 * 60 * 1000
"""How long an answer is kept. Events are not taken twice whenever a transaction comes again; its EDUs would be."""


def find(conn: Connection, origin: ServerName, txn_id: str) -> bytes | None:
    """Return the answer that a transaction got, as JSON; None for one that is not known."""
    rows = _FIND.run(conn, {"of_origin": origin, "with_id": txn_id})
    return bytes(rows[0][0]) if rows else None


def remember(tx: Write, origin: ServerName, txn_id: str, answer: bytes, now_ms: int) -> None:
    """Keep the answer to a transaction."""
    values = {"answer": answer, "created_at": now_ms}
    statement = upsert(tx.conn, server_transactions).values(origin=origin, txn_id=txn_id, **values)
    tx.conn.execute(statement.on_conflict_do_update(index_elements=["origin", "txn_id"], set_=values))


def prune(tx: Write, now_ms: int) -> int:
    """Forget the transactions that nobody will send again; return how many."""
    old = server_transactions.delete().where(server_transactions.c.created_at < now_ms - KEPT_MS)
    return tx.conn.execute(old).rowcount


_FIND = Hot(
    sa.select(server_transactions.c.answer).where(
        server_transactions.c.origin == sa.bindparam("of_origin"),
        server_transactions.c.txn_id == sa.bindparam("with_id"),
    )
)
