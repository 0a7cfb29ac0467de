"""Finds what is to be sent, and waits for what is still to be uploaded.

Source: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mediadownloadservernamemediaid
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from sqlalchemy import Connection

from federation.core.ids import ServerName
from homeserver.clock import Clock
from homeserver.errors import NotFound, NotYetUploaded
from homeserver.model.media import Content, Media, MediaID, Shape
from homeserver.services.media.remote import RemoteMedia
from homeserver.services.media.store import Store
from homeserver.services.media.thumbnails import Thumbnails
from homeserver.storage import media
from homeserver.storage.database import Database

log = structlog.get_logger()

LONGEST_WAIT_MS = 60_000

Look = Callable[[Connection], tuple[Media | None, Content | None]]


@dataclass(frozen=True, slots=True)
class Download:
    """A file to be sent, and the name that its uploader gave it."""

    path: Path
    content: Content
    name: str | None


@dataclass(frozen=True, slots=True)
class Downloads:
    """Gives out files."""

    server_name: ServerName
    clock: Clock
    db: Database
    store: Store
    thumbnails: Thumbnails
    remote: RemoteMedia | None
    """None where the server speaks with no others."""
    _waiting: dict[MediaID, set[asyncio.Future[None]]] = field(default_factory=dict)

    async def find(self, origin: ServerName, media_id: MediaID, timeout_ms: int) -> Download:
        """Return the content of a content URI, waiting for its upload for at most `timeout_ms`.

        Raises `NotFound`, or `NotYetUploaded` if it did not come in time.
        """
        found, content, _ = await self._filled(
            origin, media_id, timeout_ms, lambda conn: (media.find(conn, origin, media_id), None)
        )
        return Download(await self._existing(content), content, found.name)

    async def find_thumbnail(self, origin: ServerName, media_id: MediaID, shape: Shape, timeout_ms: int) -> Download:
        """Return a thumbnail of the image at a content URI, making it if need be.

        Raises what `find` raises, `CannotThumbnail`, `TooLarge` and `Unavailable`.
        """
        _, content, thumbnail = await self._filled(
            origin, media_id, timeout_ms, lambda conn: media.find_with_thumbnail(conn, origin, media_id, shape)
        )
        if thumbnail is None or await self.store.run(self.store.size, thumbnail.sha256) != thumbnail.size:
            await self._existing(content)
            thumbnail = await self.thumbnails.make(content, shape)
        return Download(self.store.path(thumbnail.sha256), thumbnail, None)

    def wake(self, media_id: MediaID) -> None:
        """Let those who wait for an upload look again."""
        for waiter in self._waiting.pop(media_id, ()):
            if not waiter.done():
                waiter.set_result(None)

    async def _filled(
        self, origin: ServerName, media_id: MediaID, timeout_ms: int, look: Look
    ) -> tuple[Media, Content, Content | None]:
        if origin != self.server_name:
            return await self._fetched(origin, media_id, timeout_ms, look)
        end = self.clock.monotonic() + max(0, min(timeout_ms, LONGEST_WAIT_MS)) / 1000
        while True:
            # Who looks after they began to wait cannot miss the upload.
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(media_id, set()).add(waiter)
            try:
                found, thumbnail = await self.db.read(look)
                if found is None or found.expired(self.clock.now_ms()):
                    raise NotFound("There is no such media")
                if found.content is not None:
                    return found, found.content, thumbnail
                left = end - self.clock.monotonic()
                if left <= 0:
                    raise NotYetUploaded("Content has not yet been uploaded")
                await asyncio.wait([waiter], timeout=left)
            finally:
                self._leave(media_id, waiter)

    async def _fetched(
        self, origin: ServerName, media_id: MediaID, timeout_ms: int, look: Look
    ) -> tuple[Media, Content, Content | None]:
        """Find a file of another server here, or fetch it."""
        if self.remote is None:
            raise NotFound("Media of other servers is not fetched")
        found, thumbnail = await self.db.read(look)
        if found is None or found.content is None or not await self._is_here(found.content):
            await self.remote.fetch(origin, media_id, max(0, min(timeout_ms, LONGEST_WAIT_MS)))
            found, thumbnail = await self.db.read(look)
        if found is None or found.content is None:
            raise NotFound("There is no such media")
        await self.remote.used(found)
        return found, found.content, thumbnail

    def _leave(self, media_id: MediaID, waiter: asyncio.Future[None]) -> None:
        others = self._waiting.get(media_id)
        if others is not None:
            others.discard(waiter)
            if not others:
                del self._waiting[media_id]

    async def _existing(self, content: Content) -> Path:
        """Return where a content is. Raises `NotFound` if it has been lost."""
        if not await self._is_here(content):
            log.error("media_file_missing", file=content.sha256.hex())
            raise NotFound("The file has been lost")
        return self.store.path(content.sha256)

    async def _is_here(self, content: Content) -> bool:
        return await self.store.run(self.store.size, content.sha256) == content.size
