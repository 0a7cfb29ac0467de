"""Makes thumbnails, each once: asked for by many at the same time it is made for all, and then kept.

Source: https://spec.matrix.org/v1.19/client-server-api/#thumbnails
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field

from homeserver.clock import Clock
from homeserver.errors import CannotThumbnail, MatrixError, TooLarge
from homeserver.model.media import Content, Shape
from homeserver.services.media.imaging import Imager
from homeserver.services.media.store import Store
from homeserver.storage import media
from homeserver.storage.database import Database

REFUSAL_SECONDS = 600.0
"""A content of which no thumbnail could be made is not tried again for so long."""
MOST_REFUSALS = 10_000


@dataclass(frozen=True, slots=True)
class _Refusal:
    error: type[MatrixError]
    message: str
    until: float


@dataclass(frozen=True, slots=True)
class Thumbnails:
    """Makes and keeps thumbnails."""

    clock: Clock
    db: Database
    store: Store
    imager: Imager
    _making: dict[tuple[bytes, Shape], asyncio.Task[Content]] = field(default_factory=dict)
    _refused: OrderedDict[tuple[bytes, bool], _Refusal] = field(default_factory=OrderedDict)

    async def make(self, source: Content, shape: Shape) -> Content:
        """Make the thumbnail of a content, or wait for the one that is being made.

        Raises `CannotThumbnail`, `TooLarge` and `Unavailable`.
        """
        # An animation that is too much to be made may still be good for a thumbnail that stands still.
        kind = source.sha256, shape.animated
        refusal = self._refused.get(kind)
        if refusal is not None:
            if refusal.until > self.clock.monotonic():
                raise refusal.error(refusal.message)
            del self._refused[kind]
        key = source.sha256, shape
        task = self._making.get(key)
        if task is None:
            task = self._making[key] = asyncio.create_task(self._make(source, shape), name="thumbnail")
            task.add_done_callback(lambda done: self._made(key, done))
        # One who goes away does not take it from the others.
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Give up what is being made."""
        tasks = list(self._making.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _make(self, source: Content, shape: Shape) -> Content:
        try:
            rendered = await self.imager.render(self.store.path(source.sha256), shape)
        except (CannotThumbnail, TooLarge) as error:
            self._refuse((source.sha256, shape.animated), error)
            raise
        if rendered.data is None:
            made = Content(source.sha256, source.size, rendered.content_type)
        else:
            sha256 = await self.store.run(self.store.put, rendered.data)
            made = Content(sha256, len(rendered.data), rendered.content_type)
        await self.db.write(lambda tx: media.add_thumbnail(tx, source.sha256, shape, made))
        return made

    def _made(self, key: tuple[bytes, Shape], task: asyncio.Task[Content]) -> None:
        self._making.pop(key, None)
        if not task.cancelled():
            task.exception()  # that nobody waits for it any more is no fault

    def _refuse(self, kind: tuple[bytes, bool], error: MatrixError) -> None:
        until = self.clock.monotonic() + REFUSAL_SECONDS
        self._refused[kind] = _Refusal(type(error), error.message, until)
        self._refused.move_to_end(kind)
        if len(self._refused) > MOST_REFUSALS:
            self._refused.popitem(last=False)
