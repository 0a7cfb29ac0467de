"""Names of the Internet that lead to servers on loopback, whatever port is asked for."""

import socket
from collections.abc import Callable

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from federation.matrix.addresses import guarded_connector, tls_context
from tests.support.certificates import Authority


class Elsewhere(AbstractResolver):
    """Knows where names lead: to an address and a port, several of them in turn."""

    def __init__(self, **places: tuple[str, int]) -> None:
        """Begin with these; `places` may be changed at any time."""
        self.places: dict[str, tuple[str, int]] = dict(places)
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return where a name leads."""
        self.asked.append(host)
        if host not in self.places and host != "localhost":
            raise OSError(socket.EAI_NONAME, f"{host} has no address")
        address, port = self.places.get(host, ("127.0.0.1", port))
        return [ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0)]

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""

    def connector(
        self, authority: Authority, may_connect: Callable[[str], bool] = lambda address: address == "127.0.0.1"
    ) -> aiohttp.TCPConnector:
        """Return connections to these places, guarded as those of a server are."""
        return guarded_connector(self, tls_context(str(authority.ca)), may_connect)
