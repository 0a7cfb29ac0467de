"""Which addresses may be connected to, and connections that go nowhere else.

The check is made on the address that is connected to, when the connection is made. So a name that means a public
address when it is looked at, and a private one when it is used, gains nothing; nor does a redirect.
"""

import errno
import socket
import ssl
from collections.abc import Callable
from functools import cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import AddrInfoType

from federation.matrix.lookups import Lookups

MOST_CONNECTIONS = 500
MOST_CONNECTIONS_TO_ONE = 16
KEEP_SECONDS = 60.0
"""How long a connection that nobody uses is kept."""

_TRANSLATED = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))  # to IPv4, by the network around us


def is_public(address: str) -> bool:
    """Return whether an IP address is one of the public Internet. Raises ValueError if it is not an address."""
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address):
        if any(ip in network for network in _TRANSLATED):
            return ip in _TRANSLATED[0] and is_public(str(IPv4Address(ip.packed[-4:])))
        # Each of these is an IPv4 address in disguise.
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo and ip.teredo[1])
        if inner is not None:
            return is_public(str(inner))
        if ip.is_site_local:
            return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


@cache
def tls_context(extra_ca: str = "") -> ssl.SSLContext:
    """Return how certificates are checked: by the system's authorities, and those of a PEM file if one is given.

    The same one each time: to read the authorities takes long.

    Raises OSError if the file cannot be used.
    """
    context = ssl.create_default_context()
    if extra_ca:
        context.load_verify_locations(extra_ca)
    context.set_alpn_protocols(["http/1.1"])
    return context


def guarded_connector(
    resolver: AbstractResolver, tls: ssl.SSLContext, may_connect: Callable[[str], bool]
) -> aiohttp.TCPConnector:
    """Return a pool of connections for what others name: servers, push gateways, links.

    `may_connect` is asked for each IP address just before it is connected to.
    """

    def guarded(info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, (host, *_) = info
        if not may_connect(str(host)):
            raise OSError(errno.EACCES, f"{host} is not an address to connect to")
        return socket.socket(family, kind, protocol)

    return aiohttp.TCPConnector(
        ssl=tls,
        resolver=resolver,
        use_dns_cache=False,
        socket_factory=guarded,
        limit=MOST_CONNECTIONS,
        limit_per_host=MOST_CONNECTIONS_TO_ONE,
        keepalive_timeout=KEEP_SECONDS,
    )


def is_any(address: str) -> bool:
    """Return true: for networks that are closed."""
    return bool(address)


class ByLookups(AbstractResolver):
    """Our lookups as aiohttp wants them."""

    def __init__(self, lookups: Lookups) -> None:
        """Ask these."""
        self._lookups = lookups

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002
    ) -> list[ResolveResult]:
        """Return the addresses of a host. Raises `NameNotFound`."""
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=0,
            )
            for address in await self._lookups.addresses(host)
        ]

    async def close(self) -> None:
        """Leave the lookups to whoever made them."""
