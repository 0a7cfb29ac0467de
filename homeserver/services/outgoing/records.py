"""The outbox as the sender sees it: items of the store, and what is kept of each server.

Records of many servers that are to be kept at the same time share one write: a message to a thousand servers begins a
thousand transactions at once.
"""

import asyncio
from collections.abc import Sequence

import msgspec
import orjson
import structlog
from sqlalchemy import Connection

from federation.core.ids import ServerName
from federation.matrix.backoff import Backoff
from federation.matrix.outbox import Item, Page, Record, Transaction
from homeserver.model.destinations import Destination
from homeserver.model.events import Event
from homeserver.storage import destinations, outbox
from homeserver.storage.database import Database, Write
from homeserver.storage.events import Events
from homeserver.storage.outbox import Entry

PAGE = 100
"""Items read for a server at once."""
SOON_SECONDS = 1.0
"""How soon what is only noted becomes durable. What is lost with it is done again: a transaction is repeated."""

log = structlog.get_logger()


class StoredOutbox:
    """Reads items, and keeps records; see `federation.matrix.outbox.Outbox`."""

    def __init__(self, db: Database, events: Events) -> None:
        """Take where things are kept."""
        self._db = db
        self._events = events
        self._records: dict[ServerName, Record] = {}
        """Not durable yet."""
        self._taken: list[int] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    async def page(self, server: ServerName, after: int) -> Page:
        """Return the first items behind a position."""

        def read(conn: Connection) -> Page:
            found = outbox.page(conn, server, after, PAGE)
            return Page(self._items(conn, found), more=len(found) == PAGE)

        return await self._db.read(read)

    async def items(self, _server: ServerName, positions: Sequence[int]) -> Sequence[Item]:
        """Return the items at these positions, in order."""
        return await self._db.read(lambda conn: self._items(conn, outbox.entries(conn, positions)))

    async def save(self, record: Record) -> None:
        """Return once the record is durable."""
        self._records[record.server] = record
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self._write_now()
        await future

    def note(self, record: Record, taken: Sequence[int] = ()) -> None:
        """Let the record become durable soon."""
        self._records[record.server] = record
        self._taken += taken
        if self._timer is None and self._task is None:
            self._timer = asyncio.get_running_loop().call_later(SOON_SECONDS, self._write_now)

    async def close(self) -> None:
        """Make all that was noted durable, if that can be done."""
        if self._task is not None:
            await asyncio.wait([self._task])
        if self._records:
            self._write_now()
        if self._task is not None:
            await asyncio.wait([self._task])
        if self._timer is not None:
            self._timer.cancel()

    def _write_now(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is None:
            self._task = asyncio.create_task(self._write(), name="outbox records")

    async def _write(self) -> None:
        """Write what is not durable; again, as long as somebody waits for what came meanwhile."""
        try:
            while True:
                # One round of the loop, so that all who were woken together are in.
                await asyncio.sleep(0)
                records, self._records = self._records, {}
                taken, self._taken = self._taken, []
                waiting, self._waiting = self._waiting, []
                try:
                    await self._db.write(_Changes(list(records.values()), taken))
                except Exception as error:
                    self._records = {**records, **self._records}
                    self._taken = taken + self._taken
                    log.exception("outbox_records_not_kept")
                    _answer(waiting, error)
                    return
                _answer(waiting, None)
                if not self._waiting:
                    return
        finally:
            self._task = None
            if self._records and self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(SOON_SECONDS, self._write_now)

    def _items(self, conn: Connection, entries: Sequence[Entry]) -> list[Item]:
        loaded = self._events.by_nids(conn, [entry.event for entry in entries if entry.event is not None])
        found = []
        for entry in entries:
            if entry.edu is not None:
                found.append(edu_item(entry.position, entry.edu))
            elif entry.event is not None and entry.event in loaded:
                found.append(event_item(entry.position, loaded[entry.event]))
        return found


class _Changes:
    """A write of records, and of what servers have taken."""

    def __init__(self, records: Sequence[Record], taken: Sequence[int]) -> None:
        self._records = records
        self._taken = taken

    def __call__(self, tx: Write) -> None:
        destinations.save(tx, [_stored(record) for record in self._records])
        if self._taken:
            outbox.remove_taken(tx, self._taken)


def event_item(position: int, event: Event) -> Item:
    """Return an event as it is sent."""
    return Item(position, event.pdu.fields, len(event.content_json) + len(event.envelope), event.event_id)


def edu_item(position: int, edu: bytes) -> Item:
    """Return an EDU as it is sent."""
    return Item(position, orjson.loads(edu), len(edu), None)


def record_of(stored: Destination) -> Record:
    """Return what is kept of a server as the sender knows it."""
    transaction = msgspec.json.decode(stored.in_flight, type=Transaction) if stored.in_flight is not None else None
    backoff = None
    if stored.failing_since is not None:
        tried_at = stored.tried_at or stored.failing_since
        backoff = Backoff(stored.failing_since, tried_at, stored.retry_at or tried_at)
    return Record(stored.server, stored.cursor, transaction, backoff, stored.error)


def _stored(record: Record) -> Destination:
    backoff = record.backoff
    return Destination(
        server=record.server,
        cursor=record.cursor,
        in_flight=msgspec.json.encode(record.transaction) if record.transaction is not None else None,
        failing_since=backoff.failing_since if backoff is not None else None,
        tried_at=backoff.tried_at if backoff is not None else None,
        retry_at=backoff.retry_at if backoff is not None else None,
        error=record.error,
    )


def _answer(waiting: Sequence["asyncio.Future[None]"], error: Exception | None) -> None:
    for future in waiting:
        if future.done():
            continue
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(None)
