"""Asks DNS.

Loaded with the first question: a server that asks none does without the three megabytes of the library.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import dns.asyncresolver
import dns.exception
import dns.name
import dns.rdatatype
import dns.resolver
from dns.rdtypes.IN.SRV import SRV

from federation.core.discovery import Place
from federation.matrix.watched import Watched

RESOLVERS = Path("/etc/resolv.conf")
SHORTEST, LONGEST = 30.0, 3600.0
"""Bounds, in seconds, of how long an answer holds, whatever it says of itself."""
FAILURE_SECONDS = 10.0
"""How long it holds that nobody answered."""
PATIENCE_SECONDS = 8.0
MOST_ADDRESSES = 16
MOST_SERVICES = 16

MakeResolver = Callable[[Path], dns.asyncresolver.Resolver]
"""Reads the file that names resolvers."""


class Nameservers:
    """Asks the resolvers that the system is configured with."""

    def __init__(self, resolver: MakeResolver | None = None) -> None:
        """Take what reads the file that names resolvers, if it is not to be read as usual."""
        self._resolver = Watched(RESOLVERS, resolver or _resolver)

    async def addresses(self, name: str) -> tuple[tuple[str, ...] | str, float]:
        """Return the addresses of a name, or why there are none; and for how many seconds that holds."""
        answers = await asyncio.gather(self._ask(name, dns.rdatatype.AAAA), self._ask(name, dns.rdatatype.A))
        found = [answer for answer in answers if isinstance(answer, dns.resolver.Answer) and answer.rrset]
        if found:
            addresses = tuple(record.address for answer in found for record in answer.rrset or ())
            return addresses[:MOST_ADDRESSES], min(map(_seconds, found))
        for answer in answers:
            if isinstance(answer, _Failed):
                return f"{name} cannot be looked up: {answer.why}", FAILURE_SECONDS
        return f"{name} has no address", SHORTEST

    async def services(self, name: str) -> tuple[tuple[Place, ...] | None, float]:
        """Return the places in the SRV records of a name, None if there are none; and for how long that holds."""
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
            return await self._resolver.content().resolve(
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


def _resolver(path: Path) -> dns.asyncresolver.Resolver:
    try:
        return dns.asyncresolver.Resolver(str(path))
    except (dns.resolver.NoResolverConfiguration, OSError):
        return dns.asyncresolver.Resolver(configure=False)


def _seconds(answer: dns.resolver.Answer) -> float:
    return min(max(SHORTEST, answer.chaining_result.minimum_ttl), LONGEST)
