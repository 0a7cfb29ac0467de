"""What XMPP users publish about themselves: https://xmpp.org/extensions/xep-0163.html. The server keeps it unread."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import orjson
from sqlalchemy import Connection

from homeserver.errors import NotFound, TooLarge
from homeserver.model.accounts import Requester
from homeserver.model.nids import UserNid
from homeserver.storage import pep
from homeserver.storage.database import Database, Write

LARGEST = 128 * 1024
"""Bytes of an item."""
MOST_ITEMS = 256
"""Of a node."""
MOST_NODES = 300
"""Of a user; OMEMO wants one a device."""
LONGEST_NAME = 512
DEFAULTS = {
    "pubsub#access_model": "presence",
    "pubsub#max_items": "1",
    "pubsub#persist_items": "1",
    "pubsub#send_last_published_item": "on_sub_and_presence",
    "pubsub#deliver_payloads": "1",
    "pubsub#notify_retract": "1",
}


@dataclass(frozen=True, slots=True)
class Published:
    """A node with some of its items, the newest last."""

    config: Mapping[str, str]
    items: list[tuple[str, bytes]]


class Mismatch(Exception):
    """A node is configured in another way than its publisher expects."""


@dataclass(frozen=True, slots=True)
class Pep:
    """Keeps what users publish."""

    db: Database

    async def find(
        self, user: UserNid, node: str, wanted: Collection[str] | None = None, limit: int | None = None
    ) -> Published:
        """Return items of a node: those named, or the last ones. Raises `NotFound` if there is no such node."""

        def read(conn: Connection) -> Published:
            found = pep.find(conn, user, node)
            if found is None:
                raise NotFound("There is no such node")
            return Published(_config(found), pep.items(conn, found, wanted, limit))

        return await self.db.read(read)

    async def nodes(self, user: UserNid) -> dict[str, Mapping[str, str]]:
        """Return a user's nodes, with what they are configured to be."""
        found = await self.db.read(lambda conn: pep.of_user(conn, user))
        return {node.name: _config(node) for node in found}

    async def publish(
        self, who: Requester, node: str, item_id: str, payload: bytes, options: Mapping[str, str]
    ) -> Mapping[str, str]:
        """Publish an item, making its node with these options if need be; return the node's configuration.

        Raises `TooLarge`, and `Mismatch` if the node is there and is configured in another way.
        """
        if len(payload) > LARGEST or len(item_id) > LONGEST_NAME:
            raise TooLarge(f"Items have at most {LARGEST} bytes")

        def write(tx: Write) -> Mapping[str, str]:
            found = pep.find(tx.conn, who.user, node)
            if found is None:
                found = self._make(tx, who, node, options)
            elif any(_config(found).get(name) != value for name, value in options.items()):
                raise Mismatch
            config = _config(found)
            if config.get("pubsub#persist_items") in ("1", "true"):
                pep.publish(tx, found, item_id, payload, most_items(config))
            return config

        return await self.db.write(write)

    async def configure(self, who: Requester, node: str, options: Mapping[str, str]) -> None:
        """Configure a node, making it if need be. Raises `TooLarge`."""

        def write(tx: Write) -> None:
            found = pep.find(tx.conn, who.user, node)
            if found is None:
                self._make(tx, who, node, options)
            else:
                pep.store(tx, who.user, node, orjson.dumps({**_config(found), **options}))

        await self.db.write(write)

    async def retract(self, who: Requester, node: str, item_id: str) -> None:
        """Take an item out of a node. Raises `NotFound`."""

        def write(tx: Write) -> None:
            found = pep.find(tx.conn, who.user, node)
            if found is None or not pep.retract(tx, found, item_id):
                raise NotFound("There is no such item")

        await self.db.write(write)

    async def delete(self, who: Requester, node: str) -> None:
        """Delete a node. Raises `NotFound`."""

        def write(tx: Write) -> None:
            found = pep.find(tx.conn, who.user, node)
            if found is None:
                raise NotFound("There is no such node")
            pep.delete(tx, found)

        await self.db.write(write)

    def _make(self, tx: Write, who: Requester, node: str, options: Mapping[str, str]) -> pep.Node:
        if len(node) > LONGEST_NAME or len(pep.of_user(tx.conn, who.user)) >= MOST_NODES:
            raise TooLarge(f"You have at most {MOST_NODES} nodes")
        return pep.store(tx, who.user, node, orjson.dumps({**DEFAULTS, **options}))


def most_items(config: Mapping[str, str]) -> int:
    """Return how many items a node keeps."""
    wanted = config.get("pubsub#max_items", "1")
    return min(max(int(wanted[:6]), 1), MOST_ITEMS) if wanted.isdecimal() else MOST_ITEMS


def _config(node: pep.Node) -> Mapping[str, str]:
    return {**DEFAULTS, **orjson.loads(node.config)}
