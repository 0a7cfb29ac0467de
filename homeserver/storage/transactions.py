"""What clients' transactions have done, kept for a day so that a retry finds it."""

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy import Connection

from homeserver.model.nids import DeviceNid, EventNid
from homeserver.storage.database import Hot, Write, among, numbers
from homeserver.storage.schema.delivery import client_transactions

KEPT_MS = 24 * 60 * 60 * 1000
"""How long a transaction is remembered."""


def find(conn: Connection, device: DeviceNid, scope: str, txn_id: str) -> tuple[EventNid | None] | None:
    """Return the event that a transaction made, in a tuple (of None if it made none); None if it is not known."""
    rows = _FIND.run(conn, {"of_device": device, "in_scope": scope, "with_id": txn_id})
    return (rows[0][0],) if rows else None


def ids_of(conn: Connection, device: DeviceNid, events: Collection[EventNid]) -> dict[EventNid, str]:
    """Return the transaction IDs with which a device has sent those of the events that it sent, in one query."""
    rows = _IDS.run(conn, {"of_device": device, "sent": numbers(conn, events)})
    return {EventNid(event): txn_id for event, txn_id in rows}


def remember(tx: Write, device: DeviceNid, scope: str, txn_id: str, event: EventNid | None, now_ms: int) -> None:
    """Store that a transaction has been done, and the event it made."""
    values = {"device": device, "scope": scope, "txn_id": txn_id, "event": event, "created_at": now_ms}
    _REMEMBER.run(tx.conn, values)


def prune(tx: Write, now_ms: int) -> int:
    """Forget the transactions that are older than a day; return how many."""
    old = client_transactions.delete().where(client_transactions.c.created_at < now_ms - KEPT_MS)
    return tx.conn.execute(old).rowcount


_FIND = Hot(
    sa.select(client_transactions.c.event).where(
        client_transactions.c.device == sa.bindparam("of_device"),
        client_transactions.c.scope == sa.bindparam("in_scope"),
        client_transactions.c.txn_id == sa.bindparam("with_id"),
    )
)
_IDS = Hot(
    sa.select(client_transactions.c.event, client_transactions.c.txn_id).where(
        client_transactions.c.device == sa.bindparam("of_device"), among(client_transactions.c.event, "sent")
    )
)
_REMEMBER = Hot(client_transactions.insert())
