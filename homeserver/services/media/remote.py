"""Files of other servers: fetched when somebody wants them, once for all who do, and kept until nobody has for long.

Source: https://spec.matrix.org/v1.19/server-server-api/#content-repository
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import Message

import orjson

from federation.core.ids import ServerName
from federation.matrix.client import FederationClient
from federation.matrix.errors import BadAnswer, RemoteError
from federation.matrix.multipart import Multipart
from homeserver.clock import Clock
from homeserver.config import Config
from homeserver.errors import MatrixError, NotFound, NotYetUploaded, OtherServerFailed, Unavailable
from homeserver.model.media import OCTETS, Content, Media, MediaID
from homeserver.services.elsewhere import asking
from homeserver.services.media.store import Store
from homeserver.storage import media
from homeserver.storage.database import Database

PIECE_BYTES = 256 * 1024
MOST_AT_ONCE = 20
"""Files that are being fetched; who wants another one is asked to come back."""
LARGEST_METADATA = 64 * 1024
LONGEST_NAME = 255
LONGEST_TYPE = 255
RETRY_MS = 2000
USED_AGAIN_MS = 24 * 60 * 60 * 1000
"""How often it is noted that a file is still wanted."""


@dataclass(frozen=True, slots=True)
class RemoteMedia:
    """Fetches files."""

    config: Config
    clock: Clock
    db: Database
    store: Store
    client: FederationClient
    _fetching: dict[tuple[ServerName, MediaID], asyncio.Task[None]] = field(default_factory=dict)

    async def fetch(self, origin: ServerName, media_id: MediaID, timeout_ms: int) -> None:
        """Bring a file of another server here, or wait for whoever is doing so.

        Raises `NotFound`, `NotYetUploaded`, `OtherServerFailed`, and `Unavailable` if too many files are being fetched.
        """
        key = origin, media_id
        task = self._fetching.get(key)
        if task is None:
            if len(self._fetching) >= MOST_AT_ONCE:
                raise Unavailable("Too many files are being fetched", retry_after_ms=RETRY_MS)
            task = self._fetching[key] = asyncio.create_task(self._fetch(origin, media_id, timeout_ms), name="media")
            task.add_done_callback(lambda done: self._fetched(key, done))
        # One who goes away does not take it from the others.
        await asyncio.shield(task)

    async def used(self, found: Media) -> None:
        """Keep a file longer, since somebody wants it."""
        expires_at = self._expiry()
        if found.expires_at is not None and expires_at - found.expires_at > USED_AGAIN_MS:
            await self.db.write(lambda tx: media.use_remote(tx, found.origin, found.media_id, expires_at))

    def _expiry(self) -> int:
        return self.clock.now_ms() + self.config.media.remote_expires_seconds * 1000

    async def close(self) -> None:
        """Give up what is being fetched."""
        tasks = list(self._fetching.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _fetched(self, key: tuple[ServerName, MediaID], task: asyncio.Task[None]) -> None:
        del self._fetching[key]
        if not task.cancelled():
            # Nobody may be left to hear of a failure.
            task.exception()

    async def _fetch(self, origin: ServerName, media_id: MediaID, timeout_ms: int) -> None:
        with asking(origin):
            try:
                async with self._source(origin, media_id, timeout_ms) as (headers, pieces):
                    content = await self._receive(headers, pieces)
            except RemoteError as error:
                raise _told(origin, error) from error
        new = Media(origin, media_id, None, _name(headers), content, self.clock.now_ms(), self._expiry())
        await self.db.write(lambda tx: media.add_remote(tx, new))

    @asynccontextmanager
    async def _source(
        self, origin: ServerName, media_id: MediaID, timeout_ms: int
    ) -> AsyncIterator[tuple[Message, AsyncIterator[bytes]]]:
        """Yield the headers and the bytes of a file, from wherever its server says that it is."""
        most = self.config.media.max_remote_bytes
        yielded = False
        try:
            # Around the file are the metadata and the headers of the parts.
            most_packed = most + 2 * LARGEST_METADATA
            download = self.client.media_download(origin, media_id, timeout_ms=timeout_ms, most_bytes=most_packed)
            async with download as (headers, pieces):
                body = Multipart(headers.get("Content-Type", ""), pieces)
                await body.next_part()
                _check_metadata(await body.small_body(LARGEST_METADATA))
                part = await body.next_part()
                location = part["Location"]
                if location is None:
                    yielded = True
                    yield part, body.body()
                    return
            async with self.client.follow(origin, str(location), most_bytes=most) as (headers, pieces):
                yield _message(headers), pieces
        except RemoteError as error:
            if yielded or error.status != 404 or error.errcode != "M_UNRECOGNIZED":
                raise
            # A server of before Matrix 1.11.
            old = self.client.old_media_download(origin, media_id, timeout_ms=timeout_ms, most_bytes=most)
            async with old as (headers, pieces):
                yield _message(headers), pieces

    async def _receive(self, headers: Message, pieces: AsyncIterator[bytes]) -> Content:
        incoming = await self.store.run(self.store.begin)
        try:
            gathered: list[bytes] = []
            waiting = 0
            async for piece in pieces:
                gathered.append(piece)
                waiting += len(piece)
                if incoming.size + waiting > self.config.media.max_remote_bytes:
                    raise BadAnswer("the file is too large")
                if waiting >= PIECE_BYTES:
                    await self.store.run(incoming.write, b"".join(gathered))
                    gathered.clear()
                    waiting = 0
            await self.store.run(incoming.write, b"".join(gathered))
            sha256 = await self.store.run(self.store.keep, incoming)
        finally:
            self.store.forget(incoming)
        content_type = headers.get("Content-Type")
        known = isinstance(content_type, str) and content_type.isprintable() and len(content_type) <= LONGEST_TYPE
        return Content(sha256, incoming.size, content_type if known and content_type else OCTETS)


def _told(origin: ServerName, error: RemoteError) -> MatrixError:
    if error.errcode == "M_NOT_YET_UPLOADED":
        return NotYetUploaded("Content has not yet been uploaded")
    if error.status == 404:
        return NotFound("There is no such media")
    return OtherServerFailed(f"{origin} does not give out the file: {error.errcode}")


def _check_metadata(raw: bytes) -> None:
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BadAnswer("the metadata of the file is not JSON") from error


def _message(headers: Mapping[str, str]) -> Message:
    message = Message()
    for name in ("Content-Type", "Content-Disposition"):
        if name in headers:
            message[name] = headers[name]
    return message


def _name(headers: Message) -> str | None:
    """Return the name that the file is to be saved under, without control characters."""
    name = headers.get_filename()
    if name is None:
        return None
    return "".join(char for char in name if char.isprintable())[:LONGEST_NAME] or None
