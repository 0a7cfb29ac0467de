"""XMPP over WebSocket, for clients in browsers, and how they find it.

Sources: https://www.rfc-editor.org/rfc/rfc7395, https://xmpp.org/extensions/xep-0156.html
"""

import asyncio
from collections.abc import Callable, Sequence

from aiohttp import WSMsgType, web

from federation.core.xmpp.element import Element, serialise
from federation.core.xmpp.framing import WebSocketFraming
from federation.core.xmpp.xml import AFTER_LOGIN, BEFORE_LOGIN
from homeserver.errors import InvalidParam
from homeserver.http.routing import Answer, Auth, Call, Json, Reply, Routes
from homeserver.xmpp.connection import Connection, Welcome
from homeserver.xmpp.listener import CLOSING_SECONDS

PATH = "/xmpp-websocket"
RELATION = "urn:xmpp:alt-connections:websocket"
XRD = "http://docs.oasis-open.org/ns/xri/xrd-1.0"
HEARTBEAT_SECONDS = 60.0
"""Browsers answer pings by themselves; proxies close what is silent."""


class WebSocketWire:
    """A client's WebSocket."""

    def __init__(self, socket: web.WebSocketResponse, address: str, transport: asyncio.Transport | None) -> None:
        """Take a socket that is open, and what carries it."""
        self.address = address
        self._transport = transport
        self._socket = socket
        self._frames: asyncio.Queue[str | None] = asyncio.Queue()
        self._waiting = 0
        self._reading = asyncio.Event()
        self._reading.set()

    async def carry(self, connection: Connection) -> None:
        """Read and write until either side ends."""
        writer = asyncio.create_task(self._write(), name="xmpp-websocket")
        try:
            async for message in self._socket:
                if message.type is WSMsgType.TEXT:
                    connection.receive(message.data.encode(errors="surrogatepass"))
                elif message.type is WSMsgType.BINARY:
                    # https://www.rfc-editor.org/rfc/rfc7395#section-3.2
                    break
                await self._reading.wait()
        finally:
            connection.lost()
            self._frames.put_nowait(None)
            await writer

    async def _write(self) -> None:
        try:
            while (frame := await self._frames.get()) is not None:
                self._waiting -= len(frame)
                await self._socket.send_str(frame)
        except ConnectionError:
            return
        finally:
            await self._socket.close()

    def write(self, texts: Sequence[str]) -> int:
        """Send, a frame each; return about how many bytes wait to be taken."""
        for text in texts:
            self._waiting += len(text)
            self._frames.put_nowait(text)
        return self._waiting

    async def secure(self) -> bytes | None:
        """Refuse: TLS is HTTP's matter here."""
        raise ConnectionError("STARTTLS over WebSocket")

    def pause(self) -> None:
        """Read nothing for now."""
        self._reading.clear()

    def resume(self) -> None:
        """Read on."""
        self._reading.set()

    def close(self) -> None:
        """Close the connection after what was written, but do not wait for ever."""
        self._reading.set()
        self._frames.put_nowait(None)
        if self._transport is not None:
            asyncio.get_running_loop().call_later(CLOSING_SECONDS, self._transport.abort)

    def abort(self) -> None:
        """Cut it off, with what the client does not take."""
        self.close()
        if self._transport is not None:
            self._transport.abort()


def routes_of(welcome: Callable[[], Welcome], base_url: str) -> Routes:
    """Return the endpoints: the WebSocket, and the files by which clients find it."""
    routes = Routes()
    url = f"{base_url.replace('http', 'ws', 1)}{PATH}"

    @routes.get(PATH, auth=Auth.NONE, limit="none")
    async def open_socket(call: Call) -> Reply:
        """Carry a stream until it ends."""
        socket = web.WebSocketResponse(
            protocols=("xmpp",), max_msg_size=AFTER_LOGIN.bytes, heartbeat=HEARTBEAT_SECONDS, compress=False
        )
        ready = socket.can_prepare(call.request)
        if not ready.ok or ready.protocol != "xmpp":
            # https://www.rfc-editor.org/rfc/rfc7395#section-3.1
            raise InvalidParam("expected a WebSocket with the subprotocol xmpp")
        await socket.prepare(call.request)
        wire = WebSocketWire(socket, call.address, call.request.transport)
        await wire.carry(Connection(welcome(), wire, WebSocketFraming(BEFORE_LOGIN), secure=True))
        return socket

    @routes.get("/.well-known/host-meta", auth=Auth.NONE)
    async def host_meta(call: Call) -> Answer:  # noqa: ARG001 - every handler takes it
        """Tell where the WebSocket is, as XML."""
        link = Element("Link", XRD, {"rel": RELATION, "href": url})
        page = f"<?xml version='1.0' encoding='utf-8'?>{serialise(Element('XRD', XRD, {}, link))}"
        return Answer(page.encode(), content_type="application/xrd+xml")

    @routes.get("/.well-known/host-meta.json", auth=Auth.NONE)
    async def host_meta_json(call: Call) -> Json:  # noqa: ARG001 - every handler takes it
        """Tell where the WebSocket is, as JSON."""
        return {"links": [{"rel": RELATION, "href": url}]}

    return routes
