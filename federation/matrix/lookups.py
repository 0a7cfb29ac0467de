"""Looks names up: the hosts file, then DNS. Every answer is remembered for as long as it holds.

A federated server asks thousands of questions a minute, most of them again and again. It must not need a resolver
beside it that bears that.
"""

import socket
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from federation.core.discovery import Place
from federation.matrix.expiring import Expiring
from federation.matrix.watched import Watched

if TYPE_CHECKING:
    from federation.matrix.nameservers import MakeResolver, Nameservers

HOSTS = Path("/etc/hosts")
MOST_NAMES = 20_000

_LOCAL = ("127.0.0.1", "::1")


class NameNotFound(OSError):
    """A name has no addresses, or nobody says which."""


class Lookups:
    """Finds addresses and services of names."""

    def __init__(
        self,
        now: Callable[[], float],
        *,
        hosts: Path = HOSTS,
        resolver: "MakeResolver | None" = None,
    ) -> None:
        """`now` gives seconds of a clock that never goes back; `resolver` reads the file that names resolvers."""
        self._hosts = Watched(hosts, _read_hosts)
        self._resolver = resolver
        self._nameservers: Nameservers | None = None
        self._addresses = Expiring(self._find_addresses, now, MOST_NAMES)
        self._services = Expiring(self._find_services, now, MOST_NAMES)

    async def addresses(self, host: str) -> tuple[str, ...]:
        """Return the IP addresses of a host, at least one. Raises `NameNotFound`."""
        name = host.lower().rstrip(".")
        if name == "localhost" or name.endswith(".localhost"):  # RFC 6761, section 6.3
            return _LOCAL
        if (listed := self._hosts.content().get(name)) is not None:
            return listed
        found = await self._addresses.get(name)
        if isinstance(found, str):
            raise NameNotFound(socket.EAI_NONAME, found)
        return found

    async def services(self, name: str) -> tuple[Place, ...] | None:
        """Return the places in the SRV records of a name in the order to try them, or None if there are none."""
        return await self._services.get(name.lower())

    async def close(self) -> None:
        """End what is being looked up."""
        await self._addresses.close()
        await self._services.close()

    async def _find_addresses(self, name: str) -> tuple[tuple[str, ...] | str, float]:
        return await self._ask().addresses(name)

    async def _find_services(self, name: str) -> tuple[tuple[Place, ...] | None, float]:
        return await self._ask().services(name)

    def _ask(self) -> "Nameservers":
        if self._nameservers is None:
            from federation.matrix.nameservers import Nameservers

            self._nameservers = Nameservers(self._resolver)
        return self._nameservers


def _read_hosts(path: Path) -> Mapping[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return found
    for line in lines:
        address, *names = line.partition("#")[0].split() or [""]
        if _is_address(address):
            for name in names:
                found[name.lower()] = (*found.get(name.lower(), ()), address)
    return found


def _is_address(text: str) -> bool:
    try:
        ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True
