"""The two ways into the database: `read` and `write`.

Functions given to them are plain and synchronous, take a connection (or a `Write`) and never commit. On SQLite they run
in threads that own their connections, on PostgreSQL under `AsyncConnection.run_sync`; so one text serves both.

**Group commit.** Writes that wait at the same time share one transaction and are answered only after its commit. One that
fails is undone alone: on SQLite by a savepoint; on PostgreSQL, where a savepoint costs two round trips, the whole group is
rolled back and each write is tried alone. So a write function may run more than once and has no effect but on its
connection and through `Write.after_commit`.

**One position.** A group locks the row of the position before anything else, so groups of all processes follow one another,
and a reader that has seen position *p* never later finds a row at or below *p*. See `docs/decisions/0002-one-writer.md`.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, cast

import sqlalchemy as sa
import structlog
from sqlalchemy import Connection, Engine, Table, create_engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from homeserver.storage.schema.delivery import position as position_table

T = TypeVar("T")
log = structlog.get_logger()

LARGEST_GROUP = 100
"""Writes that share one commit, at most."""
READERS = 4
"""Threads (SQLite) or connections (PostgreSQL) that read."""


class Fresh:
    """What the writes of the running group have stored and nobody else can see yet, so that the next ones need not read it.

    Lies in `conn.info["fresh"]` of a connection that writes. What a failed write put there is dropped with it.
    """

    __slots__ = ("_kept", "_new")

    def __init__(self) -> None:
        """Start empty, for a new group."""
        self._kept: dict[tuple[str, int], Any] = {}
        self._new: dict[tuple[str, int], Any] = {}

    def get(self, kind: str, number: int) -> Any | None:
        """Return what stands under a kind and a number, or None."""
        key = (kind, number)
        found = self._new.get(key)
        return found if found is not None else self._kept.get(key)

    def put(self, kind: str, number: int, value: object) -> None:
        """Remember what the running write has stored."""
        self._new[kind, number] = value

    def keep(self) -> None:
        """The write has succeeded."""
        self._kept.update(self._new)
        self._new.clear()

    def drop(self) -> None:
        """The write has failed."""
        self._new.clear()


def fresh(conn: Connection) -> Fresh | None:
    """Return what the running group has stored, or None on a connection that only reads."""
    return cast("Fresh | None", conn.info.get("fresh"))


class Write:
    """One write inside a group: its connection, its positions, and what to tell once it is durable."""

    __slots__ = ("_after", "_numbers", "conn", "fresh")

    def __init__(self, conn: Connection, numbers: "_Numbers", fresh: Fresh) -> None:
        """Take the group's connection, its source of positions, and what it has stored so far."""
        self.conn = conn
        self.fresh = fresh
        self._numbers = numbers
        self._after: list[tuple[Callable[..., object], tuple[Any, ...]]] = []

    def position(self) -> int:
        """Return the next number of the one commit-ordered sequence."""
        self._numbers.value += 1
        return self._numbers.value

    def after_commit(self, tell: Callable[..., object], *args: Any) -> None:
        """Call `tell(*args)` on the event loop, in commit order, once this write is durable."""
        self._after.append((tell, args))


@dataclass(slots=True)
class _Numbers:
    """The position of the group that is being written."""

    value: int


@dataclass(slots=True)
class _Job(Generic[T]):
    """A write that waits for its group."""

    fn: Callable[[Write], T]
    future: "asyncio.Future[T]"
    result: T | None = None
    error: BaseException | None = None
    after: list[tuple[Callable[..., object], tuple[Any, ...]]] = field(default_factory=list)

    def take(self, tx: Write, result: T) -> None:
        self.result, self.error, self.after = result, None, tx._after

    def fail(self, error: BaseException) -> None:
        self.result, self.error, self.after = None, error, []

    def finish(self) -> None:
        """Tell the world, then answer the caller. Runs on the event loop."""
        for tell, args in self.after:
            try:
                tell(*args)
            except Exception:
                log.exception("after_commit_failed")
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(cast(T, self.result))


class Observer(Protocol):
    """Is told of each commit, for the metrics."""

    def __call__(self, writes: int, seconds: float) -> None:
        """Take how many writes shared the commit and how long it took."""
        ...


class Database:
    """SQLite or PostgreSQL, by the URL. Use `open_database`."""

    dialect: str

    async def read(self, fn: Callable[[Connection], T]) -> T:
        """Run `fn` in a transaction that sees one moment and writes nothing; return what it returns."""
        raise NotImplementedError

    async def write(self, fn: Callable[[Write], T]) -> T:
        """Run `fn` as part of the next commit; return what it returns once that is durable.

        Raises what `fn` raises; then nothing of it is stored. A caller that is cancelled does not undo the write.
        """
        raise NotImplementedError

    async def close(self) -> None:
        """Finish the writes that wait, then close all connections."""
        raise NotImplementedError


def current_position(conn: Connection) -> int:
    """Return the position of the newest commit that `conn` sees."""
    return int(conn.execute(_SELECT_POSITION).scalar_one())


_SELECT_POSITION = sa.select(position_table.c.value)
_LOCK_POSITION = _SELECT_POSITION.with_for_update()
_STORE_POSITION = position_table.update().values(value=sa.bindparam("new_value"))


def upsert(conn: Connection, table: Table) -> sqlite.Insert:
    """Return an insert that knows `on_conflict_do_update`, in the connection's dialect."""
    if conn.dialect.name == "postgresql":
        return cast(sqlite.Insert, postgresql.insert(table))
    return sqlite.insert(table)


class SqliteDatabase(Database):
    """One writer thread and some reader threads, each with a connection of its own."""

    dialect = "sqlite"

    def __init__(self, path: Path, observe: Observer | None = None) -> None:
        """Open the file at `path`, making it if it is missing, and start the writer."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._engine = _sqlite_engine(path, "BEGIN IMMEDIATE")
        self._read_engine = _sqlite_engine(path, "BEGIN")
        self._jobs: queue.SimpleQueue[_Job[Any] | None] = queue.SimpleQueue()
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="reader")
        self._local = threading.local()
        self._observe = observe
        self._closed = False
        self._writer = threading.Thread(target=self._write_groups, name="writer", daemon=True)
        self._writer.start()

    @property
    def engine(self) -> Engine:
        """The writing engine, for migrations before the server starts."""
        return self._engine

    async def read(self, fn: Callable[[Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, fn)

    def _read(self, fn: Callable[[Connection], T]) -> T:
        conn: Connection | None = getattr(self._local, "conn", None)
        if conn is None:
            conn = self._local.conn = self._read_engine.connect()
            conn.exec_driver_sql("PRAGMA query_only = 1")
            conn.rollback()
        try:
            return fn(conn)
        finally:
            conn.rollback()

    async def write(self, fn: Callable[[Write], T]) -> T:
        if self._closed:
            raise RuntimeError("the database is closed")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.put(_Job(fn, future))
        return await asyncio.shield(future)

    def _write_groups(self) -> None:
        with self._engine.connect() as conn:
            while (first := self._jobs.get()) is not None:
                group, last = self._gather(first)
                self._write_group(conn, group)
                if last:
                    return

    def _gather(self, first: _Job[Any]) -> tuple[list[_Job[Any]], bool]:
        """Return the writes that wait, and whether the end was among them."""
        group = [first]
        while len(group) < LARGEST_GROUP:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is None:
                return group, True
            group.append(job)
        return group, False

    def _write_group(self, conn: Connection, group: list[_Job[Any]]) -> None:
        loop = group[0].future.get_loop()
        started = loop.time()
        try:
            with conn.begin():
                conn.info["fresh"] = memory = Fresh()
                numbers = _Numbers(before := current_position(conn))
                for job in group:
                    _run_in_savepoint(conn, job, numbers, memory)
                if numbers.value != before:
                    conn.execute(_STORE_POSITION, {"new_value": numbers.value})
        except Exception as error:
            log.exception("commit_failed")
            for job in group:
                job.fail(error)
        if self._observe is not None:
            self._observe(len(group), loop.time() - started)
        # A loop that has been closed has nobody left who waits for an answer.
        if not loop.is_closed():
            loop.call_soon_threadsafe(_finish, group)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._jobs.put(None)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._writer.join)
        barrier = threading.Barrier(READERS)
        await asyncio.gather(
            *(loop.run_in_executor(self._readers, self._close_reader, barrier) for _ in range(READERS))
        )
        self._readers.shutdown()
        self._read_engine.dispose()
        self._engine.dispose()

    def _close_reader(self, barrier: threading.Barrier) -> None:
        barrier.wait()  # so that each thread of the pool gets one
        conn: Connection | None = getattr(self._local, "conn", None)
        if conn is not None:
            conn.close()


def _run_in_savepoint(conn: Connection, job: _Job[Any], numbers: _Numbers, memory: Fresh) -> None:
    conn.exec_driver_sql("SAVEPOINT one_write")
    tx = Write(conn, numbers, memory)
    try:
        job.take(tx, job.fn(tx))
        memory.keep()
    except Exception as error:
        memory.drop()
        conn.exec_driver_sql("ROLLBACK TO one_write")
        job.fail(error)
    conn.exec_driver_sql("RELEASE one_write")


def _finish(group: list[_Job[Any]]) -> None:
    for job in group:
        job.finish()


def _sqlite_engine(path: Path, begin: str) -> Engine:
    # autocommit: we say BEGIN ourselves, since sqlite3's own begins too late and not for every statement.
    engine = create_engine(
        f"sqlite:///{path}",
        connect_args={
            "isolation_level": None,
            "check_same_thread": False,
            "timeout": 30,
            "cached_statements": 500,
        },
        poolclass=sa.NullPool,
    )

    @event.listens_for(engine, "connect")
    def _prepare(dbapi_connection: Any, _record: Any) -> None:
        for pragma in (
            "journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "temp_store = MEMORY",
            "cache_size = -16000", "mmap_size = 268435456", "journal_size_limit = 67108864",
        ):  # fmt: skip
            dbapi_connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(conn: Connection) -> None:
        conn.exec_driver_sql(begin)

    return engine


class PostgresDatabase(Database):
    """One task that writes and a pool of connections that read."""

    dialect = "postgresql"

    def __init__(self, url: str, observe: Observer | None = None) -> None:
        """Connect lazily to `url` (`postgresql://user:password@host/database`)."""
        url = url.replace("postgresql://", "postgresql+asyncpg://", 1)
        self._engine: AsyncEngine = create_async_engine(url, pool_size=READERS + 1, max_overflow=0)
        self._read_engine = self._engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
        self._jobs: asyncio.Queue[_Job[Any] | None] = asyncio.Queue()
        self._observe = observe
        self._closed = False
        self._writer: asyncio.Task[None] | None = None

    @property
    def engine(self) -> AsyncEngine:
        """The engine, for migrations before the server starts."""
        return self._engine

    async def read(self, fn: Callable[[Connection], T]) -> T:
        async with self._read_engine.connect() as conn:
            return await conn.run_sync(_read_clean, fn)

    async def write(self, fn: Callable[[Write], T]) -> T:
        if self._closed:
            raise RuntimeError("the database is closed")
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_groups(), name="writer")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.put_nowait(_Job(fn, future))
        return await asyncio.shield(future)

    async def _write_groups(self) -> None:
        loop = asyncio.get_running_loop()
        while (first := await self._jobs.get()) is not None:
            group, last = [first], False
            while len(group) < LARGEST_GROUP and not self._jobs.empty():
                job = self._jobs.get_nowait()
                if job is None:
                    last = True
                    break
                group.append(job)
            started = loop.time()
            await self._write_group(group)
            if self._observe is not None:
                self._observe(len(group), loop.time() - started)
            _finish(group)
            if last:
                return

    async def _write_group(self, group: list[_Job[Any]]) -> None:
        """Write `group` in one transaction; if one of them fails, each in a transaction of its own."""
        try:
            async with self._engine.connect() as conn:
                await conn.run_sync(_write_all, group)
                if not any(job.error is not None for job in group):
                    await conn.commit()
                    return
                await conn.rollback()
        except Exception as error:
            log.exception("commit_failed")
            for job in group:
                job.fail(error)
        if len(group) > 1:
            for job in group:
                await self._write_group([job])

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._writer is not None:
            self._jobs.put_nowait(None)
            await self._writer
        await self._engine.dispose()


def _write_all(conn: Connection, group: list[_Job[Any]]) -> None:
    """Run the writes of a group one after the other; stop at the first that fails."""
    conn.info["fresh"] = memory = Fresh()
    numbers = _Numbers(before := int(conn.execute(_LOCK_POSITION).scalar_one()))
    for job in group:
        tx = Write(conn, numbers, memory)
        try:
            job.take(tx, job.fn(tx))
            memory.keep()
        except Exception as error:
            job.fail(error)
            return
    if numbers.value != before:
        conn.execute(_STORE_POSITION, {"new_value": numbers.value})


def _read_clean(conn: Connection, fn: Callable[[Connection], T]) -> T:
    conn.info.pop("fresh", None)  # the connection may have written before
    return fn(conn)


def open_database(url: str, observe: Observer | None = None) -> SqliteDatabase | PostgresDatabase:
    """Return the database at `url`: `sqlite:///path` (relative) or `sqlite:////path`, or `postgresql://...`.

    Raises ValueError for another kind of URL. Call `migrations.runner.prepare` before the first use.
    """
    if url.startswith("sqlite:///"):
        return SqliteDatabase(Path(url.removeprefix("sqlite:///")), observe)
    if url.startswith("postgresql://"):
        return PostgresDatabase(url, observe)
    raise ValueError("database.url must start with sqlite:/// or postgresql://")
