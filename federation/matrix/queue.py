"""What waits for one server, in memory.

Items that were committed just now are handed over and need not be read from the outbox: `items` follow one another
without a gap after the cursor. When they become too many, or the server cannot be reached, the queue is only `behind`:
the outbox has more than the queue, from `known` on, and pages of it are read when there is room.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from federation.core.ids import ServerName
from federation.matrix.backoff import Backoff
from federation.matrix.outbox import Item, Page, Record, Transaction
from federation.matrix.transactions import MOST_EDUS, MOST_PDUS

MOST_ITEMS = 200
"""Items kept in memory for one server."""
MOST_PASSING = 200
"""Passing EDUs kept for one server; of more, the oldest are dropped."""
MOST_BYTES = 2 * 1024 * 1024
"""About the size of a transaction, unless one item alone is larger."""
PASSES_MS = 60_000
"""What is passing is not worth repeating to a server that has failed for so long."""

TYPING = "m.typing"

Edu = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Load:
    """The content of one transaction. Without items, which may not be lost, it is kept in memory alone."""

    transaction: Transaction
    items: Sequence[Item]
    passing: Mapping[str, Edu]
    """EDUs by their keys."""

    @property
    def pdus(self) -> list[Mapping[str, Any]]:
        """The PDUs, in order."""
        return [item.content for item in self.items if item.event_id is not None]

    @property
    def edus(self) -> list[Edu]:
        """The EDUs: those that may not be lost, in order, and what is passing."""
        return [*(item.content for item in self.items if item.event_id is None), *self.passing.values()]


class Queue:
    """What waits for one server, and how it has been doing."""

    __slots__ = (
        "alarm_at",
        "backoff",
        "behind",
        "blocked",
        "cursor",
        "error",
        "greets",
        "items",
        "known",
        "load",
        "most_items",
        "passing",
        "server",
        "told",
        "transaction",
        "working",
    )

    def __init__(self, server: ServerName, cursor: int) -> None:
        """Start for a server that has taken everything up to a position, and for which no more is known to wait."""
        self.server = server
        self.cursor = cursor
        self.transaction: Transaction | None = None
        self.load: Load | None = None
        """The content of the transaction, as long as it is in memory."""
        self.items: deque[Item] = deque()
        self.known = cursor
        self.told = cursor
        """The newest position handed over, whether it is in `items` or left to the outbox."""
        self.behind = False
        self.passing: dict[str, Edu] = {}
        self.backoff: Backoff | None = None
        self.error: str | None = None
        self.blocked = False
        self.working = False
        self.greets = False
        """Whether a transaction is to be sent even if there is nothing to put into it."""
        self.alarm_at: int | None = None
        """When the sender will look at it again on its own."""
        self.most_items = MOST_PDUS + MOST_EDUS

    @classmethod
    def resumed(cls, record: Record) -> "Queue":
        """Return the queue of a server for which something may wait in the outbox."""
        queue = cls(record.server, record.cursor)
        queue.transaction = record.transaction
        queue.backoff = record.backoff
        queue.error = record.error
        queue.behind = True
        if record.transaction is not None:
            queue.known = record.transaction.positions[-1]
        return queue

    @property
    def record(self) -> Record:
        """What is to be kept."""
        return Record(self.server, self.cursor, self.transaction, self.backoff, self.error)

    @property
    def empty(self) -> bool:
        """Whether nothing waits."""
        return not (self.items or self.behind or self.passing or self.load or self.transaction or self.greets)

    def may_send(self, now: int) -> bool:
        """Return whether the server may be tried now."""
        return not self.blocked and (self.backoff is None or self.backoff.due <= now)

    def hand_over(self, item: Item) -> None:
        """Take an item that was committed just now; items come in the order of their positions."""
        if item.position <= self.known:
            return  # it was read from the outbox before we were told
        if not (self.items or self.behind or self.transaction):
            self.cursor = max(self.cursor, item.position - 1)  # nothing waits before it
        self.told = item.position
        if self.behind or self.backoff is not None or self.blocked or len(self.items) >= MOST_ITEMS:
            self.behind = True
        else:
            self.items.append(item)
            self.known = item.position

    def fill(self, page: Page, told: int) -> None:
        """Take what was read from the outbox behind `known`; `told` is what it was when the reading began."""
        if page.items:
            self.items.extend(page.items)
            self.known = page.items[-1].position
        if not page.more:
            self.known = max(self.known, told)
        # What was told meanwhile may have been committed after the page was read.
        self.behind = page.more or self.told > self.known

    def pass_by(self, key: str, edu: Edu, now: int) -> None:
        """Take an EDU that may be lost; a later one with its key replaces it."""
        if self._gone_long(now) or (self.backoff is not None and edu.get("edu_type") == TYPING):
            return
        self.passing.pop(key, None)
        self.passing[key] = edu
        if len(self.passing) > MOST_PASSING:
            del self.passing[next(iter(self.passing))]

    def cut(self, txn_id: str, now: int) -> Load | None:
        """Begin the next transaction with what is in memory; return it, or None if there is nothing.

        https://spec.matrix.org/v1.19/server-server-api/#transactions
        """
        taken: list[Item] = []
        pdus = edus = size = 0
        while self.items and len(taken) < self.most_items:
            item = self.items[0]
            pdus, edus = pdus + (item.event_id is not None), edus + (item.event_id is None)
            size += item.size
            if pdus > MOST_PDUS or edus > MOST_EDUS or (taken and size > MOST_BYTES):
                break
            taken.append(self.items.popleft())
        room = MOST_EDUS - sum(item.event_id is None for item in taken)
        passing = {key: self.passing.pop(key) for key in list(self.passing)[:room]}
        if not taken and not passing and not self.greets:
            return None
        self.greets = False
        transaction = Transaction(txn_id, now, tuple(item.position for item in taken))
        self.load = Load(transaction, taken, passing)
        if taken:
            self.transaction = transaction
        return self.load

    def delivered(self, load: Load) -> None:
        """Take note that the server has taken a transaction."""
        if load.transaction.positions:
            self.cursor = max(self.cursor, load.transaction.positions[-1])
        self.transaction = self.load = self.backoff = self.error = None
        self.most_items = min(self.most_items * 2, MOST_PDUS + MOST_EDUS)

    def skip(self) -> None:
        """Give up a transaction of which nothing is there any more."""
        if self.transaction is not None:
            self.cursor = self.transaction.positions[-1]
            self.transaction = None

    def failed(self, backoff: Backoff, error: str, now: int) -> None:
        """Take note that an attempt has failed.

        What is repeated soon stays in memory as it is. Later the durable part of it is read again, and the rest has
        passed, or waits for another transaction.
        """
        self.backoff, self.error = backoff, error
        self.passing = {key: edu for key, edu in self.passing.items() if edu.get("edu_type") != TYPING}
        if self._gone_long(now):
            self.load = None
            self.passing.clear()
            if self.items:
                self.known = self.items[0].position - 1
                self.items.clear()
                self.behind = True

    def give_up_greeting(self) -> bool:
        """Forget a transaction that was a greeting only; return False if it is more."""
        if self.load is None or self.load.items or self.load.passing:
            return False
        self.load = None
        return True

    def divide(self) -> Item | None:
        """Take back a transaction that is too large for the server, to send less at once.

        If it was a single item, that is given up, and returned.
        """
        load, self.load, self.transaction = self.load, None, None
        items = load.items if load is not None else ()
        if len(items) == 1:
            self.cursor = items[0].position
            return items[0]
        if items:
            self.items.extendleft(reversed(items))
            self.most_items = len(items) // 2
        return None

    def _gone_long(self, now: int) -> bool:
        return self.backoff is not None and now - self.backoff.failing_since >= PASSES_MS
