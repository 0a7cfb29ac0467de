"""Secrets of the server's own, by name: made when first wanted, and the same ever after."""

from dataclasses import dataclass, field

from homeserver.clock import Ids
from homeserver.storage import secrets
from homeserver.storage.database import Database


@dataclass(frozen=True, slots=True)
class Secrets:
    """Keeps secrets by which the server recognises what it has made itself."""

    db: Database
    ids: Ids
    _known: dict[str, bytes] = field(default_factory=dict)

    async def get(self, name: str) -> bytes:
        """Return the secret of a name, as bytes for an HMAC."""
        found = self._known.get(name)
        if found is None:
            found = await self.db.read(lambda conn: secrets.find(conn, name))
        if found is None:
            made = self.ids.token().encode()
            found = await self.db.write(lambda tx: secrets.keep(tx, name, made))
        self._known[name] = found
        return found
