"""Bodies that come compressed: unpacked piece by piece, so that a small one cannot become a large one unnoticed.

aiohttp would do it too, but goes on to unpack what is left of a body that was refused.

Source: https://www.rfc-editor.org/rfc/rfc9110#field.content-encoding
"""

import zlib
from collections.abc import AsyncIterator

from aiohttp import web
from aiohttp.http_exceptions import PayloadEncodingError

from homeserver.errors import BadEncoding

PIECE = 65536
"""Most bytes that are unpacked at a time."""
_PLAIN = ("", "identity")
_WINDOWS = {"gzip": zlib.MAX_WBITS | 16, "x-gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}


def is_packed(request: web.BaseRequest) -> bool:
    """Return whether the body is compressed, so that its length says nothing of how large it is."""
    return _encoding(request) not in _PLAIN


async def pieces_of(request: web.BaseRequest) -> AsyncIterator[bytes]:
    """Yield the body, unpacked. Raises `BadEncoding` for one that is not encoded as its headers say."""
    encoding = _encoding(request)
    if encoding in _PLAIN:
        async for piece in _sent(request):
            yield piece
        return
    if encoding not in _WINDOWS:
        raise BadEncoding("The Content-Encoding must be gzip or deflate, if there is one")
    unpacker = zlib.decompressobj(_WINDOWS[encoding])
    try:
        async for packed in _sent(request):
            waiting = packed
            while waiting:
                piece = unpacker.decompress(waiting, PIECE)
                if unpacker.unused_data:
                    raise BadEncoding("The body goes on after its compressed content")
                if piece:
                    yield piece
                waiting = unpacker.unconsumed_tail
    except zlib.error as error:
        raise BadEncoding(f"The body is not {encoding}") from error
    if not unpacker.eof:
        raise BadEncoding(f"The body is not whole {encoding}")


async def _sent(request: web.BaseRequest) -> AsyncIterator[bytes]:
    try:
        async for piece in request.content.iter_any():
            yield piece
    except (web.RequestPayloadError, PayloadEncodingError) as error:
        raise BadEncoding("The body could not be read") from error


def _encoding(request: web.BaseRequest) -> str:
    return request.headers.get("Content-Encoding", "").strip().lower()
