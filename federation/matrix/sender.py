"""Sends what waits for other servers: to each one transaction after the other, to many at once.

A task serves a server as long as something can be sent to it, and ends. So one that is slow holds up nobody else, and
one that cannot be reached costs a timer. A transaction is durable before it is sent for the first time, and repeated
with the same ID and the same items until the other server has taken it, over restarts too; only then does the cursor
move. https://spec.matrix.org/v1.19/server-server-api/#transactions
"""

import asyncio
import heapq
import random
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import structlog

from federation.core.ids import ServerName
from federation.matrix.backoff import after_failure, after_hearing
from federation.matrix.errors import FederationError, RemoteError
from federation.matrix.outbox import Carrier, Chance, Item, Outbox, Record, Time
from federation.matrix.queue import Edu, Load, Queue

AT_ONCE = 100
"""Transactions on their way at the same time."""
AT_ONCE_TO_FAILING = 50
"""More of them, to servers whose last attempt failed: where many hang, the others need not wait for them."""
SECONDS = 60.0
"""How long a server has for a transaction."""
SLOW_SECONDS = 10.0
"""One that takes longer does not count any more, so that slow servers do not take all places."""
TXN_ID_LETTERS = 18
LONGEST_ERROR = 300
TOO_LARGE = 413

log = structlog.get_logger()


@dataclass(slots=True)
class Counts:
    """What was sent since the start."""

    transactions: int = 0
    failures: int = 0
    pdus: int = 0
    edus: int = 0
    refused: int = 0
    """PDUs that other servers did not accept."""


class Sender:
    """Sends to all servers. Everything here runs on the event loop."""

    def __init__(
        self,
        origin: ServerName,
        carrier: Carrier,
        outbox: Outbox,
        time: Time,
        chance: Chance,
        *,
        at_once: int = AT_ONCE,
        seconds: float = SECONDS,
        slow_seconds: float = SLOW_SECONDS,
    ) -> None:
        """Take who we are, who carries, and where things wait. Nothing is sent before `start`."""
        self._origin = origin
        self._carrier = carrier
        self._outbox = outbox
        self._time = time
        self._chance = chance
        self._seconds = seconds
        self._slow_seconds = slow_seconds
        self._slots = asyncio.Semaphore(at_once)
        self._slots_for_failing = asyncio.Semaphore(AT_ONCE_TO_FAILING)
        self._queues: dict[ServerName, Queue] = {}
        self._blocked: frozenset[ServerName] = frozenset()
        self._tasks: set[asyncio.Task[None]] = set()
        self._alarms: list[tuple[int, ServerName]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._running = False
        self.missed = False
        """Whether something was handed over before the start."""
        self.counts = Counts()

    def start(self, records: Iterable[Record], blocked: Collection[ServerName]) -> None:
        """Begin to send; `records` are of all servers for which something waits, or which have been failing."""
        self._running = True
        self._blocked = frozenset(blocked)
        for record in records:
            queue = self._queues[record.server] = Queue.resumed(record)
            queue.blocked = record.server in self._blocked
            self._look(queue)

    async def stop(self, seconds: float) -> None:
        """Begin no more transactions; wait some time for those on their way."""
        self._running = False
        if self._timer is not None:
            self._timer.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # What there is to send

    def hand_over(self, servers: Iterable[ServerName], item: Item) -> None:
        """Send an item, just committed, to these servers. Items come in the order of their positions."""
        if not self._running:
            self.missed = True
            return
        for server in servers:
            queue = self._queues.get(server) or self._new(server, item.position - 1)
            queue.hand_over(item)
            self._look(queue)

    def pass_by(self, servers: Iterable[ServerName], key: str, edu: Edu) -> None:
        """Send an EDU that may be lost; until it is sent, a later one with its key replaces it."""
        if not self._running:
            return
        now = self._time.now_ms()
        for server in servers:
            # The cursor is not known, and stays as it is kept: nothing moves it back.
            queue = self._queues.get(server) or self._new(server, 0)
            queue.pass_by(key, edu, now)
            self._look(queue)

    def greet(self, server: ServerName) -> None:
        """Let a server hear from us, which ends its waiting to try us again; in vain if it cannot be reached."""
        if not self._running:
            return
        queue = self._queues.get(server) or self._new(server, 0)
        queue.greets = queue.empty and queue.backoff is None
        self._look(queue)

    def heard_from(self, server: ServerName) -> None:
        """A server has spoken: if we were waiting to try it again, we need not."""
        queue = self._queues.get(server)
        if queue is not None and queue.backoff is not None and queue.backoff.heard_at is None:
            queue.backoff = after_hearing(queue.backoff, self._time.now_ms())
            self._look(queue)

    def retry(self, server: ServerName) -> bool:
        """Try a server again now, whatever it did; return False if it is not being waited for."""
        queue = self._queues.get(server)
        if queue is None or queue.backoff is None:
            return False
        queue.backoff = replace(queue.backoff, retry_at=self._time.now_ms())
        self._look(queue)
        return True

    def block(self, servers: Collection[ServerName]) -> None:
        """Send to these servers no more, and to all others again."""
        self._blocked = frozenset(servers)
        for queue in list(self._queues.values()):
            queue.blocked = queue.server in self._blocked
            self._look(queue)

    @property
    def queues(self) -> Collection[Queue]:
        """All queues in memory: of servers for which something waits, or which fail. Read only."""
        return self._queues.values()

    def queue(self, server: ServerName) -> Queue | None:
        """Return the queue of a server, None if nothing is wrong and nothing waits. Read only."""
        return self._queues.get(server)

    # The tasks

    def _new(self, server: ServerName, cursor: int) -> Queue:
        queue = self._queues[server] = Queue(server, cursor)
        queue.blocked = server in self._blocked
        return queue

    def _look(self, queue: Queue) -> None:
        """Start to serve a queue if there is something to do, or let it be done later."""
        if queue.working or not self._running:
            return
        if queue.empty and (queue.backoff is None or queue.backoff.due <= self._time.now_ms()):
            self._queues.pop(queue.server, None)
        elif queue.may_send(self._time.now_ms()):
            queue.working = True
            task = asyncio.create_task(self._serve(queue), name=f"send to {queue.server}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif queue.backoff is not None and not queue.blocked:
            due = queue.backoff.due
            if queue.alarm_at is None or due < queue.alarm_at:
                queue.alarm_at = due
                heapq.heappush(self._alarms, (due, queue.server))
                self._set_timer()

    async def _serve(self, queue: Queue) -> None:
        try:
            while self._running and queue.may_send(self._time.now_ms()):
                async with self._place(queue):
                    load = await self._next(queue)
                    if load is None:
                        break
                    await self._send(queue, load)
        except Exception:
            # The database, or a fault of ours. What waits is in the outbox.
            log.exception("sending_failed", destination=queue.server)
            self._failed(queue, "this server could not prepare the transaction", None)
        finally:
            queue.working = False
        self._look(queue)

    @asynccontextmanager
    async def _place(self, queue: Queue) -> AsyncIterator[None]:
        """Wait for a place among those that are served now, and keep it for as long as that is not slow."""
        failing = queue.backoff is not None and queue.backoff.heard_at is None
        places = self._slots_for_failing if failing else self._slots
        await places.acquire()
        timer = asyncio.get_running_loop().call_later(self._slow_seconds, places.release)
        try:
            yield
        finally:
            if not timer.cancelled() and timer.when() > asyncio.get_running_loop().time():
                timer.cancel()
                places.release()

    async def _next(self, queue: Queue) -> Load | None:
        """Return the next transaction, durable if it must not be lost; None if there is nothing to send."""
        if queue.load is not None:
            return queue.load
        if queue.transaction is not None:
            items = await self._outbox.items(queue.server, queue.transaction.positions)
            if items:
                queue.load = Load(queue.transaction, items, {})
                return queue.load
            queue.skip()
            self._outbox.note(queue.record)
        while queue.behind and not queue.items:
            told = queue.told
            queue.fill(await self._outbox.page(queue.server, queue.known), told)
        load = queue.cut(self._chance.letters(TXN_ID_LETTERS), self._time.now_ms())
        if load is not None and load.items:
            await self._outbox.save(queue.record)
        return load

    async def _send(self, queue: Queue, load: Load) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                answer = await self._carrier.send_transaction(queue.server, load.transaction.txn_id, self._body(load))
        except RemoteError as error:
            if error.status == TOO_LARGE:
                self._divide(queue)
            else:
                self._failed(queue, str(error), error.retry_after_ms)
        except (FederationError, TimeoutError) as error:
            self._failed(queue, str(error) or f"{queue.server} did not answer in time", None)
        else:
            self._delivered(queue, load, answer)

    def _body(self, load: Load) -> Mapping[str, Any]:
        body: dict[str, Any] = {
            "origin": self._origin, "origin_server_ts": load.transaction.began_at, "pdus": load.pdus,
        }  # fmt: skip
        if edus := load.edus:
            body["edus"] = edus
        return body

    def _delivered(self, queue: Queue, load: Load, answer: Mapping[str, Any]) -> None:
        failed_before = queue.backoff is not None
        if failed_before:
            log.info("destination_is_back", destination=queue.server)
        queue.delivered(load)
        self.counts.transactions += 1
        self.counts.pdus += len(load.pdus)
        self.counts.edus += len(load.edus)
        if load.items or failed_before:
            self._outbox.note(queue.record, [item.position for item in load.items if item.event_id is None])
        results = answer.get("pdus")
        if isinstance(results, dict):
            self._count_refusals(queue, load, results)

    def _count_refusals(self, queue: Queue, load: Load, results: Mapping[str, Any]) -> None:
        """Log what the other server did not accept. To send it again would not change its mind."""
        for item in load.items:
            result = results.get(item.event_id) if item.event_id is not None else None
            if isinstance(result, dict) and (error := result.get("error")):
                self.counts.refused += 1
                text = str(error)[:LONGEST_ERROR]
                log.info("event_refused", destination=queue.server, event_id=item.event_id, error=text)

    def _failed(self, queue: Queue, error: str, asked_ms: int | None) -> None:
        if queue.give_up_greeting():
            return
        now = self._time.now_ms()
        first = queue.backoff is None
        chance = random.random()  # noqa: S311 - no secret
        queue.failed(after_failure(queue.backoff, now, chance, asked_ms), error[:LONGEST_ERROR], now)
        self.counts.failures += 1
        (log.info if first else log.debug)("destination_fails", destination=queue.server, error=queue.error)
        self._outbox.note(queue.record)

    def _divide(self, queue: Queue) -> None:
        """Send less at once to a server that finds a transaction too large."""
        given_up = queue.divide()
        if given_up is not None:
            self.counts.refused += 1
            log.warning("too_large_to_send", destination=queue.server, event_id=given_up.event_id)
        self._outbox.note(queue.record)

    # The alarm

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._alarms:
            wait = max(0, self._alarms[0][0] - self._time.now_ms()) / 1000
            self._timer = asyncio.get_running_loop().call_later(wait, self.wake)

    def wake(self) -> None:
        """Try the servers again whose time has come."""
        now = self._time.now_ms()
        while self._alarms and self._alarms[0][0] <= now:
            _, server = heapq.heappop(self._alarms)
            queue = self._queues.get(server)
            if queue is not None:
                queue.alarm_at = None
                self._look(queue)
        self._set_timer()
