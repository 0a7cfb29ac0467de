"""Looks names up: the hosts file, then DNS. Every answer is remembered for as long as it holds.

A federated server asks thousands of questions a minute, most of them again and again. It must not need a resolver
beside it that bears that.
"""

import asyncio
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Generic, TypeVar

import dns.asyncresolver
import dns.exception
import dns.name
import dns.rdatatype
import dns.resolver
from dns.rdtypes.IN.SRV import SRV

from federation.core.discovery import Place
from federation.matrix.expiring import Expiring

T = TypeVar("T")

HOSTS = Path("/etc/hosts")
RESOLVERS = Path("/etc/resolv.conf")
SHORTEST, LONGEST = 30.0, 3600.0
"""Bounds, in seconds, of how long an answer is remembered, whatever it says of itself."""
FAILURE_SECONDS = 10.0
"""How long it is remembered that nobody answered."""
PATIENCE_SECONDS = 8.0
MOST_NAMES = 20_000
MOST_ADDRESSES = 16
MOST_SERVICES = 16

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
        resolver: Callable[[Path], dns.asyncresolver.Resolver] | None = None,
    ) -> None:
        """`now` gives seconds of a clock that never goes back; `resolver` reads the file that names resolvers."""
        self._hosts = _Watched(hosts, _read_hosts)
        self._dns = _Watched(RESOLVERS, resolver or _resolver)
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
        answers = await asyncio.gather(self._ask(name, dns.rdatatype.AAAA), self._ask(name, dns.rdatatype.A))
        found = [answer for answer in answers if isinstance(answer, dns.resolver.Answer) and answer.rrset]
        if found:
            addresses = tuple(record.address for answer in found for record in answer.rrset or ())
            return addresses[:MOST_ADDRESSES], min(map(_seconds, found))
        for answer in answers:
            if isinstance(answer, _Failed):
                return f"{name} cannot be looked up: {answer.why}", FAILURE_SECONDS
        return f"{name} has no address", SHORTEST

    async def _find_services(self, name: str) -> tuple[tuple[Place, ...] | None, float]:
        answer = await self._ask(name, dns.rdatatype.SRV)
        if isinstance(answer, _Failed):
            # Some resolvers fail where there is no record, and who has none shall not depend on that.
            return None, FAILURE_SECONDS
        if answer is None or answer.rrset is None:
            return None, SHORTEST
        records = [record for record in answer.rrset.processing_order() if isinstance(record, SRV)]
        places = [
            Place(record.target.to_text(omit_final_dot=True), record.port)
            for record in records
            if record.target != dns.name.root
        ]
        return tuple(places[:MOST_SERVICES]), _seconds(answer)

    async def _ask(self, name: str, kind: dns.rdatatype.RdataType) -> "dns.resolver.Answer | _Failed | None":
        """Return what DNS says, None if the name does not exist."""
        try:
            return await self._dns.content().resolve(
                name,
                kind,
                raise_on_no_answer=False,
                lifetime=PATIENCE_SECONDS,
                # Only a name of one part may be meant within our own domain.
                search="." not in name,
            )
        except dns.resolver.NXDOMAIN:
            return None
        except (dns.exception.DNSException, OSError) as error:  # OSError: there is no network
            return _Failed(str(error) or type(error).__name__)


@dataclass(frozen=True, slots=True)
class _Failed:
    """Nobody answered, or not well."""

    why: str


class _Watched(Generic[T]):
    """What a file says, read again when it has changed."""

    def __init__(self, path: Path, read: Callable[[Path], T]) -> None:
        self._path = path
        self._read = read
        self._seen = self._stamp()
        self._content = read(path)

    def content(self) -> T:
        """Return what the file says now."""
        stamp = self._stamp()
        if stamp != self._seen:
            self._content, self._seen = self._read(self._path), stamp
        return self._content

    def _stamp(self) -> tuple[int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size


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


def _resolver(path: Path) -> dns.asyncresolver.Resolver:
    try:
        return dns.asyncresolver.Resolver(str(path))
    except (dns.resolver.NoResolverConfiguration, OSError):
        return dns.asyncresolver.Resolver(configure=False)


def _is_address(text: str) -> bool:
    try:
        ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True


def _seconds(answer: dns.resolver.Answer) -> float:
    return min(max(SHORTEST, answer.chaining_result.minimum_ttl), LONGEST)
