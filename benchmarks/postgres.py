"""A PostgreSQL cluster for one server, with PostgreSQL's defaults: it is durable, and nobody else's."""

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]

from benchmarks.processes import free_port

START_SECONDS = 30
SETTINGS = (
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "shared_buffers=256MB",
    "log_min_messages=warning",
)


@dataclass(frozen=True)
class Cluster:
    """A running cluster with one empty database."""

    pid: int
    port: int

    @property
    def url(self) -> str:
        """The database, as a configuration names it."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/bench"

    async def value(self, query: str) -> int:
        """Return the number that a query gives."""
        connection = await asyncpg.connect(self.url)
        try:
            return int(await connection.fetchval(query))
        finally:
            await connection.close()


@asynccontextmanager
async def cluster(directory: Path) -> AsyncIterator[Cluster]:
    """Start a cluster with its data in `directory`, which must not exist; stop it at the end."""
    # PostgreSQL refuses to run as root.
    user = "postgres" if os.geteuid() == 0 else None
    await asyncio.to_thread(_make_cluster, directory, user)
    port = free_port()
    process = _start(directory, port, user)
    try:
        await _make_database(port)
        yield Cluster(process.pid, port)
    finally:
        process.send_signal(signal.SIGINT)
        await asyncio.to_thread(process.wait)


def _start(directory: Path, port: int, user: str | None) -> "subprocess.Popen[bytes]":
    options = [part for setting in (f"port={port}", *SETTINGS) for part in ("-c", setting)]
    # Not by asyncio: uvloop starts nothing for another user.
    with directory.with_suffix(".log").open("wb") as log:
        return subprocess.Popen(
            [_program("postgres"), "-D", str(directory), *options], stdout=log, stderr=log, user=user, cwd="/"
        )


def _make_cluster(directory: Path, user: str | None) -> None:
    directory.mkdir(mode=0o700)
    if user is not None:
        shutil.chown(directory, user)
    command = [_program("initdb"), "-D", str(directory), "-E", "UTF8", "--locale=C", "-A", "trust", "-U", "postgres"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, user=user, cwd="/")


async def _make_database(port: int) -> None:
    async with asyncio.timeout(START_SECONDS):
        while True:
            try:
                connection = await asyncpg.connect(f"postgresql://postgres@127.0.0.1:{port}/postgres")
                break
            except (OSError, asyncpg.CannotConnectNowError):
                await asyncio.sleep(0.05)
    await connection.execute("CREATE DATABASE bench TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'")
    await connection.close()


def _program(name: str) -> str:
    found = shutil.which(name) or max(map(str, Path("/usr/lib/postgresql").glob(f"*/bin/{name}")), default="")
    if not found:
        raise SystemExit(f"there is no {name}: install PostgreSQL (on Debian and Ubuntu: apt-get install postgresql)")
    return found
