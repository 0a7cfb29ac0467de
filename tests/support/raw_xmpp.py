"""An XMPP client that sends exactly what it is told to, over a real connection, and shows what comes back."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from federation.core.xmpp import sasl
from tests.support.world import PASSWORD, World

SECONDS = 30.0
HEADER = (
    "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' "
    "to='hs1' version='1.0'>"
)
STARTTLS = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"


def trusting(*protocols: str) -> ssl.SSLContext:
    """Return a TLS context that trusts everybody, and asks for these protocols."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


@dataclass
class RawClient:
    """A connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    heard: str = ""
    everything: list[str] = field(default_factory=list)

    async def says(self, text: str | bytes) -> None:
        """Send something."""
        self.writer.write(text if isinstance(text, bytes) else text.encode())
        await self.writer.drain()

    async def hears(self, pattern: str) -> str:
        """Return what the server sends up to something that fits a pattern, waiting for it."""
        async with asyncio.timeout(SECONDS):
            while not (found := re.search(pattern, self.heard, re.DOTALL)):
                data = await self.reader.read(65536)
                assert data, f"the server has closed the connection; it said {self.heard!r}"
                self.heard += data.decode()
        said, self.heard = self.heard[: found.end()], self.heard[found.end() :]
        self.everything.append(said)
        return said

    async def hears_the_end(self) -> str:
        """Return what the server sends until it closes the connection."""
        async with asyncio.timeout(SECONDS):
            while data := await self.reader.read(65536):
                self.heard += data.decode()
        return self.heard

    async def secures(self) -> None:
        """Open the stream and negotiate TLS."""
        await self.says(HEADER)
        await self.hears("</stream:features>")
        await self.says(STARTTLS)
        await self.hears("<proceed[^>]*/>")
        await self.writer.start_tls(trusting())

    async def opens(self) -> str:
        """Open a stream; return what is offered."""
        await self.says(HEADER)
        return await self.hears("</stream:features>")

    async def logs_in(self, name: str, password: str = PASSWORD) -> str:
        """Log in by PLAIN; return what is offered then."""
        secret = sasl.encode(f"\0{name}\0{password}".encode())
        await self.says(f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{secret}</auth>")
        await self.hears("<success[^>]*/>")
        return await self.opens()

    async def binds(self, resource: str) -> str:
        """Bind a resource; return the full JID."""
        wanted = f"<resource>{resource}</resource>" if resource else ""
        await self.says(f"<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>{wanted}</bind></iq>")
        said = await self.hears("</iq>")
        found = re.search("<jid>(.*)</jid>", said)
        assert found is not None, said
        return found[1]

    async def asks(self, payload: str, *, kind: str = "get", to: str = "hs1") -> str:
        """Send an iq; return the answer."""
        await self.says(f"<iq type='{kind}' id='asked' to='{to}'>{payload}</iq>")
        return await self.hears("<iq [^>]*id='asked'[^>]*(/>|.*?</iq>)")

    def breaks(self) -> None:
        """Cut the connection without a word, as a network does."""
        self.writer.transport.abort()


@asynccontextmanager
async def connected(world: World, *, direct: bool = False) -> AsyncIterator[RawClient]:
    """Connect, and speak no word."""
    assert world.app.xmpp is not None
    async with connected_to(world.app.xmpp.listening[-1 if direct else 0], direct=direct) as client:
        yield client


@asynccontextmanager
async def connected_to(place: str, *, direct: bool = False) -> AsyncIterator[RawClient]:
    """Connect to `host:port`, and speak no word."""
    host, _, port = place.rpartition(":")
    tls = trusting("xmpp-client") if direct else None
    reader, writer = await asyncio.open_connection(host, int(port), ssl=tls)
    try:
        yield RawClient(reader, writer)
    finally:
        writer.transport.abort()


@asynccontextmanager
async def bound(world: World, name: str, resource: str = "raw") -> AsyncIterator[RawClient]:
    """Connect, log somebody in by PLAIN and bind a resource."""
    async with connected(world) as client:
        await client.secures()
        await client.opens()
        await client.logs_in(name)
        await client.binds(resource)
        yield client
