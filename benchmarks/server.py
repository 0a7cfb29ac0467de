"""Starts a server in a directory of its own, and says what its processes cost."""

import asyncio
import contextlib
import os
import re
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import environments, postgres, synapse
from benchmarks.client import Client, RequestFailed
from benchmarks.processes import cpu_seconds, free_port, own_bytes, resident_bytes, stop

Fill = Callable[[Path, Mapping[str, str]], Awaitable[None]]

START_SECONDS = 60
SETTLE_SECONDS = 3.0
CHEAP = {
    "ISTHMUS_SERVER_NAME": "bench.test",
    "ISTHMUS_REGISTRATION__ENABLED": "true",
    "ISTHMUS_RATE_LIMITS__ENABLED": "false",
    # The benchmark makes thousands of accounts, and hashing is no part of any comparison.
    "ISTHMUS_PASSWORDS__ARGON2_MEMORY_KIB": "1024",
    "ISTHMUS_PASSWORDS__ARGON2_ITERATIONS": "1",
    "ISTHMUS_LOGGING__LEVEL": "warning",
}


@dataclass(frozen=True)
class Server:
    """A running server."""

    name: str
    pid: int
    client: Client
    database: Path | postgres.Cluster
    metrics: Client | None
    started_in: float
    """Seconds until it answered, with its database made before."""

    def cpu(self) -> float:
        """Return the CPU seconds so far of the server and, if it has one of its own, of its database."""
        database = [self.database.pid] if isinstance(self.database, postgres.Cluster) else []
        return cpu_seconds([self.pid, *database])

    def resident_bytes(self) -> int:
        """Return the memory that the server holds; a database beside it is not counted."""
        return resident_bytes(self.pid)

    def own_bytes(self) -> int:
        """Return the memory that is the server's alone, without what it maps of its database's file."""
        return own_bytes(self.pid)

    async def stored_bytes(self) -> int:
        """Return the size of the database, with nothing left in its log."""
        if isinstance(self.database, postgres.Cluster):
            return await self.database.value("SELECT pg_database_size('bench')")
        with contextlib.closing(sqlite3.connect(self.database, timeout=30)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return self.database.stat().st_size

    async def stored_events(self) -> int:
        """Return how many events the database has."""
        query = "SELECT count(*) FROM events"
        if isinstance(self.database, postgres.Cluster):
            return await self.database.value(query)
        with contextlib.closing(sqlite3.connect(self.database, timeout=30)) as connection:
            return int(connection.execute(query).fetchone()[0])

    async def lag(self) -> dict[float, float]:
        """Return how often the event loop was at most so many seconds late, as Isthmus counts it for Prometheus."""
        assert self.metrics is not None
        _, page, _ = await self.metrics.send("GET", "/metrics")
        buckets = re.findall(rb'isthmus_event_loop_lag_seconds_bucket\{le="([^"]+)"\} (\S+)', page)
        return {float(edge): float(count) for edge, count in buckets}

    async def rests(self, at_most: float = 30.0) -> None:
        """Return when the server has had nothing to do for half a second."""
        await rests(self.cpu, at_most)


async def rests(spent: Callable[[], float], at_most: float = 30.0) -> None:
    """Return when no CPU seconds were spent for half a second, or after `at_most` seconds."""
    until, cpu = time.perf_counter() + at_most, spent()
    while time.perf_counter() < until:
        await asyncio.sleep(0.5)
        before, cpu = cpu, spent()
        if cpu - before < 0.03:
            return


@asynccontextmanager
async def running(
    name: str, database: str = "sqlite", *, fill: Fill | None = None, options: Mapping[str, str] | None = None
) -> AsyncIterator[Server]:
    """Start `isthmus` or `synapse` on `sqlite` or `postgresql`, twice, for the first start makes the database.

    Between them `fill`, given the configuration's file and the environment, may put something into it.
    """
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"{name}-bench-")))
        os.chmod(directory, 0o755)  # PostgreSQL has a user of its own, who must come through
        store: Path | postgres.Cluster = directory / "bench.db"
        url = f"sqlite:///{store}"
        if database == "postgresql":
            store = await stack.enter_async_context(postgres.cluster(directory / "postgres"))
            url = store.url
        port, metrics = free_port(), free_port()
        if name == "synapse":
            command, settings = synapse.prepare(directory, port, url), dict[str, str]()
        else:
            command = [environments.of_isthmus(), "-m", "homeserver", "run"]
            settings = CHEAP | {
                "ISTHMUS_HTTP__LISTEN": f"127.0.0.1:{port}",
                "ISTHMUS_METRICS__LISTEN": f"127.0.0.1:{metrics}",
                "ISTHMUS_XMPP__LISTEN": f"127.0.0.1:{free_port()}",
                "ISTHMUS_DATABASE__URL": url,
                "ISTHMUS_MEDIA__PATH": str(directory / "media"),
            }
            settings |= options or {}
        client = Client("127.0.0.1", port)
        async with process(command, directory, settings, client):
            await asyncio.sleep(1.0)
        if fill is not None:
            await fill(directory / "data/homeserver.toml", settings)
        async with process(command, directory, settings, client) as (pid, started_in):
            watched = Client("127.0.0.1", metrics) if name == "isthmus" else None
            await asyncio.sleep(SETTLE_SECONDS)
            yield Server(name, pid, client, store, watched, started_in)


@asynccontextmanager
async def process(
    command: list[str], directory: Path, settings: Mapping[str, str], client: Client
) -> AsyncIterator[tuple[int, float]]:
    """Run a server; give its process and the seconds until it answered."""
    started = time.perf_counter()
    with (directory / "log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=directory, env={**_environment(), **settings}, stdin=asyncio.subprocess.DEVNULL,
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        while not await _answers(client):
            if process.returncode is not None or time.perf_counter() > started + START_SECONDS:
                raise SystemExit(f"the server does not start:\n{(directory / 'log').read_text()[-3000:]}")
            await asyncio.sleep(0.005)
        yield process.pid, time.perf_counter() - started
    finally:
        client.close()
        await stop(process)


def _environment() -> dict[str, str]:
    # Where code that was compiled is not kept, a server compiles all of its own with every start, as nobody's does.
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


async def _answers(client: Client) -> bool:
    try:
        await client.ask("GET", "/_matrix/client/versions")
    except (OSError, RequestFailed):
        return False
    return True
