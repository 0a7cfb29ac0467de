"""Files of users: taken in, given out, made small, and pruned.

The bytes are on disk (`store`), what is known of them in the database (`homeserver.storage.media`), and strangers'
images are looked at in a process of their own (`imaging`, `worker`).
"""

from dataclasses import dataclass
from pathlib import Path

from federation.core.ids import ServerName
from federation.matrix.client import FederationClient
from homeserver.clock import Clock, Ids
from homeserver.config import Config
from homeserver.services.media.downloads import Downloads
from homeserver.services.media.imaging import Imager
from homeserver.services.media.pruning import Pruner
from homeserver.services.media.remote import RemoteMedia
from homeserver.services.media.store import Store
from homeserver.services.media.thumbnails import Thumbnails
from homeserver.services.media.uploads import Uploads
from homeserver.storage.database import Database


@dataclass(frozen=True, slots=True)
class Media:
    """Everything that is done with files."""

    uploads: Uploads
    downloads: Downloads
    thumbnails: Thumbnails
    pruner: Pruner
    imager: Imager
    store: Store
    remote: RemoteMedia | None

    async def close(self) -> None:
        """End what is under way, before the database is closed."""
        if self.remote is not None:
            await self.remote.close()
        await self.thumbnails.close()
        await self.imager.close()
        self.store.close()


def build(config: Config, clock: Clock, ids: Ids, db: Database, client: FederationClient | None = None) -> Media:
    """Return the services of media; without a client those of other servers are not fetched.

    Raises OSError if the directory for the files cannot be used.
    """
    store = Store(Path(config.media.path))
    imager = Imager(config.media.max_pixels)
    thumbnails = Thumbnails(clock, db, store, imager)
    remote = RemoteMedia(config, clock, db, store, client) if client is not None else None
    downloads = Downloads(ServerName(config.server_name), clock, db, store, thumbnails, remote)
    uploads = Uploads(config, clock, ids, db, store, downloads)
    return Media(uploads, downloads, thumbnails, Pruner(clock, db, store), imager, store, remote)
