"""A clock that can be moved on."""

import asyncio

from homeserver.clock import SystemClock


class MovableClock(SystemClock):
    """The clock of the machine, and as much later as a test says. It waits in real time."""

    def __init__(self) -> None:
        """Start at the present."""
        self._ahead = 0.0

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._ahead += seconds

    def now_ms(self) -> int:
        """Return milliseconds since 1970."""
        return super().now_ms() + int(self._ahead * 1000)

    def monotonic(self) -> float:
        """Return seconds of a clock that never goes back."""
        return super().monotonic() + self._ahead

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)
