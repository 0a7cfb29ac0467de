"""Removes what nobody can reach any more: uploads that never came, thumbnails of nothing, files without a row.

Also what was fetched from other servers, once nobody has wanted it for long: it can be fetched again.
"""

from dataclasses import dataclass

import structlog

from homeserver.clock import Clock
from homeserver.services.media.store import Store
from homeserver.storage import media
from homeserver.storage.database import Database

log = structlog.get_logger()

INTERVAL_SECONDS = 86_400.0
GRACE_SECONDS = 86_400.0
"""A file without a row may belong to an upload that is being stored, an expired content URI to one under way."""
ABANDONED_SECONDS = 600.0
"""A file on its way that has not grown for so long was left by a crash; uploads are given up far sooner."""
HASHES_A_QUERY = 500


@dataclass(frozen=True, slots=True)
class Pruner:
    """Tidies up once at the start and every day."""

    clock: Clock
    db: Database
    store: Store

    async def run(self) -> None:
        """Tidy up until cancelled."""
        while True:
            try:
                await self.tidy()
            except Exception:
                log.exception("media_pruning_failed")
            await self.clock.sleep(INTERVAL_SECONDS)

    async def tidy(self) -> None:
        """Remove everything that can be removed now."""
        now = self.clock.now_ms() / 1000
        abandoned = await self.store.run(self.store.remove_abandoned, now - ABANDONED_SECONDS)
        expired = int((now - GRACE_SECONDS) * 1000)
        unfilled = await self.db.write(lambda tx: media.remove_unfilled(tx, expired))
        remote = await self.db.write(lambda tx: media.remove_unused_remote(tx, int(now * 1000)))
        thumbnails = await self.db.write(media.remove_stray_thumbnails)
        files = await self._remove_orphans(now - GRACE_SECONDS)
        if abandoned or unfilled or remote or thumbnails or files:
            log.info(
                "media_pruned",
                abandoned=abandoned,
                unfilled=unfilled,
                remote=remote,
                thumbnails=thumbnails,
                files=files,
            )

    async def _remove_orphans(self, before: float) -> int:
        removed = 0
        for shelf in await self.store.run(self.store.shelves):
            old = await self.store.run(self.store.old_files, shelf, before)
            for start in range(0, len(old), HASHES_A_QUERY):
                some = old[start : start + HASHES_A_QUERY]
                kept = await self.db.read(lambda conn, some=some: media.referenced(conn, some))  # type: ignore[misc]
                for sha256 in some:
                    if sha256 not in kept:
                        removed += await self.store.run(self.store.remove, sha256, before)
        return removed
