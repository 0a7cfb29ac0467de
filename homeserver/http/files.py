"""Sends stored files: ranges, caching, and headers with which a stranger's file does no harm in a browser.

https://spec.matrix.org/v1.19/client-server-api/#content-repo-client-behaviour, RFC 9110 (ranges, conditions), RFC 6266
(dispositions). See `docs/decisions/0006-legacy-media.md`.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from homeserver.http.ready import CORS
from homeserver.model.media import OCTETS
from homeserver.services.media.downloads import Download

PIECE_BYTES = 256 * 1024
PIECE_SECONDS = 60.0
"""A client that does not take one piece in so long has gone."""

# https://spec.matrix.org/v1.19/client-server-api/#serving-inline-content
INLINE = frozenset({
    "text/css", "text/plain", "text/csv", "application/json", "application/ld+json",
    "image/jpeg", "image/gif", "image/png", "image/apng", "image/webp", "image/avif",
    "video/mp4", "video/webm", "video/ogg", "video/quicktime",
    "audio/mp4", "audio/webm", "audio/aac", "audio/mpeg", "audio/ogg", "audio/wave", "audio/wav", "audio/x-wav",
    "audio/x-pn-wav", "audio/flac", "audio/x-flac",
})  # fmt: skip
# What a page can load as a script, whatever the disposition says: https://mimesniff.spec.whatwg.org/#javascript-mime-type
SCRIPTS = frozenset({
    "application/ecmascript", "application/javascript", "application/x-ecmascript", "application/x-javascript",
    "text/ecmascript", "text/javascript", "text/javascript1.0", "text/javascript1.1", "text/javascript1.2",
    "text/javascript1.3", "text/javascript1.4", "text/javascript1.5", "text/jscript", "text/livescript",
    "text/x-ecmascript", "text/x-javascript", "application/wasm",
})  # fmt: skip
HEADERS = {
    **CORS,
    "Accept-Ranges": "bytes",
    # The content behind a URI never changes; who may have it is asked of each client, so no cache shares it.
    "Cache-Control": "private, max-age=31536000, immutable",
    "Content-Security-Policy": (
        "sandbox; default-src 'none'; script-src 'none'; plugin-types application/pdf; style-src 'unsafe-inline'; "
        "object-src 'self';"
    ),
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}"  # noqa: S105 - a token of RFC 9110, not a secret
_CONTENT_TYPE = re.compile(
    rf'(?P<type>{_TOKEN}/{_TOKEN})(?: *; *{_TOKEN}=(?:{_TOKEN}|"[ !#-\[\]-~]*"))*(?: *;)? *', re.ASCII
)
_RANGE = re.compile(r"bytes=(?P<first>[0-9]{0,18})-(?P<last>[0-9]{0,18})", re.ASCII)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SEPARATORS = re.compile(r"[/\\]")
LONGEST_TYPE = 255
LONGEST_NAME = 512


def content_type_of(header: str | None) -> str:
    """Return what an upload's `Content-Type` says, or the type of mere bytes if it is missing or malformed."""
    if header is None or len(header) > LONGEST_TYPE or _CONTENT_TYPE.fullmatch(header.strip()) is None:
        return OCTETS
    return header.strip()


def served_type(content_type: str) -> tuple[str, bool]:
    """Return as what a stored type is served, and whether a browser may show it."""
    essence = content_type.partition(";")[0].strip().lower()
    return (OCTETS if essence in SCRIPTS else content_type), essence in INLINE


def clean_name(name: str | None) -> str | None:
    """Return a file name without what is no part of one: control characters, directories; None if nothing is left."""
    if name is None:
        return None
    name = _SEPARATORS.sub("_", _CONTROLS.sub("", name)).strip()
    return name if name not in ("", ".", "..") else None


def disposition(kind: str, name: str | None) -> str:
    """Return a `Content-Disposition` header: RFC 6266, and RFC 8187 for what is not ASCII."""
    name = clean_name(name)
    if name is None:
        return kind
    if name.isascii():
        quoted = name.replace("\\", "\\\\").replace('"', '\\"')
        return f'{kind}; filename="{quoted}"'
    return f"{kind}; filename*=UTF-8''{quote(name, safe='')}"


class FileResponse(web.StreamResponse):
    """A stored file, or the part of it that is asked for, sent while it is read."""

    def __init__(self, request: web.BaseRequest, download: Download, name: str | None) -> None:
        """Take who asks, the file, and the name it is to be saved under."""
        super().__init__(headers=HEADERS)
        size = download.content.size
        self._path: Path = download.path
        self._first, self._count = 0, size
        content_type, inline = served_type(download.content.content_type)
        etag = f'"{download.content.sha256.hex()}"'
        self.headers["Content-Type"] = content_type
        self.headers["Content-Disposition"] = disposition("inline" if inline else "attachment", name)
        self.headers["ETag"] = etag
        if _is_known(request.headers.get("If-None-Match"), etag):
            self.set_status(304)
            self._count = 0
            del self.headers["Content-Type"]
            return
        # A range of another version of the file is of no use.
        if request.headers.get("If-Range", etag) == etag:
            self._take_range(request.headers.get("Range", ""), size)
        self.content_length = self._count

    def _take_range(self, header: str, size: int) -> None:
        asked = _RANGE.fullmatch(header.strip())
        # Several ranges, other units and nonsense are as if not asked: RFC 9110, 14.2.
        if asked is None or not (asked["first"] or asked["last"]):
            return
        if asked["first"]:
            first = int(asked["first"])
            last = min(int(asked["last"]), size - 1) if asked["last"] else size - 1
            if asked["last"] and int(asked["last"]) < first:
                return
        else:
            first, last = max(0, size - int(asked["last"])), size - 1
        if first > last:
            self.set_status(416)
            self.headers["Content-Range"] = f"bytes */{size}"
            self._first = self._count = 0
            return
        self.set_status(206)
        self.headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        self._first, self._count = first, last - first + 1

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the headers and the bytes. Raises ConnectionResetError if the client has gone."""
        if self.prepared or not self._count:
            return await super().prepare(request)
        async with opened(self._path, self._first) as file:
            writer = await super().prepare(request)
            await send(self, file, self._count)
        return writer


@asynccontextmanager
async def opened(path: Path, first: int = 0) -> AsyncIterator[BinaryIO]:
    """Open a stored file where it is to be read from. Raises ConnectionResetError if it has been removed."""

    def open_() -> BinaryIO:
        file = path.open("rb", buffering=0)
        file.seek(first)
        return file

    try:
        file = await asyncio.get_running_loop().run_in_executor(None, open_)
    except OSError as error:
        raise ConnectionResetError("the file has been removed") from error
    try:
        yield file
    finally:
        file.close()


async def send(response: web.StreamResponse, file: BinaryIO, count: int) -> None:
    """Send bytes of a file while they are read. Raises ConnectionResetError if whoever asked does not read."""
    loop = asyncio.get_running_loop()
    left = count
    while left:
        piece = await loop.run_in_executor(None, file.read, min(left, PIECE_BYTES))
        if not piece:
            # The headers promised more: only a broken connection tells the client.
            raise ConnectionResetError("the file is shorter than it was")
        left -= len(piece)
        try:
            async with asyncio.timeout(PIECE_SECONDS):
                await response.write(piece)
        except TimeoutError as error:
            raise ConnectionResetError("the client does not read") from error


def _is_known(header: str | None, etag: str) -> bool:
    if header is None:
        return False
    known = [tag.strip().removeprefix("W/") for tag in header.split(",")]
    return etag in known or "*" in known
