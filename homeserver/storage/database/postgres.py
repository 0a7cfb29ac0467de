"""PostgreSQL: one task that writes on a connection of its own, and a pool of connections that read.

Whatever uses a connection runs in one greenlet from its checkout to its return, so functions are called plainly and
wait for the database all the same. `sqlalchemy.ext.asyncio` does so for each step, and brings five megabytes of ORM.
"""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.util import greenlet_spawn

from homeserver.storage.database.writes import (
    LARGEST_GROUP,
    READERS,
    SELECT_POSITION,
    STORE_POSITION,
    Database,
    Fresh,
    Job,
    Numbers,
    Observer,
    RunGroup,
    Write,
    next_moment,
    run_apart,
    run_together,
)

T = TypeVar("T")
log = structlog.get_logger()

CONNECT_SECONDS = 10.0
PATIENCE_SECONDS = 10.0
"""How long callers wait to hear what became of a commit whose connection was lost."""
ASK_AGAIN_SECONDS = 0.2

# Durable when acknowledged, whatever the server's default is; and no plan of ours is worth compiling.
SETTINGS = {"application_name": "isthmus", "synchronous_commit": "on", "jit": "off"}


class PostgresDatabase(Database):
    """A server. A write shares the one connection that writes, a read takes one of a pool."""

    dialect = "postgresql"

    def __init__(self, url: str, observe: Observer | None = None) -> None:
        """Connect lazily to `url` (`postgresql://user:password@host/database`)."""
        url = url.replace("postgresql://", "postgresql+asyncpg://", 1)
        arguments = {"server_settings": SETTINGS, "timeout": CONNECT_SECONDS}
        self._engine = sa.create_engine(url, pool_size=1, max_overflow=0, connect_args=arguments)
        self._read_engine = sa.create_engine(
            url,
            pool_size=READERS,
            max_overflow=0,
            connect_args=arguments,
            execution_options={"isolation_level": "REPEATABLE READ", "postgresql_readonly": True},
        )
        self._places = asyncio.Semaphore(READERS)
        self._reads: set[asyncio.Task[Any]] = set()
        self._jobs: asyncio.Queue[Job[Any] | None] = asyncio.Queue()
        self._observe = observe
        self._closed = False
        self._writer: asyncio.Task[None] | None = None

    async def prepare(self, fn: Callable[[Connection], None]) -> None:
        def run() -> None:
            with self._engine.begin() as conn:
                fn(conn)

        await greenlet_spawn(run)

    async def read(self, fn: Callable[[Connection], T]) -> T:
        async with self._places:
            if self._closed:
                raise RuntimeError("the database is closed")
            # To end a read before it is done would cost its connection, so it is left to itself.
            task = asyncio.create_task(self._read_again_if_lost(fn))
            self._reads.add(task)
            task.add_done_callback(self._reads.discard)
            return await asyncio.shield(task)

    async def _read_again_if_lost(self, fn: Callable[[Connection], T]) -> T:
        try:
            return await greenlet_spawn(self._read, fn)
        except Exception as error:
            if not _is_lost(error):
                raise
        # All connections of the pool are gone when the server was restarted. A read can be done again.
        return await greenlet_spawn(self._read, fn)

    def _read(self, fn: Callable[[Connection], T]) -> T:
        with self._read_engine.connect() as conn:
            conn.info["moment"] = next_moment()
            return fn(conn)

    async def write(self, fn: Callable[[Write], T]) -> T:
        if self._closed:
            raise RuntimeError("the database is closed")
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_groups(), name="writer")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.put_nowait(Job(fn, future))
        return await asyncio.shield(future)

    async def _write_groups(self) -> None:
        loop = asyncio.get_running_loop()
        last = False
        while not last and (first := await self._jobs.get()) is not None:
            group = [first]
            while len(group) < LARGEST_GROUP and not self._jobs.empty():
                job = self._jobs.get_nowait()
                if job is None:
                    last = True
                    break
                group.append(job)
            started = loop.time()
            try:
                await self._write_group(group)
            except Exception as error:
                log.exception("commit_failed")
                for job in group:
                    job.fail(error)
            for job in group:
                job.finish()
            if self._observe is not None:
                self._observe(len(group), loop.time() - started)

    async def _write_group(self, group: list[Job[Any]]) -> None:
        """Commit `group`, each job with its result or its error. Raises if nothing of it was committed."""
        try:
            committed = await self._commit(group, run_together)
        except Exception as error:
            if not _is_lost(error):
                raise
            # Nothing of it was committed, so it can be done again: the server was restarted, or ended the connection.
            committed = await self._commit(group, run_apart)
        if not committed and len(group) > 1:
            await self._commit(group, run_apart)

    async def _commit(self, group: list[Job[Any]], run: RunGroup) -> bool:
        """Run the writes and commit them; return False if one failed and all were rolled back."""
        transaction, lost = await greenlet_spawn(self._try_to_commit, group, run)
        if lost is not None:
            assert transaction is not None
            await self._settle(group, transaction, lost)
        return transaction is not None

    def _try_to_commit(self, group: list[Job[Any]], run: RunGroup) -> tuple[str | None, Exception | None]:
        """Return the transaction's ID, None if it was rolled back; and the error if nobody knows what became of it."""
        with self._engine.connect() as conn:
            transaction = _run(conn, group, run)
            if transaction is None:
                return None, None
            try:
                conn.commit()
            except Exception as error:
                if not _is_lost(error):
                    raise
                return transaction, error
            return transaction, None

    async def _settle(self, group: list[Job[Any]], transaction: str, lost: Exception) -> None:
        """Find out whether a transaction was committed whose connection was lost at that moment. Raises `lost` if not.

        Nothing else is written before that is known. Callers get the error after a while; should it have been
        committed, the rest of the server is told all the same.
        """
        log.warning("commit_unknown", error=str(lost))
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE_SECONDS
        while True:
            status = await self._status(transaction)
            if status == "committed":
                return
            if status == "aborted" or self._closed:
                raise lost
            if loop.time() > deadline:
                for job in group:
                    if not job.future.done():
                        job.future.set_exception(lost)
            await asyncio.sleep(ASK_AGAIN_SECONDS)

    async def _status(self, transaction: str) -> str | None:
        def ask() -> str:
            with self._engine.connect() as conn:
                found: str | None = conn.execute(_STATUS, {"xid": transaction}).scalar_one()
                return found or "aborted"

        try:
            return await greenlet_spawn(ask)
        except (DBAPIError, OSError, TimeoutError):
            return None

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._writer is not None:
            self._jobs.put_nowait(None)
            await self._writer
        await asyncio.gather(*self._reads, return_exceptions=True)
        await greenlet_spawn(self._engine.dispose)
        await greenlet_spawn(self._read_engine.dispose)


def _run(conn: Connection, group: list[Job[Any]], run: RunGroup) -> str | None:
    """Run the writes of a group; return the transaction's ID, or None if one failed and all are to be rolled back."""
    conn.info["moment"] = next_moment()
    conn.info["fresh"] = memory = Fresh()
    before, transaction = conn.execute(_LOCK_POSITION).one()
    numbers = Numbers(before)
    if not run(conn, group, numbers, memory):
        for job in group:
            if job.error is not None and _is_lost(job.error):
                raise job.error
        return None
    if numbers.value != before:
        conn.execute(STORE_POSITION, {"new_value": numbers.value})
    return str(transaction)


def _is_lost(error: BaseException) -> bool:
    """Return whether an error means that the connection is gone."""
    if isinstance(error, ConnectionError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    # 08: connection exception. 57P: the server ends, or ends the connection.
    state = str(getattr(error.orig, "sqlstate", None) or "")
    return error.connection_invalidated or state.startswith(("08", "57P"))


_LOCK_POSITION = SELECT_POSITION.add_columns(
    sa.cast(sa.func.pg_current_xact_id(), sa.Text).label("transaction")
).with_for_update()
_STATUS = sa.text("SELECT pg_xact_status(CAST(CAST(:xid AS text) AS xid8))")
