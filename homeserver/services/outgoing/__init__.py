"""What leaves the server for other servers: kept inside the write that causes it, sent right after its commit.

An event is one row, which names the set of its destinations; the set is made when the servers of a room change. So what
is written when something is sent does not grow with the servers that get it. After the commit the item goes straight to
the sender, which reads the outbox for those servers only that are behind.

Sources: https://spec.matrix.org/v1.19/server-server-api/#transactions,
https://spec.matrix.org/v1.19/server-server-api/#edus
"""

import asyncio
import heapq
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import Connection

from federation.core.ids import ServerName, parse_server_name, server_of
from federation.matrix.outbox import Carrier
from federation.matrix.queue import Queue
from federation.matrix.sender import Sender
from homeserver.clock import Clock, Ids
from homeserver.config.schema import Federation
from homeserver.model.destinations import Destination
from homeserver.model.events import Event
from homeserver.model.sending import SendingFigures
from homeserver.services.outgoing.records import StoredOutbox, edu_item, event_item, record_of
from homeserver.storage import destinations, outbox, outbox_pruning
from homeserver.storage.database import Database, Write
from homeserver.storage.events import Events

MOST_SETS = 5000
"""Sets of destinations whose numbers are remembered."""
DELETED_AT_ONCE = 5000
FAILING_BY_NAME = 10
"""Servers that the metrics name: those that have been failing longest."""
MOST_GREETED = 1000
GREETING_SECONDS = 0.05
"""After each greeting at the start."""
STOP_SECONDS = 5.0
"""How long a stop waits for the transactions on their way; they are repeated after the start."""

Servers = frozenset[ServerName]


class Outgoing:
    """Sends events and EDUs to other servers."""

    def __init__(
        self,
        server_name: ServerName,
        db: Database,
        events: Events,
        clock: Clock,
        ids: Ids,
        carrier: Carrier,
        options: Federation,
    ) -> None:
        """Take what is needed to send. Nothing is sent yet."""
        self._server_name = server_name
        self._db = db
        self._clock = clock
        self._enabled = options.enabled
        self._blocked = frozenset(parse_server_name(name) for name in options.blocked_destinations)
        self._stored = StoredOutbox(db, events)
        self._sender = Sender(server_name, carrier, self._stored, clock, ids, at_once=options.transactions_at_once)
        self._sets: OrderedDict[Servers, int] = OrderedDict()
        self._greeting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Go on with what waits. Call it before requests are answered."""
        if not self._enabled:
            return
        while True:
            self._sender.missed = False
            records, blocked = await self._db.read(_read_start)
            if not self._sender.missed:
                break
        self._sender.start([record_of(one) for one in records], blocked | self._blocked)
        self._greeting = asyncio.create_task(self._greet(), name="greet servers")

    async def _greet(self) -> None:
        """Let those with whom we share rooms hear from us: they may have been waiting to try us again, for an hour.

        Gently, for there may be many.
        """
        for server in await self._db.read(lambda conn: destinations.neighbours(conn, MOST_GREETED)):
            if server != self._server_name:
                self._sender.greet(server)
                await self._clock.sleep(GREETING_SECONDS)

    async def stop(self) -> None:
        """Send no more, and keep how far each server has come."""
        if self._greeting is not None:
            self._greeting.cancel()
        await self._sender.stop(STOP_SECONDS)
        await self._stored.close()

    # What is to be sent

    def deliver(self, tx: Write, event: Event, servers: Servers) -> None:
        """Send an event to these servers, in the order of the commits. They are those of now: who joins later is not
        sent it, who leaves later is."""
        if not self._enabled or not servers:
            return
        origin = server_of(event.sender)
        whole, omitted = servers, None
        if origin != self._server_name and origin not in servers:
            # What others sent goes to all servers of the room but theirs; so that needs no set of its own.
            whole = servers | {origin}
            (omitted,) = outbox.intern_destinations(tx, [origin])
        position = self._add(tx, whole, omitted=omitted, event=event.nid)
        tx.after_commit(self._send_event, position, event, servers)

    def edu(
        self,
        tx: Write | None,
        servers: Iterable[ServerName],
        edu: Mapping[str, Any],
        *,
        durable: bool = False,
        key: str | None = None,
    ) -> None:
        """Send an EDU, `edu_type` and `content`, to these servers, this one left out.

        A durable one is kept in the write `tx` until all have it. Where two have one `key`, a server that was away
        long gets the later one only; without a key it gets them all.
        One that is not durable may be lost. Until it is sent, it is replaced by a later one with its key, which it must
        have. With `tx` it goes after the commit, else at once; then it must be called on the event loop.
        """
        to = frozenset(servers) - {self._server_name}
        if not self._enabled or not to:
            return
        if durable:
            if tx is None:
                raise ValueError("a durable EDU is part of a write")
            content = orjson.dumps(edu)
            position = self._add(tx, to, edu=content, key=key)
            tx.after_commit(self._send_edu, position, content, to)
        elif key is None:
            raise ValueError("an EDU that is not durable has a key")
        elif tx is not None:
            tx.after_commit(self._sender.pass_by, to, key, edu)
        else:
            self._sender.pass_by(to, key, edu)

    def heard_from(self, server: ServerName) -> None:
        """A server has made a request, so it is there: what waits for it goes out now."""
        self._sender.heard_from(server)

    # What operators do

    async def retry(self, server: ServerName) -> bool:
        """Try a server again now; return False if it is not failing."""
        return self._sender.retry(server)

    async def block(self, server: ServerName, blocked: bool) -> None:
        """Send nothing more to a server, what waits included, or all of it again."""
        await self._db.write(lambda tx: destinations.set_blocked(tx, server, blocked))
        await self.look()

    async def look(self) -> None:
        """See what was asked for in the database: by a command beside the server, or through another process."""
        if not self._enabled:
            return
        blocked, to_retry = await self._db.read(lambda conn: (destinations.blocked(conn), destinations.to_retry(conn)))
        self._sender.block(blocked | self._blocked)
        if to_retry:
            await self._db.write(destinations.retried)
            for server in to_retry:
                self._sender.retry(server)

    def is_blocked(self, server: ServerName) -> bool:
        """Return whether the configuration forbids to send to a server, whatever is asked for."""
        return server in self._blocked

    def queue(self, server: ServerName) -> Queue | None:
        """Return what waits for a server in memory; None if nothing waits and nothing is wrong."""
        return self._sender.queue(server)

    def figures(self) -> SendingFigures:
        """Return how the sending goes."""
        now = self._clock.now_ms()
        conditions = dict.fromkeys(("sending", "failing", "blocked", "waiting"), 0)
        failing = []
        for queue in self._sender.queues:
            conditions[_condition(queue)] += 1
            if queue.backoff is not None:
                failing.append((now - queue.backoff.failing_since, queue.server))
        longest = heapq.nlargest(FAILING_BY_NAME, failing)
        counts = self._sender.counts
        return SendingFigures(
            destinations=conditions,
            queued=sum(len(queue.items) for queue in self._sender.queues),
            behind=sum(queue.behind for queue in self._sender.queues),
            failing_longest=[(server, for_ms / 1000) for for_ms, server in longest],
            transactions=counts.transactions,
            failures=counts.failures,
            pdus=counts.pdus,
            edus=counts.edus,
            refused=counts.refused,
        )

    @property
    def queues(self) -> Collection[Queue]:
        """What waits in memory for each server for which something waits, or which fails."""
        return self._sender.queues

    # What is not needed any more

    async def prune(self) -> None:
        """Delete what nobody needs of the outbox."""
        position, idle = await self._db.read(outbox_pruning.idle)
        if idle:
            await self._db.write(lambda tx: outbox_pruning.advance(tx, position, idle))
        while True:
            in_flight = {
                position
                for queue in self._sender.queues
                if queue.transaction is not None
                for position in queue.transaction.positions
            }
            found = await self._db.read(_Expendable(in_flight))
            for start in range(0, len(found), DELETED_AT_ONCE):
                await self._db.write(_Prune(found[start : start + DELETED_AT_ONCE]))
            if len(found) < outbox_pruning.MOST_AT_ONCE:
                break
        await self._db.write(outbox_pruning.prune_sets)

    # The sets, and what happens after the commit

    def _add(self, tx: Write, servers: Servers, **what: Any) -> int:
        """Store what waits for a set of servers; return its position."""
        known = self._sets.get(servers)
        position = outbox.add(tx, known, **what) if known is not None else None
        if position is None:
            # Not known here, or given up since.
            number = outbox.intern_set(tx, servers)
            position = outbox.add(tx, number, **what)
            assert position is not None
            tx.after_commit(self._remember, servers, number)
        return position

    def _remember(self, servers: Servers, number: int) -> None:
        self._sets[servers] = number
        self._sets.move_to_end(servers)
        if len(self._sets) > MOST_SETS:
            self._sets.popitem(last=False)

    def _send_event(self, position: int, event: Event, servers: Servers) -> None:
        self._sender.hand_over(servers, event_item(position, event))

    def _send_edu(self, position: int, content: bytes, servers: Servers) -> None:
        self._sender.hand_over(servers, edu_item(position, content))


class _Expendable:
    """A read of what nobody needs."""

    def __init__(self, in_flight: Collection[int]) -> None:
        self._in_flight = in_flight

    def __call__(self, conn: Connection) -> Sequence[int]:
        return outbox_pruning.expendable(conn, self._in_flight)


class _Prune:
    """A write that deletes rows of the outbox."""

    def __init__(self, positions: Sequence[int]) -> None:
        self._positions = positions

    def __call__(self, tx: Write) -> int:
        return outbox_pruning.prune(tx, self._positions)


def _condition(queue: Queue) -> str:
    if queue.blocked:
        return "blocked"
    if queue.backoff is not None:
        return "failing"
    return "sending" if queue.working else "waiting"


def _read_start(conn: Connection) -> tuple[Sequence[Destination], Servers]:
    return destinations.unfinished(conn), destinations.blocked(conn)
