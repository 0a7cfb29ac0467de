"""Pictures of people and rooms, as XMPP clients get them: small, and known by a hash of what is in them.

In Matrix a picture is a content URI, in a profile or in the state of a room; that stays the one truth. A file that is
small enough is shown as it is, so that what an XMPP client has published keeps its hash; of a larger one a thumbnail.
Images are only ever decoded by the process of `homeserver.services.media.imaging`.
"""

import asyncio
import base64
import binascii
import hashlib
import re
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from federation.core.errors import InvalidIdentifier
from federation.core.ids import ServerName, parse_server_name
from federation.core.xmpp.errors import StanzaCondition, StanzaError
from federation.matrix.expiring import Expiring
from homeserver.errors import MatrixError
from homeserver.model.media import MediaID, Method, Shape
from homeserver.services.media.uploads import Upload

if TYPE_CHECKING:
    from homeserver.xmpp.accounts import Accounts
    from homeserver.xmpp.session import Session

LARGEST = 64 * 1024
"""Bytes of a picture that clients are shown."""
WHOLE = Shape(0, 0, Method.SCALE, animated=True)
SMALLER = (Shape(320, 320, Method.CROP), Shape(96, 96, Method.CROP))
"""What is shown of a file that is too large, the first that is small enough."""
WAIT_MS = 5000
LONGEST_SECONDS = 10.0
"""How long a picture of another server is waited for."""
SOON_SECONDS = 2.0
"""How long what can be told without a picture waits for one."""
MOST_KNOWN = 20_000
KNOWN_SECONDS = 24 * 3600.0
FAILED_SECONDS = 300.0
"""A content URI behind which there was no picture is not looked at again for so long."""
AT_ONCE = 4
MOST_WAITING = 2000
"""Pictures that are looked for in the background, and that nobody waits for."""

_mxc = re.compile(r"mxc://([^/]+)/([A-Za-z0-9_-]+)").fullmatch
_WEBP = re.compile(b"RIFF....WEBP", re.DOTALL).match


@dataclass(frozen=True, slots=True)
class Picture:
    """What is told of a picture before anybody gets it."""

    sha1: str
    """Of its bytes, in hexadecimal: by it clients know whether they have it already."""
    content_type: str
    size: int
    dimensions: tuple[int, int] | None
    """Width and height, where they are easily seen."""


@dataclass(frozen=True, slots=True)
class _Looked:
    picture: Picture | None


class Pictures:
    """Knows the pictures behind content URIs, and gets them. One of it a server."""

    def __init__(self, accounts: "Accounts") -> None:
        """Start with none."""
        self._services = accounts.services
        self._accounts = accounts
        self._known: Expiring[str, _Looked] = Expiring(self._look, self._services.clock.monotonic, MOST_KNOWN)
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0

    async def get(self, url: object) -> tuple[Picture, bytes] | None:
        """Return the picture at a content URI; None if there is none that can be shown."""
        place = _place(url)
        if place is None:
            return None
        try:
            async with asyncio.timeout(LONGEST_SECONDS):
                data, content_type = await self._small(*place)
        except (MatrixError, OSError):
            # A time that is over is an OSError, too.
            return None
        if len(data) > LARGEST:
            return None
        return Picture(sha1(data), content_type, len(data), dimensions(data)), data

    async def find(self, url: object) -> Picture | None:
        """Return what is told of the picture at a content URI; None if there is none that can be shown."""
        return (await self._known.get(url)).picture if isinstance(url, str) and _mxc(url) else None

    async def soon(self, url: object) -> Picture | None:
        """Return what is told of a picture, None if that takes long: it is known the next time."""
        try:
            async with asyncio.timeout(SOON_SECONDS):
                return await self.find(url)
        except TimeoutError:
            return None

    def known(self, url: object, then: Callable[[Picture | None], None]) -> tuple[Picture | None, bool]:
        """Return a picture, and whether that is known; if not, it is looked for, and `then` called after that."""
        looked = self._known.known(url) if isinstance(url, str) and _mxc(url) else _Looked(None)
        if looked is not None:
            return looked.picture, True
        if self._waiting >= MOST_WAITING:
            return None, True
        self._waiting += 1
        self._accounts.soon(self._find_later(str(url), then)).set_name("xmpp-picture")
        return None, False

    async def _find_later(self, url: str, then: Callable[[Picture | None], None]) -> None:
        try:
            async with self._turns:
                found = await self.find(url)
        finally:
            self._waiting -= 1
        then(found)

    async def _look(self, url: str) -> tuple[_Looked, float]:
        found = await self.get(url)
        return (_Looked(found[0]), KNOWN_SECONDS) if found is not None else (_Looked(None), FAILED_SECONDS)

    async def _small(self, origin: ServerName, media_id: MediaID) -> tuple[bytes, str]:
        """Return bytes and type of a picture, the largest one that is small enough. Raises what services raise."""
        downloads = self._services.media.downloads
        original = await downloads.find(origin, media_id, WAIT_MS)
        shapes = (WHOLE, *SMALLER) if original.content.size <= LARGEST else SMALLER
        for shape in shapes:
            made = await downloads.find_thumbnail(origin, media_id, shape, WAIT_MS)
            if made.content.size <= LARGEST:
                break
        return await downloads.store.run(made.path.read_bytes), made.content.content_type


async def keep(session: "Session", data: bytes) -> str:
    """Store a picture that a client sends; return its content URI. Raises `StanzaError` if it is none."""
    content_type = type_of(data)
    if content_type is None:
        raise _unreadable()
    services = session.services
    services.limits.take("media", session.who.user_id)
    upload = Upload(_pieces(data), len(data), content_type, None)
    uri = (await services.media.uploads.add(session.who, upload)).uri
    if await session.accounts.kept(Pictures).find(uri) is None:
        raise _unreadable()
    return uri


def decode(text: str) -> bytes:
    """Return bytes that are written in Base64, with white space in between or not. Raises `StanzaError`."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise StanzaError(StanzaCondition.BAD_REQUEST, "a picture is written in Base64") from error


def encode(data: bytes) -> str:
    """Return bytes in Base64."""
    return base64.b64encode(data).decode()


def sha1(data: bytes) -> str:
    """Return the name of a picture."""
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def type_of(data: bytes) -> str | None:
    """Return what a picture is by its first bytes, whatever is said of it; None for what nobody could show."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    return "image/webp" if _WEBP(data) is not None else None


def dimensions(data: bytes) -> tuple[int, int] | None:
    """Return width and height of a picture as its header says them; None where that takes more than a look."""
    kind = type_of(data)
    try:
        if kind == "image/png":
            return struct.unpack_from(">II", data, 16)
        if kind == "image/gif":
            return struct.unpack_from("<HH", data, 6)
        return _of_jpeg(data) if kind == "image/jpeg" else None
    except struct.error:
        return None


def _of_jpeg(data: bytes) -> tuple[int, int] | None:
    """Find the frame's header, from segment to segment: ITU-T T.81, annex B."""
    at = 2
    while True:
        marker, length = struct.unpack_from(">HH", data, at)
        # The frames' markers are C0 to CF without C4, C8 and CC, which stand for tables.
        if 0xFFC0 <= marker <= 0xFFCF and marker not in (0xFFC4, 0xFFC8, 0xFFCC):
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        if marker < 0xFFC0 or length < 2:
            return None
        at += 2 + length


def _place(url: object) -> tuple[ServerName, MediaID] | None:
    found = _mxc(url) if isinstance(url, str) else None
    try:
        return (parse_server_name(found[1]), MediaID(found[2])) if found is not None else None
    except InvalidIdentifier:
        return None


def _unreadable() -> StanzaError:
    return StanzaError(StanzaCondition.NOT_ACCEPTABLE, "The picture cannot be read: send a PNG, JPEG, GIF or WebP")


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    yield data
