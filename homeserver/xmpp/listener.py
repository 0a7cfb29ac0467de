"""XMPP over TCP: with STARTTLS, or with TLS from the first byte (XEP-0368).

https://www.rfc-editor.org/rfc/rfc6120#section-3, https://xmpp.org/extensions/xep-0368.html
"""

import asyncio
from collections.abc import Sequence
from typing import cast

from federation.core.xmpp.framing import TcpFraming
from federation.core.xmpp.xml import BEFORE_LOGIN
from homeserver.xmpp.certificate import Certificate
from homeserver.xmpp.connection import Connection, Welcome

HANDSHAKE_SECONDS = 15.0
CLOSING_SECONDS = 5.0
"""How long a client may take to answer the end of TLS."""


class TcpWire(asyncio.Protocol):
    """A client's TCP connection."""

    def __init__(self, welcome: Welcome, certificate: Certificate, *, direct: bool) -> None:
        """Take what it needs for its connection; `direct` if TLS is there before the first byte."""
        self.address = ""
        self._welcome = welcome
        self._certificate = certificate
        self._direct = direct
        self._transport: asyncio.Transport | None = None
        self._connection: Connection | None = None
        self._securing = False
        self._early: list[bytes] = []
        """What came over TLS before it was known that TLS is there."""

    # asyncio tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin: of a TLS listener, once TLS is there."""
        # Those of uvloop are no subclass of it.
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if peer else ""
        self._connection = Connection(
            self._welcome,
            self,
            TcpFraming(BEFORE_LOGIN),
            secure=self._direct,
            end_point=self._certificate.end_point() if self._direct else None,
        )

    def data_received(self, data: bytes) -> None:
        """Read, unless TLS is just being negotiated: its first bytes may come before it is said to be there."""
        if self._securing:
            self._early.append(data)
        elif self._connection is not None:
            self._connection.receive(data)

    def connection_lost(self, exc: BaseException | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Take note of the end."""
        connection, self._connection = self._connection, None
        self._transport = None
        if connection is not None:
            connection.lost()

    # The connection asks

    def write(self, texts: Sequence[str]) -> int:
        """Send; return how many bytes wait to be taken."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return 0
        transport.write("".join(texts).encode())
        return transport.get_write_buffer_size()

    async def secure(self) -> bytes | None:
        """Negotiate TLS; return what a login can be bound to. Raises OSError."""
        plain = self._transport
        if plain is None:
            raise ConnectionResetError("the client has gone")
        # From here on plain bytes are those of TLS; what was sent too early is gone already.
        self._securing = True
        end_point = self._certificate.end_point()
        transport = await asyncio.get_running_loop().start_tls(
            plain, self, self._certificate.context, server_side=True, ssl_handshake_timeout=HANDSHAKE_SECONDS
        )
        if transport is None:
            raise ConnectionResetError("the client has gone")
        self._transport = transport
        self._securing = False
        early, self._early = self._early, []
        if early:
            asyncio.get_running_loop().call_soon(self.data_received, b"".join(early))
        return end_point

    def pause(self) -> None:
        """Read nothing for now."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self) -> None:
        """Close the connection after what was written, but do not wait for ever."""
        transport = self._transport
        if transport is not None:
            transport.close()
            asyncio.get_running_loop().call_later(CLOSING_SECONDS, transport.abort)

    def abort(self) -> None:
        """Cut it off."""
        if self._transport is not None:
            self._transport.abort()


async def listen(welcome: Welcome, certificate: Certificate, place: str, *, direct: bool) -> asyncio.Server:
    """Listen at `host:port`. Raises OSError."""
    host, _, port = place.rpartition(":")
    return await asyncio.get_running_loop().create_server(
        lambda: TcpWire(welcome, certificate, direct=direct),
        host.strip("[]") or None,
        int(port),
        backlog=1024,
        ssl=certificate.context if direct else None,
        ssl_handshake_timeout=HANDSHAKE_SECONDS if direct else None,
    )
