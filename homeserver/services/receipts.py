"""How far each user has read.

https://spec.matrix.org/v1.19/client-server-api/#receipts and #read-and-unread-markers; for other servers,
https://spec.matrix.org/v1.19/server-server-api/#receipts
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from federation.core.ids import EventID, RoomID, ServerName, UserID
from federation.matrix.edus import RECEIPT
from homeserver.clock import Clock
from homeserver.errors import InvalidParam, NotFound
from homeserver.model.accounts import Requester
from homeserver.model.events import Event, Status
from homeserver.model.nids import RoomNid, UserNid
from homeserver.model.receipts import UNTHREADED, Receipt, ReceiptKind
from homeserver.services.access import joined_room
from homeserver.services.live import Live
from homeserver.services.neighbours import Neighbours
from homeserver.services.outgoing import Outgoing
from homeserver.services.recent import Recent
from homeserver.services.threads import related_threads
from homeserver.storage import account_data, memberships, receipts
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
    neighbours: Neighbours
    outgoing: Outgoing

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
                    if mark.thread != UNTHREADED and mark.thread not in related_threads(tx.conn, self.events, event):
                        raise InvalidParam("thread_id: the event is not related to this thread")
                    moved = self._advance(tx, who.user, event, mark, now)
                    # Nobody is told that who sent an event has read it.
                    if moved and mark.kind is ReceiptKind.READ and event.sender != who.user_id:
                        self._tell_servers(tx, room, room_id, who.user_id, mark, now)

        await self.db.write(write)

    async def hear(self, _origin: ServerName, content: Mapping[str, Any]) -> None:
        """Take the receipts of another server's users: a checked `m.receipt`. What is not known here is left out."""
        wanted = {
            RoomID(room_id): [
                (UserID(user_id), _mark_in(receipt), receipt["data"]["ts"])
                for user_id, receipt in of_room["m.read"].items()
            ]
            for room_id, of_room in content.items()
        }
        now = self.clock.now_ms()

        def write(tx: Write) -> None:
            rooms = self.names.room_nids(tx.conn, wanted)
            users = self.names.user_nids(tx.conn, {user_id for each in wanted.values() for user_id, _, _ in each})
            found = self.events.by_ids(tx.conn, {mark.event_id for each in wanted.values() for _, mark, _ in each})
            for room_id, room in rooms.items():
                joined = memberships.joined_of(tx.conn, room, [user_id for user_id, _, _ in wanted[room_id]])
                for user_id, mark, at in wanted[room_id]:
                    event = found.get(mark.event_id)
                    if user_id not in joined or event is None or event.room != room:
                        continue
                    if event.status is not Status.ACCEPTED:
                        continue
                    # Else there would be no end of threads, each with a receipt that everyone is told of.
                    if mark.thread != UNTHREADED and mark.thread not in related_threads(tx.conn, self.events, event):
                        continue
                    self._advance(tx, users[user_id], event, mark, min(at, now))

        await self.db.write(write)

    def _tell_servers(self, tx: Write, room: RoomNid, room_id: RoomID, user_id: UserID, mark: Mark, now: int) -> None:
        others = self.neighbours.of(tx.conn, room)
        if not others:
            return
        data: dict[str, Any] = {"ts": now}
        if mark.thread != UNTHREADED:
            data["thread_id"] = mark.thread
        receipt = {"data": data, "event_ids": [mark.event_id]}
        edu = {"edu_type": RECEIPT, "content": {room_id: {"m.read": {user_id: receipt}}}}
        self.outgoing.edu(tx, others, edu, key=f"{RECEIPT} {room_id} {user_id} {mark.thread}")

    def _advance(self, tx: Write, user: UserNid, event: Event, mark: Mark, now: int) -> bool:
        """Move one receipt; return whether it has moved."""
        position = tx.position()
        receipt = Receipt(event.room, user, mark.kind, mark.thread, event.event_id, event.at, now)
        if not receipts.advance(tx, receipt, position):
            return False
        if mark.kind is ReceiptKind.READ:
            tx.after_commit(self.recent.add_receipt, position, receipt)
            tx.after_commit(self.live.ring_room, position, event.room)
        else:
            tx.after_commit(self.live.ring_users, position, [user])
        return True

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


def _mark_in(receipt: Mapping[str, Any]) -> Mark:
    return Mark(ReceiptKind.READ, EventID(receipt["event_ids"][0]), receipt["data"].get("thread_id", UNTHREADED))


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
