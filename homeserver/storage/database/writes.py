"""What both databases share: a write and its group, and what a group has stored so far."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Generic, Protocol, TypeVar, cast

import sqlalchemy as sa
import structlog
from sqlalchemy import Connection, Table
from sqlalchemy.dialects import sqlite

from homeserver.storage.schema.delivery import position as position_table

T = TypeVar("T")
log = structlog.get_logger()

LARGEST_GROUP = 100
"""Writes that share one commit, at most."""
READERS = 4
"""Threads (SQLite) or connections (PostgreSQL) that read."""

_moments = count(1)


def next_moment() -> int:
    """Return a number above all that were returned before."""
    return next(_moments)


def moment(conn: Connection) -> int:
    """Return the moment at which the transaction of `conn` began, or before; 0 if nobody knows.

    Who keeps in memory what was read asks with this whether a change was committed meanwhile.
    """
    return int(conn.info.get("moment", 0))


class Fresh:
    """What the writes of the running group have stored and nobody else can see yet; the next ones need not read it.

    Lies in `conn.info["fresh"]` of a connection that writes. What a failed write put there is dropped with it.
    """

    __slots__ = ("_before", "_kept", "_new", "told")

    def __init__(self, before: "Sequence[Fresh]" = ()) -> None:
        """Start empty, for a new group. `before`: the committed groups unknown to the caches, oldest first."""
        self._before = before
        self._kept: dict[tuple[str, Hashable], Any] = {}
        self._new: dict[tuple[str, Hashable], Any] = {}
        self.told = False
        """Whether the caches know of it."""

    def get(self, kind: str, key_in_kind: Hashable) -> Any | None:
        """Return what stands under a kind and a key, mostly a number, or None."""
        key = (kind, key_in_kind)
        found = self._new.get(key)
        if found is None:
            found = self._kept.get(key)
        for group in reversed(self._before):
            if found is None:
                found = group._kept.get(key)
        return found

    def put(self, kind: str, key_in_kind: Hashable, value: object) -> None:
        """Remember what the running write has stored."""
        self._new[kind, key_in_kind] = value

    def keep(self) -> None:
        """The write has succeeded."""
        self._kept.update(self._new)
        self._new.clear()

    def drop(self) -> None:
        """The write has failed."""
        self._new.clear()

    def tell(self) -> None:
        """The group is committed, and its `after_commit` functions have run."""
        self.told = True
        self._before = ()


def fresh(conn: Connection) -> Fresh | None:
    """Return what the running group has stored, or None on a connection that only reads."""
    return cast("Fresh | None", conn.info.get("fresh"))


@dataclass(slots=True)
class Numbers:
    """The position of the group that is being written."""

    value: int


class Write:
    """One write inside a group: its connection, its positions, and what to tell once it is durable."""

    __slots__ = ("_numbers", "after", "carried", "conn", "fresh")

    def __init__(self, conn: Connection, numbers: Numbers, fresh: Fresh) -> None:
        """Take the group's connection, its source of positions, and what it has stored so far."""
        self.conn = conn
        self.fresh = fresh
        self._numbers = numbers
        self.after: list[tuple[Callable[..., object], tuple[Any, ...]]] = []
        self.carried: object = None
        """What whoever asked for the write hands to those deep inside it."""

    def position(self) -> int:
        """Return the next number of the one commit-ordered sequence."""
        self._numbers.value += 1
        return self._numbers.value

    def after_commit(self, tell: Callable[..., object], *args: Any) -> None:
        """Call `tell(*args)` on the event loop, in commit order, once this write is durable."""
        self.after.append((tell, args))


@dataclass(slots=True)
class Job(Generic[T]):
    """A write that waits for its group."""

    fn: Callable[[Write], T]
    future: "asyncio.Future[T]"
    result: T | None = None
    error: BaseException | None = None
    after: list[tuple[Callable[..., object], tuple[Any, ...]]] = field(default_factory=list)

    def run(self, tx: Write) -> None:
        """Run the write; keep its result. Raises what it raises."""
        self.result = self.fn(tx)
        self.error, self.after = None, tx.after

    def fail(self, error: BaseException) -> None:
        """Keep an error as the answer."""
        self.result, self.error, self.after = None, error, []

    def finish(self) -> None:
        """Answer the caller and tell the world. Runs on the event loop, and as one step of it.

        The caller comes first, so that a sender has the answer to their request before their own sync shows the event.
        """
        if not self.future.done():
            if self.error is not None:
                self.future.set_exception(self.error)
            else:
                self.future.set_result(cast(T, self.result))
        for tell, args in self.after:
            try:
                tell(*args)
            except Exception:
                log.exception("after_commit_failed")


def run_together(conn: Connection, group: Sequence[Job[Any]], numbers: Numbers, memory: Fresh) -> bool:
    """Run writes one after the other; return False, and run no more, once one fails: all are to be undone then."""
    for job in group:
        try:
            job.run(Write(conn, numbers, memory))
        except Exception as error:
            job.fail(error)
            return False
        memory.keep()
    return True


def run_apart(conn: Connection, group: Sequence[Job[Any]], numbers: Numbers, memory: Fresh) -> bool:
    """Run writes so that each is undone alone if it fails; return True.

    Raises only where the whole transaction is lost with one: the connection, or on SQLite a full disk.
    """
    for job in group:
        _run_in_savepoint(conn, job, numbers, memory)
    return True


RunGroup = Callable[[Connection, Sequence[Job[Any]], Numbers, Fresh], bool]


def _run_in_savepoint(conn: Connection, job: Job[Any], numbers: Numbers, memory: Fresh) -> None:
    conn.exec_driver_sql("SAVEPOINT one_write")
    try:
        job.run(Write(conn, numbers, memory))
        memory.keep()
    except Exception as error:
        memory.drop()
        job.fail(error)
        try:
            conn.exec_driver_sql("ROLLBACK TO SAVEPOINT one_write")
        except Exception:
            raise error from None  # what went wrong first
    conn.exec_driver_sql("RELEASE SAVEPOINT one_write")


class Observer(Protocol):
    """Is told of each commit, for the metrics."""

    def __call__(self, writes: int, seconds: float) -> None:
        """Take how many writes shared the commit and how long it took."""
        ...


class Database(ABC):
    """SQLite or PostgreSQL, by the URL. Use `open_database`."""

    dialect: str

    @abstractmethod
    async def prepare(self, fn: Callable[[Connection], None]) -> None:
        """Run `fn` in a transaction of its own, before the first read or write: migrations."""

    @abstractmethod
    async def read(self, fn: Callable[[Connection], T]) -> T:
        """Run `fn` in a transaction that sees one moment and writes nothing; return what it returns.

        `fn` may run again if the connection is lost.
        """

    @abstractmethod
    async def write(self, fn: Callable[[Write], T]) -> T:
        """Run `fn` as part of the next commit; return what it returns once that is durable.

        Raises what `fn` raises; then nothing of it is stored. A caller that is cancelled does not undo the write.
        """

    @abstractmethod
    async def close(self) -> None:
        """Finish the writes that wait, then close all connections."""


def current_position(conn: Connection) -> int:
    """Return the position of the newest commit that `conn` sees."""
    return int(conn.execute(SELECT_POSITION).scalar_one())


def upsert(conn: Connection, table: Table) -> sqlite.Insert:
    """Return an insert that knows `on_conflict_do_update`, in the connection's dialect."""
    if conn.dialect.name == "postgresql":
        # Here and not above: whoever runs on SQLite does without ten megabytes of PostgreSQL.
        from sqlalchemy.dialects import postgresql

        return cast(sqlite.Insert, postgresql.insert(table))
    return sqlite.insert(table)


SELECT_POSITION = sa.select(position_table.c.value)
STORE_POSITION = position_table.update().values(value=sa.bindparam("new_value"))
