"""Receipts: one row for each user, kind and thread of a room, which only moves forward."""

from collections.abc import Collection, Iterable, Iterator, Sequence

import sqlalchemy as sa
from sqlalchemy import Connection

from federation.core.ids import EventID
from homeserver.model.nids import RoomNid, UserNid
from homeserver.model.receipts import Receipt, ReceiptKind
from homeserver.storage.database import Write, one_of, upsert
from homeserver.storage.schema.delivery import receipts

ROOMS_IN_A_QUERY = 5000


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
    found: dict[RoomNid, list[Receipt]] = {}
    for part in _parts(rooms):
        query = _SELECT.where(
            one_of(receipts.c.room, part),
            receipts.c.position > after,
            receipts.c.position <= until,
            sa.or_(receipts.c.kind == str(ReceiptKind.READ), receipts.c.user == reader),
        ).order_by(receipts.c.position)
        _add(found, conn.execute(query))
    return found


def of_user(conn: Connection, user: UserNid, rooms: Collection[RoomNid]) -> dict[RoomNid, list[Receipt]]:
    """Return all of a user's own receipts in rooms."""
    found: dict[RoomNid, list[Receipt]] = {}
    for part in _parts(rooms):
        _add(found, conn.execute(_SELECT.where(one_of(receipts.c.room, part), receipts.c.user == user)))
    return found


def _parts(rooms: Collection[RoomNid]) -> Iterator[Sequence[RoomNid]]:
    wanted = list(rooms)
    for start in range(0, len(wanted), ROOMS_IN_A_QUERY):
        yield wanted[start : start + ROOMS_IN_A_QUERY]


def _add(found: dict[RoomNid, list[Receipt]], rows: Iterable[tuple[int, int, str, str, str, int, int]]) -> None:
    for room, user, kind, thread, event_id, place, sent_at in rows:
        receipt = Receipt(RoomNid(room), UserNid(user), ReceiptKind(kind), thread, EventID(event_id), place, sent_at)
        found.setdefault(receipt.room, []).append(receipt)


_SELECT = sa.select(
    receipts.c.room,
    receipts.c.user,
    receipts.c.kind,
    receipts.c.thread,
    receipts.c.event_id,
    receipts.c.place,
    receipts.c.sent_at,
)
