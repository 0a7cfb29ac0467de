"""Reads `multipart/mixed` as it comes in, in bounded memory: https://www.rfc-editor.org/rfc/rfc2046#section-5.1.

In this form servers hand each other media.
"""

import email.policy
from collections.abc import AsyncIterator
from email.message import Message
from email.parser import BytesParser

from federation.matrix.errors import BadAnswer

LARGEST_HEADERS = 16 * 1024
"""Bytes of one part's headers, and of what stands before the first part."""


class Multipart:
    """The parts of a body, one after the other: `next_part`, then `body` or `small_body` of it."""

    def __init__(self, content_type: str, pieces: AsyncIterator[bytes]) -> None:
        """Take the body's type, which names the boundary, and its bytes. Raises `BadAnswer` if there is no boundary."""
        header = Message()
        header["Content-Type"] = content_type
        boundary = header.get_boundary()
        if header.get_content_maintype() != "multipart" or not boundary or len(boundary) > 200:
            raise BadAnswer("the answer is not multipart")
        self._pieces = pieces
        # The delimiter of the first part has no line before it.
        self._buffer = b"\r\n"
        self._delimiter = b"\r\n--" + boundary.encode("ascii", "replace")
        self._started = False

    async def next_part(self) -> Message:
        """Go to the next part; return its headers. Raises `BadAnswer` if there is none."""
        if not self._started:
            self._started = True
            await self._until(self._delimiter)
        line = await self._until(b"\r\n", keep=True)
        if line.strip(b" \t"):
            raise BadAnswer("the answer has fewer parts than it should")
        headers = await self._until(b"\r\n\r\n")
        return BytesParser(policy=email.policy.compat32).parsebytes(headers.lstrip(b"\r\n"), headersonly=True)

    async def small_body(self, most: int) -> bytes:
        """Return the body of the part, of `most` bytes. Raises `BadAnswer` if there are more."""
        parts, size = [], 0
        async for piece in self.body():
            size += len(piece)
            if size > most:
                raise BadAnswer("a part of the answer is too large")
            parts.append(piece)
        return b"".join(parts)

    async def body(self) -> AsyncIterator[bytes]:
        """Yield the body of the part. Raises `BadAnswer` if the answer ends before it does."""
        tail = len(self._delimiter) - 1
        while True:
            at = self._buffer.find(self._delimiter)
            if at >= 0:
                if at:
                    yield self._buffer[:at]
                self._buffer = self._buffer[at + len(self._delimiter) :]
                return
            if len(self._buffer) > tail:
                yield self._buffer[:-tail]
                self._buffer = self._buffer[-tail:]
            await self._more()

    async def _until(self, end: bytes, *, keep: bool = False) -> bytes:
        """Return what stands before `end`, and go behind it unless it is to be kept."""
        while (at := self._buffer.find(end)) < 0:
            if len(self._buffer) > LARGEST_HEADERS:
                raise BadAnswer("the headers of a part are too large")
            await self._more()
        found = self._buffer[:at]
        self._buffer = self._buffer[at if keep else at + len(end) :]
        return found

    async def _more(self) -> None:
        try:
            self._buffer += await anext(self._pieces)
        except StopAsyncIteration:
            raise BadAnswer("the answer ends too early") from None
