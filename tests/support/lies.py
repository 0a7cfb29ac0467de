"""Answers of a peer that means ill, or is broken: `peer.instead["state"] = lies.never_ends`."""

import asyncio
import zlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.support.answers import Answer, Asked, Refusal, Reply

if TYPE_CHECKING:
    from tests.support.peer import Peer

MIB = 1024 * 1024


def says(answer: Mapping[str, Any]) -> Answer:
    """Answer with some JSON."""

    async def reply(peer: "Peer", asked: Asked) -> Reply:
        return answer

    return reply


def fails(status: int = 500, errcode: str = "M_UNKNOWN", **more: Any) -> Answer:
    """Answer with an error."""

    async def reply(peer: "Peer", asked: Asked) -> Reply:
        raise Refusal(status, errcode, **more)

    return reply


def sends(content: bytes, status: int = 200, content_type: str = "application/json", **headers: str) -> Answer:
    """Answer with bytes. `headers` are written `Cache_Control`."""

    async def reply(peer: "Peer", asked: Asked) -> Reply:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(body=content, status=status, content_type=content_type, headers=named)

    return reply


def redirects(location: str, status: int = 302) -> Answer:
    """Send them elsewhere."""
    return sends(b"{}", status, Location=location)


async def silent(peer: "Peer", asked: Asked) -> Reply:
    """Take the request, and say nothing."""
    await asyncio.Event().wait()
    raise AssertionError


async def drips(peer: "Peer", asked: Asked) -> Reply:
    """Send a byte of white space now and then, for ever."""
    return await _stream(asked, b'{"a":', b" ", pause=0.05)


async def never_ends(peer: "Peer", asked: Asked) -> Reply:
    """Send a text as fast as it is taken, for ever; `peer.poured` counts the bytes."""

    def poured(count: int) -> None:
        peer.poured += count

    return await _stream(asked, b'{"a":"', b"x" * 65536, poured=poured)


async def bomb(peer: "Peer", asked: Asked) -> Reply:
    """Send 4 GiB, packed into 4 MiB; `peer.poured` counts the packed bytes."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    first, pieces = packer.compress(b'{"a":"') + packer.flush(zlib.Z_FULL_FLUSH), 4096
    piece = packer.compress(b"x" * MIB) + packer.flush(zlib.Z_FULL_FLUSH)
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Encoding": "gzip"})
    await response.prepare(asked.request)
    await response.write(first)
    for _ in range(pieces):
        await response.write(piece)
        peer.poured += len(piece)
    await response.write_eof()
    return response


async def breaks_off(peer: "Peer", asked: Asked) -> Reply:
    """Promise a thousand bytes, send ten, and hang up."""
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": "1000"})
    await response.prepare(asked.request)
    await response.write(b'{"a":12345')
    assert asked.request.transport is not None
    asked.request.transport.abort()
    return response


async def hangs_up(peer: "Peer", asked: Asked) -> Reply:
    """Close the connection instead of answering."""
    assert asked.request.transport is not None
    asked.request.transport.abort()
    raise ConnectionResetError


NOT_JSON: Mapping[str, bytes] = {
    "nothing": b"",
    "words": b"nonsense",
    "half": b'{"a":1',
    "not UTF-8": b'{"a":"\xff"}',
    "a lone surrogate": b'{"a":"\\ud800"}',
    "NaN": b'{"a":NaN}',
    "a page": b"<!DOCTYPE html><title>It works!</title>",
    "a list": b"[]",
    "null": b"null",
    "60000 levels": b'{"a":' + b"[" * 60_000 + b"]" * 60_000 + b"}",
}
"""Bodies that are not JSON objects."""

BROKEN: Mapping[str, Answer] = {
    "never ends": never_ends,
    "bomb": bomb,
    "breaks off": breaks_off,
    "hangs up": hangs_up,
    "redirects": redirects("https://127.0.0.1:1/"),
    **{name: sends(content) for name, content in NOT_JSON.items()},
    "an error": fails(),
    "a list as error": sends(b"[]", 403),
    "an odd status": sends(b"{}", 299),
}
"""Ways not to answer that show at once."""

ENDLESS: Mapping[str, Answer] = {"silent": silent, "drips": drips}
"""Ways not to answer that only a limit of time ends."""


async def _stream(
    asked: Asked, first: bytes, piece: bytes, *, pause: float = 0, poured: Callable[[int], None] | None = None
) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(asked.request)
    await response.write(first)
    while True:
        await response.write(piece)
        if poured is not None:
            poured(len(piece))
        await asyncio.sleep(pause)
