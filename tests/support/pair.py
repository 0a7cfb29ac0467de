"""Servers of ours beside each other: TLS on loopback, an authority of their own, names like `localhost:PORT`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.certificates import Authority
from tests.support.gate import Gate
from tests.support.ports import free_port
from tests.support.process import ServerProcess
from tests.support.world import Site, World, fresh_postgres_database


def settings(authority: Authority, port: int) -> dict[str, str]:
    """Return the options of a server called `localhost:PORT` that listens there with TLS."""
    shown = authority.certificate()
    return {
        **reaching(authority),
        "SERVER_NAME": f"localhost:{port}",
        "FEDERATION__LISTEN": f"127.0.0.1:{port}",
        "FEDERATION__TLS_CERTIFICATE": str(shown.certificate),
        "FEDERATION__TLS_KEY": str(shown.key),
    }


def reaching(authority: Authority) -> dict[str, str]:
    """Return the options by which a server reaches others on loopback."""
    return {"OUTGOING__EXTRA_CA": str(authority.ca), "OUTGOING__ALLOW_PRIVATE_ADDRESSES": "true"}


@asynccontextmanager
async def federating(
    authority: Authority, directory: Path, database_url: str = "", *, port: int = 0, **options: str
) -> AsyncIterator[World]:
    """Start a server in this process that federates; without a database URL it gets a SQLite file."""
    given: dict[str, Any] = {**settings(authority, port or free_port()), **options}
    own = file_in(directory)
    async with World.start(database_url or own, directory, **given) as world:
        yield world


@asynccontextmanager
async def gated(
    authority: Authority, directory: Path, database_url: str = "", **options: str
) -> AsyncIterator[tuple[World, Gate]]:
    """Start a server in this process behind a gate that can be shut."""
    own = file_in(directory)
    async with Gate.open(authority) as gate:
        given: dict[str, Any] = {**reaching(authority), "SERVER_NAME": gate.name, **options}
        async with World.start(database_url or own, directory, **given) as world:
            gate.behind = world.base
            yield world, gate


@asynccontextmanager
async def in_process_of_its_own(
    authority: Authority, directory: Path, database_url: str = "", **options: str
) -> AsyncIterator[tuple[ServerProcess, Site]]:
    """Start a server that can be killed; the site is for its users, and stays the same when it starts again."""
    own = file_in(directory)
    given = {**settings(authority, free_port()), "RATE_LIMITS__ENABLED": "false", **options}
    name = given.pop("SERVER_NAME")
    async with (
        ServerProcess.start(directory, database_url or own, server_name=name, **given) as process,
        aiohttp.ClientSession() as http,
    ):
        yield process, Site(process.base, http, name)


@asynccontextmanager
async def database(kind: str, postgres: str, directory: Path) -> AsyncIterator[str]:
    """Yield the URL of an empty database; `kind` is `sqlite` or `postgresql`."""
    if kind == "sqlite":
        yield file_in(directory)
        return
    async with fresh_postgres_database(postgres) as url:
        yield url


def file_in(directory: Path) -> str:
    """Return the URL of a SQLite file in a directory, which is made if it is not there."""
    directory.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{directory}/isthmus.db"
