"""What commands beside a running server do with the queues to other servers: through the database, where it looks."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from sqlalchemy import Connection

from federation.core.ids import ServerName
from homeserver.config import Config
from homeserver.model.destinations import Destination
from homeserver.storage import destinations, outbox
from homeserver.storage.database import Database, Write, open_database
from homeserver.storage.migrations import runner

T = TypeVar("T")

MOST_LISTED = 1000


def listing(config: Config, only_failing: bool) -> Sequence[tuple[Destination, int]]:
    """Return servers and how much waits for each: of those that fail, or of all; those that fail longest first.

    This and the others raise `UnusableDatabase`.
    """

    def read(conn: Connection) -> Sequence[tuple[Destination, int]]:
        found, _ = destinations.listed(
            conn, containing=None, order_by="failing_since", backwards=False, start=0, limit=MOST_LISTED
        )
        shown = [one for one in found if one.failing_since is not None or one.blocked or not only_failing]
        return [(one, outbox.waiting(conn, one.server, one.cursor)) for one in shown]

    return _with(config, lambda db: db.read(read))


def retry(config: Config, server: ServerName) -> bool:
    """Let the server try another one again; return False if nothing was ever sent there."""
    return _with(config, lambda db: db.write(lambda tx: destinations.ask_to_retry(tx, server)))


def block(config: Config, server: ServerName, blocked: bool) -> None:
    """Let the server send nothing more to another one, or all that waits."""

    def write(tx: Write) -> None:
        destinations.set_blocked(tx, server, blocked)

    _with(config, lambda db: db.write(write))


def _with(config: Config, do: Callable[[Database], Awaitable[T]]) -> T:
    return asyncio.run(_opened(config, do))


async def _opened(config: Config, do: Callable[[Database], Awaitable[T]]) -> T:
    db = open_database(config.database.url)
    try:
        await runner.prepare(db)
        return await do(db)
    finally:
        await db.close()
