"""What an operator puts before a server, on loopback: TLS, and Converse.js on an origin of its own."""

import asyncio
import base64
import hashlib
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.converse.browser import Page
from tests.support.certificates import Authority, Certificate
from tests.support.node import have_packages
from tests.support.waiting import until
from tests.support.world import Site

HERE = Path(__file__).parent
MESSAGES = 20
"""As many messages of the past the page asks for at once."""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><title>Converse</title>
<link rel="stylesheet" href="/dist/converse.min.css">
<script src="/dist/converse.min.js" type="module"></script>
</head>
<body class="converse-fullscreen">
<div id="conversejs-bg"></div>
<script type="module">converse.initialize(%s);</script>
</body>
</html>
"""

SETTINGS = {
    "assets_path": "/dist",
    "authentication": "login",
    "view_mode": "fullscreen",
    "theme": "classic",
    "i18n": "en",
    # Only what was seen is loaded, as it is scrolled to: nothing is there before.
    "mam_request_all_pages": False,
    "archived_messages_page_size": MESSAGES,
    # Nothing moves on the screen by itself, so that what is clicked is where it was seen.
    "disable_effects": True,
}


@dataclass
class Line:
    """TLS before a server, as a reverse proxy ends it, which can fail."""

    url: str
    """Where Converse.js is."""
    hosts: Mapping[str, str]
    """Where names lead that are not in the world."""
    trusted: tuple[str, ...]
    """The public keys of certificates that nobody vouches for."""
    down: bool = False
    """Take no connection."""
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    def cut(self) -> None:
        """Lose all connections to the server."""
        for writer in self._open:
            writer.transport.abort()

    async def carry(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry a connection to the server at a port, until either side ends it."""
        if self.down:
            writer.transport.abort()
            return
        there, back = await asyncio.open_connection("127.0.0.1", port)
        self._open |= {writer, back}
        try:
            await asyncio.gather(_carry(reader, back), _carry(there, writer))
        finally:
            self._open -= {writer, back}

    async def end(self) -> None:
        """Lose all connections; return when they are gone."""
        self.cut()
        await until(lambda: not self._open)


@asynccontextmanager
async def before(site: Site, directory: Path) -> AsyncIterator[Line]:
    """Serve a server as `https://SERVER_NAME`, and Converse.js as `https://chat.SERVER_NAME`.

    The page is told nothing of the server: it has to find its WebSocket by the address that somebody logs in with.
    Without the packages of Converse.js the test is skipped.
    """
    chat, port = f"chat.{site.name}", int(site.base.rpartition(":")[2])
    shown = Authority.make(directory).certificate(site.name, chat)
    context = shown.server_context()
    made = Line(f"https://{chat}/", {}, (_public_key(shown),))
    async with AsyncExitStack() as stack:
        beside = await stack.enter_async_context(_pages(have_packages(HERE) / "converse.js" / "dist", context))
        server = await asyncio.start_server(partial(made.carry, port), "127.0.0.1", 0, ssl=context)
        stack.push_async_callback(made.end)
        stack.callback(server.close)
        before = server.sockets[0].getsockname()[1]
        made.hosts = {f"{site.name}:443": f"127.0.0.1:{before}", f"{chat}:443": f"127.0.0.1:{beside}"}
        yield made


@asynccontextmanager
async def browser(line: Line, directory: Path) -> AsyncIterator[Page]:
    """Open Converse.js in a browser; without one, the test is skipped."""
    async with Page.opens(directory, trusted=line.trusted, hosts=line.hosts) as page:
        await page.goes(line.url)
        yield page


def _public_key(shown: Certificate) -> str:
    """Return the hash by which Chromium knows a certificate's key."""
    certificate = x509.load_pem_x509_certificate(shown.certificate.read_bytes())
    key = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return base64.b64encode(hashlib.sha256(key).digest()).decode()


async def _carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        with suppress(OSError):
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
    finally:
        sink.close()


@asynccontextmanager
async def _pages(dist: Path, context: ssl.SSLContext) -> AsyncIterator[int]:
    """Serve the page and the files that it needs; yield the port."""

    async def page(request: web.Request) -> web.Response:
        return web.Response(text=PAGE % json.dumps(SETTINGS), content_type="text/html")

    app = web.Application()
    app.router.add_get("/", page)
    app.router.add_static("/dist", dist)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
