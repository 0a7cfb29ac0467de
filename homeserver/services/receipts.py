"""How far each user has read.

https://spec.matrix.org/v1.19/client-server-api/#receipts and #read-and-unread-markers
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from federation.core.ids import EventID, RoomID, UserID
from homeserver.clock import Clock
from homeserver.errors import InvalidParam, NotFound
from homeserver.model.accounts import Requester
from homeserver.model.events import Event, Status
from homeserver.model.nids import RoomNid, UserNid
from homeserver.model.receipts import UNTHREADED, Receipt, ReceiptKind
from homeserver.services.access import joined_room
from homeserver.services.live import Live
from homeserver.services.recent import Recent
from homeserver.services.threads import related_threads
from homeserver.storage import account_data, receipts
from homeserver.storage.database import Database, Write
from homeserver.storage.events import Events
from homeserver.storage.names import Names


@dataclass(frozen=True, slots=True)
class Mark:
    """One receipt that a user sends."""

    kind: ReceiptKind
    event_id: EventID
    thread: str = UNTHREADED


@dataclass(frozen=True, slots=True)
class Receipts:
    """Moves receipts and read markers, forward only."""

    db: Database
    clock: Clock
    names: Names
    events: Events
    live: Live
    recent: Recent

    async def mark(self, who: Requester, room_id: RoomID, marks: Sequence[Mark]) -> None:
        """Move the user's receipts to events of a room they have joined; one that is further stays where it is.

        Raises `Forbidden`, `NotFound` for an event that is not in the room, `InvalidParam` for a thread it is not in.
        """
        now = self.clock.now_ms()

        def write(tx: Write) -> None:
            room = joined_room(tx.conn, self.names, who.user, room_id)
            found = self.events.by_ids(tx.conn, {mark.event_id for mark in marks})
            for mark in marks:
                event = found.get(mark.event_id)
                if event is None or event.room != room or event.place is None or event.status is not Status.ACCEPTED:
                    raise NotFound("The event is not in this room")
                if mark.kind is ReceiptKind.FULLY_READ:
                    self._mark_fully_read(tx, who.user, room, event)
                else:
                    self._advance(tx, who.user, event, mark, now)

        await self.db.write(write)

    def _advance(self, tx: Write, user: UserNid, event: Event, mark: Mark, now: int) -> None:
        if mark.thread != UNTHREADED and mark.thread not in related_threads(tx.conn, self.events, event):
            raise InvalidParam("thread_id: the event is not related to this thread")
        position = tx.position()
        receipt = Receipt(event.room, user, mark.kind, mark.thread, event.event_id, event.at, now)
        if not receipts.advance(tx, receipt, position):
            return
        if mark.kind is ReceiptKind.READ:
            tx.after_commit(self.recent.add_receipt, position, receipt)
            tx.after_commit(self.live.ring_room, position, event.room)
        else:
            tx.after_commit(self.live.ring_users, position, [user])

    def _mark_fully_read(self, tx: Write, user: UserNid, room: RoomNid, event: Event) -> None:
        data_type = str(ReceiptKind.FULLY_READ)
        stored = account_data.find_in_room(tx.conn, user, room, data_type)
        if stored is not None:
            standing = self.events.by_id(tx.conn, orjson.loads(stored)["event_id"])
            if standing is not None and (standing.place or 0) >= event.at:
                return
        content = orjson.dumps({"event_id": event.event_id})
        position = account_data.store_in_room(tx, user, room, data_type, content)
        tx.after_commit(self.live.ring_users, position, [user])


def event_contents(moved: Iterable[Receipt], user_ids: Mapping[UserNid, UserID]) -> list[dict[str, Any]]:
    """Return the contents of the `m.receipt` events that tell of receipts of one room.

    One as a rule: the content has no place for two receipts of one user for one event and kind in different threads, so
    such go into further ones. Source: https://spec.matrix.org/v1.19/client-server-api/#mreceipt
    """
    contents: list[dict[str, Any]] = []
    for receipt in moved:
        told: dict[str, Any] = {"ts": receipt.sent_at}
        if receipt.thread != UNTHREADED:
            told["thread_id"] = receipt.thread
        user_id = user_ids[receipt.user]
        for content in contents:
            users = content.setdefault(receipt.event_id, {}).setdefault(str(receipt.kind), {})
            if user_id not in users:
                users[user_id] = told
                break
        else:
            contents.append({receipt.event_id: {str(receipt.kind): {user_id: told}}})
    return contents
