"""XML that users' XMPP clients keep for themselves: https://xmpp.org/extensions/xep-0049.html."""

from dataclasses import dataclass

from homeserver.errors import TooLarge
from homeserver.model.accounts import Requester
from homeserver.storage import private_xml
from homeserver.storage.database import Database, Write

LARGEST = 128 * 1024
MOST = 100
"""Names under which a user keeps something."""


@dataclass(frozen=True, slots=True)
class PrivateXml:
    """Keeps XML for clients, and does not read it."""

    db: Database

    async def get(self, who: Requester, namespace: str, name: str) -> bytes | None:
        """Return what the user keeps under a name."""
        return await self.db.read(lambda conn: private_xml.find(conn, who.user, namespace, name))

    async def put(self, who: Requester, namespace: str, name: str, content: bytes) -> None:
        """Keep something under a name. Raises `TooLarge`."""
        if len(content) > LARGEST or len(namespace) + len(name) > 1000:
            raise TooLarge(f"Private XML under one name has at most {LARGEST} bytes")

        def store(tx: Write) -> None:
            known = private_xml.find(tx.conn, who.user, namespace, name) is not None
            if not known and private_xml.count(tx.conn, who.user) >= MOST:
                raise TooLarge(f"Private XML is kept under at most {MOST} names")
            private_xml.store(tx, who.user, namespace, name, content)

        await self.db.write(store)
