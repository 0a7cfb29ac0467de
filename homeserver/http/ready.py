"""Answers whose bytes are at hand: nearly all. Their head is put together once a second, and all is sent in one write.

What aiohttp does for each answer, with a map of headers that it fills and writes out, costs as much as finding out what
there is to tell somebody who waits.
"""

from email.utils import formatdate
from functools import lru_cache

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import SERVER_SOFTWARE

# https://spec.matrix.org/v1.19/client-server-api/#web-browser-clients
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, POST, PUT, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "X-Requested-With, Content-Type, Authorization",
    "Access-Control-Expose-Headers": "ETag, Retry-After",
}
JSON = "application/json"


class Ready(web.StreamResponse):
    """JSON with status 200, for a client that speaks HTTP/1.1 and keeps the connection."""

    def __init__(self, body: bytes, now_ms: int) -> None:
        """Take the body, and the time for the head."""
        super().__init__()
        self._bytes = b"%b%d\r\n\r\n%b" % (_head(now_ms // 1000), len(body), body)
        self._writer: AbstractStreamWriter | None = None

    @property
    def prepared(self) -> bool:
        """Whether it is on its way."""
        return self._writer is not None

    @property
    def keep_alive(self) -> bool:
        """The connection stays."""
        return True

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter:
        """Make ready to send; the head goes with the body."""
        self._writer = request.writer
        return self._writer

    async def write_eof(self, _data: bytes = b"") -> None:
        """Send everything."""
        assert self._writer is not None
        await self._writer.write_eof(self._bytes)


def json_response(request: web.BaseRequest, body: bytes, now_ms: int) -> web.StreamResponse:
    """Return the answer with a JSON body and status 200."""
    if request.version == HttpVersion11 and request.keep_alive:
        return Ready(body, now_ms)
    return web.Response(body=body, headers=CORS, content_type=JSON)


@lru_cache(maxsize=4)
def _head(second: int) -> bytes:
    """Return an answer's head up to the length of its body."""
    headers = {**CORS, "Content-Type": JSON, "Date": formatdate(second, usegmt=True), "Server": SERVER_SOFTWARE}
    lines = [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(["HTTP/1.1 200 OK", *lines, "Content-Length: "]).encode()
