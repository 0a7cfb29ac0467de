"""Starts a server in a directory of its own, and says what its process costs."""

import asyncio
import contextlib
import os
import signal
import socket
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.client import Client

START_SECONDS = 30
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
CHEAP = {
    "ISTHMUS_SERVER_NAME": "bench.test",
    "ISTHMUS_REGISTRATION__ENABLED": "true",
    "ISTHMUS_RATE_LIMITS__ENABLED": "false",
    "ISTHMUS_PASSWORDS__ARGON2_MEMORY_KIB": "1024",
    "ISTHMUS_PASSWORDS__ARGON2_ITERATIONS": "1",
}


@dataclass(frozen=True)
class Server:
    """A running server."""

    pid: int
    client: Client
    database: Path | None
    started_in: float
    """Seconds until it answered."""

    def cpu(self) -> float:
        """Return the CPU seconds of all threads of the process so far."""
        # The clock of a process, as clock_getcpuclockid(3) makes it; /proc/PID/stat counts in steps of 10 ms only.
        return time.clock_gettime((~self.pid << 3) | 2)

    def resident_bytes(self) -> int:
        """Return the memory that the process holds."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * PAGE_BYTES

    def stored_bytes(self) -> int:
        """Return the size of the database, with nothing left in its log; 0 if it is not SQLite."""
        if self.database is None:
            return 0
        with contextlib.closing(sqlite3.connect(self.database, timeout=30)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return self.database.stat().st_size


@asynccontextmanager
async def running(database_url: str = "") -> AsyncIterator[Server]:
    """Start a server, on SQLite unless told otherwise; stop it at the end."""
    with tempfile.TemporaryDirectory(prefix="isthmus-bench-") as name:
        directory, port = Path(name), _free_port()
        database = None if database_url else directory / "bench.db"
        environ = {
            **os.environ,
            **CHEAP,
            "ISTHMUS_HTTP__LISTEN": f"127.0.0.1:{port}",
            "ISTHMUS_DATABASE__URL": database_url or f"sqlite:///{database}",
            "ISTHMUS_MEDIA__PATH": str(directory / "media"),
        }
        started = time.perf_counter()
        with (directory / "log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "homeserver", "run", cwd=directory, env=environ, stdout=log, stderr=log
            )
        try:
            client = Client("127.0.0.1", port)
            while not await _answers(client):
                if process.returncode is not None or time.perf_counter() > started + START_SECONDS:
                    raise RuntimeError((directory / "log").read_text()[-3000:])
                await asyncio.sleep(0.005)
            yield Server(process.pid, client, database, time.perf_counter() - started)
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            await process.wait()


async def _answers(client: Client) -> bool:
    try:
        await client.ask("GET", "/_matrix/client/versions")
    except OSError:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
