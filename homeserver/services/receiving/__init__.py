"""What other servers send: https://spec.matrix.org/v1.19/server-server-api/#transactions.

A transaction is answered once everything of it is stored that will be. Its rooms are worked on side by side, each in
its turn; of what a server sends, one transaction at a time. One that comes again gets the answer that it got before. A
PDU that is not taken, for whatever reason, says so in the answer, and keeps no other from being taken.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import structlog
from sqlalchemy import Connection

from federation.core.auth.receipt import Received, VerdictKind
from federation.core.errors import BadEvent, ProtocolError
from federation.core.events.pdu import Pdu
from federation.core.ids import EventID, RoomID, ServerName
from federation.matrix.edus import Edu
from federation.matrix.transactions import (
    PduResults,
    Transaction,
    claimed_id,
    read_pdu,
    read_transaction,
    room_of,
)
from homeserver.clock import Clock
from homeserver.errors import BadJson, LimitExceeded, MatrixError, NotFound
from homeserver.model.rooms import Room
from homeserver.services.fetching import Fetching
from homeserver.services.intake import Intake
from homeserver.services.receiving.arrivals import Arrivals, Verdicts
from homeserver.services.room_turns import RoomTurns
from homeserver.services.server_access import ServerAccess
from homeserver.storage import server_transactions
from homeserver.storage.database import Database

log = structlog.get_logger()

ROOMS_AT_ONCE = 100
"""Rooms in which something is being received at the same time."""
ROOMS_OF_ONE = 4
"""Of these, rooms in which one server's events are; a slow one does not take the others' places."""
TURN_SECONDS = 30.0
"""How long events wait for their room, in which something else goes on: a join, for instance."""
MOST_WAITING = 5
"""Transactions of one server that wait while one is worked on; a server sends one at a time."""
RETRY_MS = 5_000

OnEdu = Callable[[ServerName, dict[str, Any]], Awaitable[None]]
"""Takes an EDU's origin and content; the content holds only what that origin may say."""
Aside = Callable[[RoomID, Mapping[str, Any]], Awaitable[bool]]
"""Takes an event of a room that nobody here is in; returns whether somebody here was waiting for it."""


@dataclass(slots=True)
class _Origin:
    """A server whose transactions are being worked on."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(ROOMS_OF_ONE))
    waiting: int = 0


@dataclass(slots=True)
class _Arrived:
    """What of a room's PDUs is new and has the right form."""

    room: Room
    new: list[Pdu]
    results: PduResults


@dataclass(frozen=True, slots=True)
class Receiving:
    """Takes the transactions of other servers."""

    db: Database
    clock: Clock
    access: ServerAccess
    intake: Intake
    fetching: Fetching
    arrivals: Arrivals
    turns: RoomTurns
    on_edu: dict[str, OnEdu] = field(default_factory=dict)
    """Who takes EDUs, by their type; filled by the composition root. EDUs of other types are ignored."""
    asides: list[Aside] = field(default_factory=list)
    """Who takes events of rooms that nobody here is in; filled by the composition root."""
    _origins: dict[ServerName, _Origin] = field(default_factory=dict)
    _running: dict[tuple[ServerName, str], asyncio.Task[bytes]] = field(default_factory=dict)
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(ROOMS_AT_ONCE))

    async def transaction(self, origin: ServerName, txn_id: str, body: Mapping[str, Any]) -> bytes:
        """Take a transaction; return the answer, as JSON.

        Raises `BadJson` for one that is none or holds more than it may, `LimitExceeded` to a server that sends many at
        the same time.
        """
        key = (origin, txn_id)
        running = self._running.get(key)
        if running is None:
            try:
                transaction = read_transaction(origin, body)
            except ProtocolError as error:
                raise BadJson(f"The transaction is not valid: {error}") from error
            at = self._origins.setdefault(origin, _Origin())
            if at.waiting > MOST_WAITING:
                raise LimitExceeded(RETRY_MS)
            running = asyncio.create_task(self._in_order(at, origin, txn_id, transaction), name="transaction")
            self._running[key] = running
            running.add_done_callback(lambda task: self._done(key, task))
        # A sender that hangs up does not stop what was begun; it will ask again.
        return await asyncio.shield(running)

    async def close(self) -> None:
        """Stop what is being worked on; who has sent it will send it again."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def prune(self) -> None:
        """Forget old transactions."""
        now = self.clock.now_ms()
        await self.db.write(lambda tx: server_transactions.prune(tx, now))

    def _done(self, key: tuple[ServerName, str], task: "asyncio.Task[bytes]") -> None:
        self._running.pop(key, None)
        # Nobody may be left to hear of a failure.
        if not task.cancelled() and task.exception() is not None:
            log.warning("transaction_failed", origin=key[0], txn_id=key[1], reason=repr(task.exception()))

    async def _in_order(self, at: _Origin, origin: ServerName, txn_id: str, transaction: Transaction) -> bytes:
        at.waiting += 1
        try:
            async with at.lock:
                known = await self.db.read(lambda conn: server_transactions.find(conn, origin, txn_id))
                if known is not None:
                    return known
                return await self._take(at, origin, txn_id, transaction)
        finally:
            at.waiting -= 1
            if not at.waiting:
                self._origins.pop(origin, None)

    async def _take(self, at: _Origin, origin: ServerName, txn_id: str, transaction: Transaction) -> bytes:
        by_room: dict[RoomID, list[dict[str, Any]]] = {}
        for fields in transaction.pdus:
            room_id = room_of(fields)
            if room_id is not None:
                by_room.setdefault(room_id, []).append(fields)
        of_rooms = [edu for edu in transaction.edus if edu.rooms()]
        others = [edu for edu in transaction.edus if not edu.rooms()]
        # What is said of a room may be about events that come with it; a message to a device shall not wait for either.
        aside = asyncio.create_task(self._edus(origin, others))
        results = await asyncio.gather(
            *(self._of_room(at, origin, room_id, several) for room_id, several in by_room.items())
        )
        await aside
        await self._edus(origin, of_rooms)
        told = {event_id: result for of_room in results for event_id, result in of_room.items()}
        answer = orjson.dumps({"pdus": told})
        now = self.clock.now_ms()
        await self.db.write(lambda tx: server_transactions.remember(tx, origin, txn_id, answer, now))
        return answer

    # PDUs

    async def _of_room(
        self, at: _Origin, origin: ServerName, room_id: RoomID, several: list[dict[str, Any]]
    ) -> PduResults:
        """Take a transaction's PDUs of one room; return the result of each."""
        try:
            async with at.slots, self.turns.of(room_id, TURN_SECONDS), self._slots:
                return await self._in_turn(origin, room_id, several)
        except TimeoutError:
            return _refused(several, None, "The room is busy")
        except Exception:
            log.exception("room_failed", origin=origin, room_id=room_id)
            return _refused(several, None, "The event could not be taken")

    async def _in_turn(self, origin: ServerName, room_id: RoomID, several: list[dict[str, Any]]) -> PduResults:
        try:
            arrived = await self.db.read(lambda conn: self._arrived(conn, origin, room_id, several))
        except NotFound as error:
            # Something may come that ends an invite, nevertheless.
            return await self._aside(room_id, several, error.message)
        except MatrixError as error:
            return _refused(several, None, error.message)
        verdicts = await self._verdicts(origin, arrived)
        for pdu in arrived.new:
            verdict = verdicts[pdu.event_id]
            # A soft failure is nobody's business: https://spec.matrix.org/v1.19/server-server-api/#soft-failure
            fine = verdict.kind in (VerdictKind.ACCEPTED, VerdictKind.SOFT_FAILED)
            arrived.results[pdu.event_id] = {} if fine else {"error": verdict.reason}
        return arrived.results

    def _arrived(
        self, conn: Connection, origin: ServerName, room_id: RoomID, several: Iterable[dict[str, Any]]
    ) -> _Arrived:
        """Check the form of PDUs. Raises `MatrixError` if nobody here is in the room, or it refuses the server."""
        room = self.access.resident(conn, origin, room_id)
        results: PduResults = {}
        pdus: dict[EventID, Pdu] = {}
        for fields in several:
            try:
                pdu = read_pdu(fields, room.version, room_id)
            except BadEvent as error:
                results.update(_refused([fields], room, f"The event is not valid: {error}"))
            else:
                pdus[pdu.event_id] = pdu
        new = self.intake.unplaced(conn, pdus)
        results.update({event_id: {} for event_id in pdus if event_id not in new})
        return _Arrived(room, [pdu for event_id, pdu in pdus.items() if event_id in new], results)

    async def _verdicts(self, origin: ServerName, arrived: _Arrived) -> Verdicts:
        if not arrived.new:
            return {}
        verdicts: Verdicts = {}
        proven: dict[EventID, Received] = {}
        checked = await self.fetching.keyring.verify_events(arrived.new)
        for pdu, outcome in zip(arrived.new, checked, strict=True):
            if isinstance(outcome, Received):
                proven[pdu.event_id] = outcome
            else:
                verdicts[pdu.event_id] = outcome
        if proven:
            verdicts.update(await self.arrivals.take(arrived.room, origin, proven))
        return verdicts

    async def _aside(self, room_id: RoomID, several: Iterable[Mapping[str, Any]], reason: str) -> PduResults:
        """Let others take events of a room that nobody here is in."""
        results: PduResults = {}
        for fields in several:
            taken = False
            for take in self.asides:
                taken = taken or await take(room_id, fields)
            results.update(_results([fields], None, {} if taken else {"error": reason}))
        return results

    # EDUs

    async def _edus(self, origin: ServerName, edus: list[Edu]) -> None:
        wanted = [edu for edu in edus if edu.type in self.on_edu]
        rooms = {room_id for edu in wanted for room_id in edu.rooms()}
        refused = await self.db.read(lambda conn: self._refusing(conn, origin, rooms)) if rooms else set()
        for edu in wanted:
            left = edu.without_rooms(refused)
            if left is None:
                continue
            try:
                await self.on_edu[left.type](origin, left.content)
            except MatrixError as error:
                log.info("edu_not_taken", origin=origin, type=left.type, reason=error.message)
            except Exception:
                log.exception("edu_failed", origin=origin, type=left.type)

    def _refusing(self, conn: Connection, origin: ServerName, rooms: Iterable[RoomID]) -> set[RoomID]:
        """Return those of the rooms in which the server has no say: they refuse it, or nobody here is in them."""
        refused: set[RoomID] = set()
        for room_id in rooms:
            try:
                self.access.resident(conn, origin, room_id)
            except MatrixError:
                refused.add(room_id)
        return refused


def _refused(several: Iterable[Mapping[str, Any]], room: Room | None, reason: str) -> PduResults:
    """Return the same error for each PDU that has an ID."""
    return _results(several, room, {"error": reason})


def _results(several: Iterable[Mapping[str, Any]], room: Room | None, result: dict[str, str]) -> PduResults:
    ids = (claimed_id(fields, room.version if room is not None else None) for fields in several)
    return {event_id: result for event_id in ids if event_id is not None}
