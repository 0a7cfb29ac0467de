"""Takes in what users send: at once, or into a content URI that was made before.

Nothing is kept whole in memory, and nothing is answered before both file and row are durable.
Source: https://spec.matrix.org/v1.19/client-server-api/#post_matrixmediav3upload
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from federation.core.ids import ServerName
from homeserver.clock import Clock, Ids
from homeserver.config import Config
from homeserver.errors import (
    CannotOverwriteMedia,
    Forbidden,
    InvalidParam,
    LimitExceeded,
    NotFound,
    TooLarge,
    TooSlow,
    UserSuspended,
)
from homeserver.model.accounts import Requester
from homeserver.model.media import Content, Media, MediaID
from homeserver.model.nids import UserNid
from homeserver.services.media.downloads import Downloads
from homeserver.services.media.store import Incoming, Store
from homeserver.storage import media
from homeserver.storage.database import Database, Write

ID_LETTERS = 24
PIECE_BYTES = 256 * 1024
"""What is gathered in memory before it is written."""
SILENT_SECONDS = 30.0
"""An upload that brings nothing for so long is given up."""
FREE_SECONDS = 60.0
SLOWEST_BYTES_A_SECOND = 4096
"""An upload that is slower than this on the whole is given up, once `FREE_SECONDS` are over."""
MOST_PENDING = 50
"""Content URIs of one user that wait for their upload."""
MOST_AT_ONCE = 20
"""Uploads of one user that are under way."""
RETRY_MS = 10_000


@dataclass(frozen=True, slots=True)
class Upload:
    """What a client sends: the bytes, how many it said they are, and what it says of them."""

    pieces: AsyncIterator[bytes]
    length: int | None
    content_type: str
    name: str | None


@dataclass(frozen=True, slots=True)
class Uploads:
    """Makes content URIs and fills them."""

    config: Config
    clock: Clock
    ids: Ids
    db: Database
    store: Store
    downloads: Downloads
    _running: Counter[UserNid] = field(default_factory=Counter)

    async def add(self, who: Requester, upload: Upload) -> Media:
        """Store an upload under a content URI of its own.

        Raises `TooLarge`, `TooSlow`, `UserSuspended`, `LimitExceeded`, and `InvalidParam` if the body ends too early.
        """
        _check_may_upload(who)
        content = await self._receive(who.user, upload)
        now = self.clock.now_ms()
        new = Media(self._origin, self._new_id(), who.user, upload.name, content, now, None)
        await self.db.write(lambda tx: media.add(tx, new))
        return new

    async def reserve(self, who: Requester) -> Media:
        """Make a content URI that is to be filled later.

        Raises `LimitExceeded` if too many of the user's wait already.
        Source: https://spec.matrix.org/v1.19/client-server-api/#post_matrixmediav1create
        """
        _check_may_upload(who)
        lifetime = self.config.media.unused_expires_seconds * 1000
        now = self.clock.now_ms()
        new = Media(self._origin, self._new_id(), who.user, None, None, now, now + lifetime)

        def make(tx: Write) -> None:
            if media.count_pending(tx.conn, who.user, now, now - lifetime) >= MOST_PENDING:
                raise LimitExceeded(RETRY_MS)
            media.add(tx, new)

        await self.db.write(make)
        return new

    async def fill(self, who: Requester, origin: ServerName, media_id: MediaID, upload: Upload) -> None:
        """Store an upload under a content URI that its uploader made before, and let those who wait for it have it.

        Raises `NotFound` if nobody made it or it has expired, `Forbidden` if another user made it,
        `CannotOverwriteMedia` if it is filled, and what `add` raises.
        Source: https://spec.matrix.org/v1.19/client-server-api/#put_matrixmediav3uploadservernamemediaid
        """
        _check_may_upload(who)
        now = self.clock.now_ms()
        _check_fillable(await self.db.read(lambda conn: media.find(conn, origin, media_id)), who, now)
        content = await self._receive(who.user, upload)

        def store(tx: Write) -> None:
            if not media.fill(tx, origin, media_id, content, upload.name):
                # Another upload was faster. That it expired meanwhile does not matter: this one began in time.
                _check_fillable(media.find(tx.conn, origin, media_id), who, now)
            tx.after_commit(self.downloads.wake, media_id)

        await self.db.write(store)

    @property
    def _origin(self) -> ServerName:
        return ServerName(self.config.server_name)

    def _new_id(self) -> MediaID:
        return MediaID(self.ids.letters(ID_LETTERS))

    async def _receive(self, user: UserNid, upload: Upload) -> Content:
        """Bring an upload to its place on disk."""
        most = self.config.media.max_upload_bytes
        if upload.length is not None and upload.length > most:
            raise TooLarge(f"Files have at most {most} bytes here")
        with self._counted(user):
            incoming = await self.store.run(self.store.begin)
            try:
                await self._write(upload.pieces, incoming, most)
                if upload.length is not None and incoming.size != upload.length:
                    raise InvalidParam("The body is shorter than its Content-Length")
                sha256 = await self.store.run(self.store.keep, incoming)
            finally:
                self.store.forget(incoming)
        return Content(sha256, incoming.size, upload.content_type)

    async def _write(self, pieces: AsyncIterator[bytes], incoming: Incoming, most: int) -> None:
        gathered: list[bytes] = []
        size = waiting = 0
        async for piece in self._in_time(pieces):
            size += len(piece)
            waiting += len(piece)
            if size > most:
                raise TooLarge(f"Files have at most {most} bytes here")
            gathered.append(piece)
            if waiting >= PIECE_BYTES:
                await self.store.run(incoming.write, b"".join(gathered))
                gathered.clear()
                waiting = 0
        if gathered:
            await self.store.run(incoming.write, b"".join(gathered))

    async def _in_time(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the pieces. Raises `TooSlow` if they stop coming, or come too slowly on the whole."""
        began = self.clock.monotonic()
        size = 0
        while True:
            try:
                async with asyncio.timeout(SILENT_SECONDS):
                    piece = await anext(pieces)
            except StopAsyncIteration:
                return
            except TimeoutError as error:
                raise TooSlow("The upload has stopped") from error
            size += len(piece)
            if self.clock.monotonic() - began > FREE_SECONDS + size / SLOWEST_BYTES_A_SECOND:
                raise TooSlow("The upload is too slow")
            yield piece

    @contextmanager
    def _counted(self, user: UserNid) -> Iterator[None]:
        if self._running[user] >= MOST_AT_ONCE:
            raise LimitExceeded(RETRY_MS)
        self._running[user] += 1
        try:
            yield
        finally:
            self._running[user] -= 1
            if not self._running[user]:
                del self._running[user]


def _check_may_upload(who: Requester) -> None:
    # https://spec.matrix.org/v1.19/client-server-api/#account-suspension
    if who.suspended:
        raise UserSuspended("You cannot upload files while your account is suspended")


def _check_fillable(found: Media | None, who: Requester, now: int) -> None:
    if found is None:
        raise NotFound("There is no such media ID")
    if found.uploader != who.user:
        raise Forbidden("Someone else made this media ID")
    if found.content is not None:
        raise CannotOverwriteMedia("Media already uploaded")
    if found.expired(now):
        raise NotFound("The media ID has expired")
