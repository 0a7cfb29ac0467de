"""Time and randomness, the only places they come from. Tests put others in their stead."""

import asyncio
import secrets
import string
import time
from typing import Protocol

_LETTERS = string.ascii_letters


class Clock(Protocol):
    """Tells the time and waits."""

    def now_ms(self) -> int:
        """Return milliseconds since 1970."""
        ...

    def monotonic(self) -> float:
        """Return seconds of a clock that never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class Ids(Protocol):
    """Makes identifiers and secrets that nobody can guess."""

    def letters(self, count: int) -> str:
        """Return `count` random ASCII letters."""
        ...

    def token(self, size: int = 32) -> str:
        """Return a URL-safe secret of `size` random bytes."""
        ...


class SystemClock:
    """The clock of the machine."""

    def now_ms(self) -> int:
        """Return milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Return seconds of a clock that never goes back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


class SystemIds:
    """Randomness of the operating system."""

    def letters(self, count: int) -> str:
        """Return `count` random ASCII letters."""
        found = ""
        while len(found) < count:
            # Bytes past the last multiple of 52 would favour the first letters.
            found += "".join([_LETTERS[byte % 52] for byte in secrets.token_bytes(2 * count) if byte < 208])
        return found[:count]

    def token(self, size: int = 32) -> str:
        """Return a URL-safe secret of `size` random bytes."""
        return secrets.token_urlsafe(size)  # noqa: TID251 - the one place
