"""What operators see of the servers to which this one sends, and what they can do."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from federation.core.ids import RoomID, ServerName
from homeserver.errors import InvalidParam, MatrixError, NotFound
from homeserver.model.destinations import Destination
from homeserver.services.outgoing import Outgoing
from homeserver.storage import destinations, outbox
from homeserver.storage.database import Database

ORDERS = {
    "destination": "server",
    "retry_last_ts": "tried_at",
    "retry_interval": "retry_at",
    "failure_ts": "failing_since",
    "last_successful_stream_ordering": "cursor",
}
"""What a list can be ordered by, and the columns."""
MOST = 1000


@dataclass(frozen=True, slots=True)
class Destinations:
    """Shows, retries and blocks the servers to which something is sent."""

    db: Database
    outgoing: Outgoing

    async def listed(
        self, containing: str | None, order_by: str, backwards: bool, start: int, limit: int
    ) -> tuple[Sequence[Destination], int]:
        """Return some of the servers, and how many there are. Raises `InvalidParam`."""
        if order_by not in ORDERS:
            raise InvalidParam(f"order_by: expected one of {', '.join(ORDERS)}")
        _check_part(start, limit)

        def read(conn: Connection) -> tuple[Sequence[Destination], int]:
            return destinations.listed(
                conn, containing=containing, order_by=ORDERS[order_by], backwards=backwards, start=start, limit=limit
            )

        return await self.db.read(read)

    async def one(self, server: ServerName) -> tuple[Destination, int]:
        """Return a server, and how many events and EDUs wait for it. Raises `NotFound`."""

        def read(conn: Connection) -> tuple[Destination, int]:
            found = destinations.find(conn, server)
            if found is None:
                raise NotFound("Nothing was ever sent to this server")
            return found, outbox.waiting(conn, server, found.cursor)

        return await self.db.read(read)

    async def rooms(
        self, server: ServerName, backwards: bool, start: int, limit: int
    ) -> tuple[Sequence[tuple[RoomID, int]], int]:
        """Return some of the rooms shared with a server, each with its newest position, and how many there are.

        Raises `InvalidParam`, and `NotFound` for a server to which nothing was ever sent.
        """
        _check_part(start, limit)
        await self.one(server)
        return await self.db.read(
            lambda conn: destinations.rooms_of(conn, server, backwards=backwards, start=start, limit=limit)
        )

    async def retry(self, server: ServerName) -> None:
        """Try a server again now. Raises `NotFound`, and `MatrixError` if it is not failing."""
        found, _ = await self.one(server)
        if not await self.outgoing.retry(server):
            if found.failing_since is None:
                raise MatrixError("This destination is not being waited for")
            # It failed, and nothing waits for it any more.
            await self.db.write(lambda tx: destinations.forget_failure(tx, server))

    async def is_blocked(self, server: ServerName) -> bool:
        """Return whether nothing may be sent to a server."""
        found = await self.db.read(lambda conn: destinations.find(conn, server))
        return self.outgoing.is_blocked(server) or (found is not None and found.blocked)

    async def block(self, server: ServerName, blocked: bool) -> None:
        """Send nothing more to a server, or all that waits. Raises `InvalidParam` where the configuration says no."""
        if not blocked and self.outgoing.is_blocked(server):
            raise InvalidParam("block: the server is blocked in the configuration (federation.blocked_destinations)")
        await self.outgoing.block(server, blocked)


def _check_part(start: int, limit: int) -> None:
    if not 0 <= start < 2**53:
        raise InvalidParam("from: expected a number that is not negative")
    if not 0 <= limit <= MOST:
        raise InvalidParam(f"limit: expected a number up to {MOST}")
