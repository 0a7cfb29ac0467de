"""Fetches `/.well-known/matrix/server` of other servers, and remembers what it says.

https://spec.matrix.org/v1.19/server-server-api/#getwell-knownmatrixserver

Bounded in bytes, time and redirects. A file holds for as long as its headers say, within bounds. Without a file, the
next attempt waits longer each time, up to an hour. What a file said last is used for up to two days while its host
fails, so that a short fault there does not send requests elsewhere.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

import aiohttp
from yarl import URL

from federation.core.discovery import delegate_in, lifetime
from federation.core.ids import ServerName
from federation.matrix.answers import read_bounded
from federation.matrix.errors import BadAnswer
from federation.matrix.expiring import Expiring

MOST_BYTES = 50 * 1024
MOST_REDIRECTS = 5
PATIENCE_SECONDS = 15.0
CONNECT_SECONDS = 8.0
SHORTEST, LONGEST = 300.0, 48 * 3600.0
"""Bounds, in seconds, of how long a file holds, whatever its headers say."""
FIRST_PAUSE, LONGEST_PAUSE = 60.0, 3600.0
"""Seconds from a failure to the next attempt, doubled each time."""
MOST_HOSTS = 20_000
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class _Known:
    delegate: ServerName | None
    good_until: float
    """Until when the delegate may be used while its host fails."""
    failures: int


class WellKnownFiles:
    """What other servers' well-known files say."""

    def __init__(self, connector: aiohttp.BaseConnector, now: Callable[[], float]) -> None:
        """Use `connector`, which is left open, for connections; `now` gives seconds of a clock that never goes back."""
        self._now = now
        self._known: Expiring[str, _Known] = Expiring(self._fetch, now, MOST_HOSTS)
        self._session = aiohttp.ClientSession(
            connector=connector,
            connector_owner=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "Isthmus", "Accept-Encoding": "gzip, deflate"},
            timeout=aiohttp.ClientTimeout(total=PATIENCE_SECONDS, sock_connect=CONNECT_SECONDS),
        )

    async def delegate(self, host: str) -> ServerName | None:
        """Return the server name that a host delegates to, or None if it has no valid file."""
        return (await self._known.get(host.lower())).delegate

    async def close(self) -> None:
        """End what is being fetched."""
        await self._known.close()
        await self._session.close()

    async def _fetch(self, host: str) -> tuple[_Known, float]:
        before, now = self._known.last(host), self._now()
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                delegate, seconds = await self._read(URL(f"https://{host}/.well-known/matrix/server"))
        except (aiohttp.ClientError, OSError, ValueError):
            delegate, seconds = None, 0.0
            if before is not None and before.delegate is not None and now < before.good_until:
                pause = min(_pause(before.failures), before.good_until - now)
                return replace(before, failures=before.failures + 1), pause
        if delegate is not None:
            return _Known(delegate, now + LONGEST, 0), min(max(SHORTEST, seconds), LONGEST)
        failures = before.failures if before else 0
        return _Known(None, now, failures + 1), _pause(failures)

    async def _read(self, url: URL) -> tuple[ServerName | None, float]:
        """Return the delegate in a file, or None if it is not valid, and for how many seconds it holds.

        Raises what aiohttp raises, `OSError` or `ValueError` if that cannot be told now.
        """
        for _ in range(MOST_REDIRECTS + 1):
            async with self._session.get(url, allow_redirects=False) as response:
                there = response.headers.get("Location")
                if response.status in _REDIRECTS and there is not None:
                    url = response.url.join(URL(there))
                    if url.scheme != "https":
                        return None, 0.0
                    continue
                if response.status >= 500 or response.status == 429:
                    response.raise_for_status()
                if response.status != 200:
                    return None, 0.0
                headers = {name.lower(): value for name, value in response.headers.items()}
                try:
                    return delegate_in(await read_bounded(response, MOST_BYTES)), float(lifetime(headers))
                except BadAnswer:
                    return None, 0.0
        return None, 0.0


def _pause(failures: int) -> float:
    return float(min(FIRST_PAUSE * 2 ** min(failures, 10), LONGEST_PAUSE))
