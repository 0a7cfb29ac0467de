"""TLS before a server, as a reverse proxy gives it, and a network that can be cut between two servers."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web
from yarl import URL

from tests.support.certificates import Authority
from tests.support.peer import serving

_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "host", "date", "server"})
_origin = re.compile(r'origin="?([^",]*)').search


@dataclass
class Gate:
    """Passes requests of other servers on to the plain listener of one."""

    name: str
    """The server name that leads here."""
    behind: str = ""
    """Where requests go, such as `http://127.0.0.1:8008`."""
    shut: set[str] = field(default_factory=set)
    """Servers whose requests do not come through. `*` is all, unsigned ones included."""
    passed: int = 0
    kept_out: int = 0
    _http: aiohttp.ClientSession | None = None

    @classmethod
    @asynccontextmanager
    async def open(cls, authority: Authority, port: int = 0) -> AsyncIterator["Gate"]:
        """Open a gate at `localhost:PORT`; `behind` is to be set before the first request."""
        listening = socket.create_server(("127.0.0.1", port))
        async with aiohttp.ClientSession(auto_decompress=False) as http:
            gate = cls(f"localhost:{listening.getsockname()[1]}", _http=http)
            async with serving(gate._pass, listening, authority.certificate()):
                yield gate

    async def _pass(self, request: web.BaseRequest) -> web.StreamResponse:
        found = _origin(request.headers.get("Authorization", ""))
        if "*" in self.shut or (found is not None and found[1] in self.shut):
            self.kept_out += 1
            return await _lost(request)
        self.passed += 1
        assert self._http is not None
        sent = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        sent["Host"] = self.name
        url = URL(self.behind + request.raw_path, encoded=True)
        try:
            async with self._http.request(
                request.method, url, data=await request.read(), headers=sent, allow_redirects=False
            ) as answer:
                body = await answer.read()
        except aiohttp.ClientError:
            return await _lost(request)
        if found is not None and found[1] in self.shut:
            # Cut while it was on its way: what it asked for was done, and nobody hears of it.
            return await _lost(request)
        headers = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP}
        return web.Response(body=body, status=answer.status, headers=headers)


async def _lost(request: web.BaseRequest) -> web.StreamResponse:
    """End the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    raise asyncio.CancelledError
