"""Receipts: one row for each user, kind and thread of a room, which only moves forward."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from homeserver.model.nids import RoomNid, UserNid
from homeserver.model.receipts import Receipt, ReceiptKind
from homeserver.storage.database import Hot, Write, among, numbers, upsert
from homeserver.storage.schema.delivery import receipts


def advance(tx: Write, receipt: Receipt, position: int) -> bool:
    """Store a receipt unless one as new stands there; return whether it was stored."""
    insert = upsert(tx.conn, receipts).values(
        room=receipt.room,
        user=receipt.user,
        kind=str(receipt.kind),
        thread=receipt.thread,
        event_id=receipt.event_id,
        place=receipt.place,
        sent_at=receipt.sent_at,
        position=position,
    )
    new = insert.excluded
    statement = insert.on_conflict_do_update(
        index_elements=list(receipts.primary_key),
        set_={"event_id": new.event_id, "place": new.place, "sent_at": new.sent_at, "position": new.position},
        where=receipts.c.place < new.place,
    )
    return tx.conn.execute(statement.returning(receipts.c.position)).first() is not None


def since(
    conn: Connection, rooms: Collection[RoomNid], reader: UserNid, after: int, until: int
) -> dict[RoomNid, list[Receipt]]:
    """Return the receipts of rooms that moved after one position and not after the other, and that the reader may see.

    Private ones are seen by their owner only.
    """
    values = {"rooms": numbers(conn, rooms), "reader": reader, "after": after, "until": until}
    return _by_room(_SINCE.run(conn, values))


def of_user(conn: Connection, user: UserNid, after: int = 0) -> dict[RoomNid, list[Receipt]]:
    """Return a user's own receipts of all rooms, those that moved after a position."""
    return _by_room(conn.execute(_SELECT.where(receipts.c.user == user, receipts.c.position > after)))


def _by_room(rows: Iterable[Sequence[Any]]) -> dict[RoomNid, list[Receipt]]:
    found: dict[RoomNid, list[Receipt]] = {}
    for room, user, kind, thread, event_id, place, sent_at in rows:
        receipt = Receipt(room, user, ReceiptKind(kind), thread, event_id, place, sent_at)
        found.setdefault(receipt.room, []).append(receipt)
    return found


_SELECT = sa.select(
    receipts.c.room,
    receipts.c.user,
    receipts.c.kind,
    receipts.c.thread,
    receipts.c.event_id,
    receipts.c.place,
    receipts.c.sent_at,
)
_SINCE = Hot(
    _SELECT.where(
        among(receipts.c.room, "rooms"),
        receipts.c.position > sa.bindparam("after"),
        receipts.c.position <= sa.bindparam("until"),
        sa.or_(receipts.c.kind == str(ReceiptKind.READ), receipts.c.user == sa.bindparam("reader")),
    ).order_by(receipts.c.position)
)
