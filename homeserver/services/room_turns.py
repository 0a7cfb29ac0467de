"""One at a time in each room: who talks with other servers about a room waits for those who came before.

What is stored is safe without it, by the transaction; but two who fetch the same missing events, or join the same room,
would do it twice. Nobody holds a turn while waiting for another one. See `docs/concurrency.md`.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from federation.core.ids import RoomID


@dataclass(slots=True)
class _Turn:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class RoomTurns:
    """The turns of all rooms; a room that nobody waits for takes no memory."""

    def __init__(self) -> None:
        """Start with none taken."""
        self._turns: dict[RoomID, _Turn] = {}

    @asynccontextmanager
    async def of(self, room_id: RoomID, seconds: float | None = None) -> AsyncIterator[None]:
        """Hold a room's turn, in the order of asking. Raises TimeoutError if it does not come within `seconds`."""
        turn = self._turns.setdefault(room_id, _Turn())
        turn.users += 1
        try:
            async with asyncio.timeout(seconds):
                await turn.lock.acquire()
            try:
                yield
            finally:
                turn.lock.release()
        finally:
            turn.users -= 1
            if not turn.users:
                del self._turns[room_id]

    def is_taken(self, room_id: RoomID) -> bool:
        """Return whether somebody holds a room's turn."""
        turn = self._turns.get(room_id)
        return turn is not None and turn.lock.locked()
