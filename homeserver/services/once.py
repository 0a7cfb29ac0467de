"""A client's transaction happens once: https://spec.matrix.org/v1.19/client-server-api/#transaction-identifiers.

A transaction is known by its device, its *scope* (what the request does, without the transaction ID; the same words
for the same endpoint and path) and its ID. These functions are called in the write that does what the transaction asks
for; so of two equal requests at the same time one does it and the other finds that done.
"""

from sqlalchemy import Connection

from homeserver.errors import InvalidParam
from homeserver.model.nids import DeviceNid, EventNid
from homeserver.storage import transactions
from homeserver.storage.database import Database, Write

LONGEST_ID = 255
"""Bytes of a transaction ID; clients use UUIDs and counters."""


def find(conn: Connection, device: DeviceNid, scope: str, txn_id: str) -> EventNid | None:
    """Return the event that this transaction has sent, or None if it is new. Raises `InvalidParam`."""
    _check(txn_id)
    found = transactions.find(conn, device, scope, txn_id)
    return found[0] if found is not None else None


def is_done(conn: Connection, device: DeviceNid, scope: str, txn_id: str) -> bool:
    """Return whether this transaction, which makes no event, has been done. Raises `InvalidParam`."""
    _check(txn_id)
    return transactions.find(conn, device, scope, txn_id) is not None


def remember(tx: Write, device: DeviceNid, scope: str, txn_id: str, event: EventNid | None, now_ms: int) -> None:
    """Remember, with what it does, that this transaction is done, and the event it made if it made one."""
    transactions.remember(tx, device, scope, txn_id, event, now_ms)


async def forget_old(db: Database, now_ms: int) -> None:
    """Forget the transactions that nobody will retry any more."""
    await db.write(lambda tx: transactions.prune(tx, now_ms))


def _check(txn_id: str) -> None:
    if not txn_id or len(txn_id.encode()) > LONGEST_ID:
        raise InvalidParam(f"txnId: must have 1 to {LONGEST_ID} bytes")
