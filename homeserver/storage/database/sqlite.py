"""SQLite: one writer thread and some reader threads, each with a connection of its own."""

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog
from sqlalchemy import Connection, Engine, create_engine, event

from homeserver.storage.database.writes import (
    LARGEST_GROUP,
    READERS,
    STORE_POSITION,
    Database,
    Fresh,
    Job,
    Numbers,
    Observer,
    RunGroup,
    Write,
    current_position,
    next_moment,
    run_apart,
    run_together,
)

T = TypeVar("T")
log = structlog.get_logger()

LOCK_SECONDS = 30.0
"""How long to wait while another process, such as a command beside the server, writes."""

WRITER_CACHE, READER_CACHE = 8 * 1024 * 1024, 1024 * 1024
"""Bytes of pages that a connection keeps: those it writes, those it reads from the log. The others are mapped."""


class SqliteDatabase(Database):
    """A file. A write is one hop to the writer's thread, a read one hop to a reader's."""

    dialect = "sqlite"

    def __init__(self, path: Path, observe: Observer | None = None) -> None:
        """Open the file at `path`, making it if it is missing, and start the writer."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._engine = _sqlite_engine(path, "BEGIN IMMEDIATE", WRITER_CACHE)
        self._read_engine = _sqlite_engine(path, "BEGIN", READER_CACHE)
        self._jobs: queue.SimpleQueue[Job[Any] | None] = queue.SimpleQueue()
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="reader")
        self._local = threading.local()
        self._observe = observe
        self._closed = False
        self._conn: Connection | None = None
        self._position = 0
        self._untold: list[Fresh] = []
        self._writer = threading.Thread(target=self._write_groups, name="writer", daemon=True)
        self._writer.start()

    async def prepare(self, fn: Callable[[Connection], None]) -> None:
        with self._engine.begin() as conn:
            fn(conn)

    async def read(self, fn: Callable[[Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, fn)

    def _read(self, fn: Callable[[Connection], T]) -> T:
        conn: Connection | None = getattr(self._local, "conn", None)
        if conn is None:
            conn = self._read_engine.connect()
            conn.exec_driver_sql("PRAGMA query_only = 1")
            conn.rollback()
            self._local.conn = conn
        conn.info["moment"] = next_moment()
        try:
            return fn(conn)
        finally:
            conn.rollback()

    async def write(self, fn: Callable[[Write], T]) -> T:
        if self._closed:
            raise RuntimeError("the database is closed")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.put(Job(fn, future))
        return await asyncio.shield(future)

    def _write_groups(self) -> None:
        last = False
        while not last and (first := self._jobs.get()) is not None:
            group, last = self._gather(first)
            self._write_group(group)
        self._disconnect()

    def _gather(self, first: Job[Any]) -> tuple[list[Job[Any]], bool]:
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

    def _write_group(self, group: list[Job[Any]]) -> None:
        loop = group[0].future.get_loop()
        started = loop.time()
        memory: Fresh | None = None
        try:
            if self._conn is None:
                self._conn = self._engine.connect()
            memory = self._commit(self._conn, group, run_together)
            if memory is None and len(group) > 1:
                memory = self._commit(self._conn, group, run_apart)
        except Exception as error:
            log.exception("commit_failed")
            for job in group:
                job.fail(error)
            self._disconnect()
        # A loop that has been closed has nobody left who waits for an answer.
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._finish, group, loop.time() - started, memory)

    def _commit(self, conn: Connection, group: list[Job[Any]], run: RunGroup) -> Fresh | None:
        """Run the writes and commit them; return what they stored, or None if one failed and all were rolled back."""
        conn.info["moment"] = next_moment()
        with conn.begin() as transaction:
            before = current_position(conn)
            if before != self._position:
                self._untold = []  # another process has written since
            self._untold = [earlier for earlier in self._untold if not earlier.told]
            conn.info["fresh"] = memory = Fresh(tuple(self._untold))
            numbers = Numbers(before)
            if not run(conn, group, numbers, memory):
                transaction.rollback()
                return None
            if numbers.value != before:
                conn.execute(STORE_POSITION, {"new_value": numbers.value})
        self._position = numbers.value
        self._untold.append(memory)
        return memory

    def _finish(self, group: list[Job[Any]], seconds: float, memory: Fresh | None) -> None:
        """Tell and answer. Runs on the event loop, in the order of the commits."""
        for job in group:
            job.finish()
        if memory is not None:
            memory.tell()
        if self._observe is not None:
            self._observe(len(group), seconds)

    def _disconnect(self) -> None:
        """Let go of the writer's connection; the next group makes a new one."""
        conn, self._conn, self._untold = self._conn, None, []
        if conn is not None:
            with suppress(Exception):
                conn.close()

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


def _sqlite_engine(path: Path, begin: str, cache_bytes: int) -> Engine:
    # autocommit: we say BEGIN ourselves, since sqlite3's own begins too late and not for every statement.
    engine = create_engine(
        f"sqlite:///{path}",
        connect_args={
            "isolation_level": None,
            "check_same_thread": False,
            "timeout": LOCK_SECONDS,
            "cached_statements": 500,
        },
        poolclass=sa.NullPool,
    )

    @event.listens_for(engine, "connect")
    def _prepare(dbapi_connection: Any, _record: Any) -> None:
        for pragma in (
            "journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "temp_store = MEMORY",
            f"cache_size = -{cache_bytes // 1024}", "mmap_size = 268435456", "journal_size_limit = 67108864",
        ):  # fmt: skip
            dbapi_connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(conn: Connection) -> None:
        conn.exec_driver_sql(begin)

    return engine
