"""Tags of rooms, kept as the room's account data: https://spec.matrix.org/v1.19/client-server-api/#room-tagging."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection

from federation.core.ids import RoomID, UserID
from homeserver.errors import BadJson, InvalidParam
from homeserver.model.accounts import Requester
from homeserver.model.nids import RoomNid, UserNid
from homeserver.services.account_data import TAGS, check_own, encoded_content, known_room
from homeserver.services.live import Live
from homeserver.storage import account_data
from homeserver.storage.database import Database, Write
from homeserver.storage.names import Names

LONGEST_NAME = 255
Tags = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RoomTags:
    """Keeps the tags that users give to rooms."""

    db: Database
    names: Names
    live: Live

    async def all(self, who: Requester, user_id: UserID, room_id: RoomID) -> Tags:
        """Return the user's tags of a room. Raises `Forbidden`."""
        check_own(who, user_id)

        def read(conn: Connection) -> Tags:
            return _stored(conn, who.user, known_room(conn, self.names, who.user, room_id))

        return await self.db.read(read)

    async def put(self, who: Requester, user_id: UserID, room_id: RoomID, tag: str, content: Mapping[str, Any]) -> None:
        """Tag a room. Raises `Forbidden`, `InvalidParam`, `BadJson` or `TooLarge`."""
        if not tag or len(tag.encode()) > LONGEST_NAME:
            raise InvalidParam(f"tag: must have 1 to {LONGEST_NAME} bytes")
        order = content.get("order", 0)
        if isinstance(order, bool) or not isinstance(order, int | float) or not 0 <= order <= 1:
            raise BadJson("order: must be a number from 0 to 1")
        await self._change(who, user_id, room_id, lambda tags: {**tags, tag: dict(content)})

    async def remove(self, who: Requester, user_id: UserID, room_id: RoomID, tag: str) -> None:
        """Take a tag from a room, if it is there. Raises `Forbidden`."""

        def without(tags: Tags) -> Tags:
            return {name: content for name, content in tags.items() if name != tag}

        await self._change(who, user_id, room_id, without)

    async def _change(self, who: Requester, user_id: UserID, room_id: RoomID, change: Callable[[Tags], Tags]) -> None:
        check_own(who, user_id)

        def write(tx: Write) -> None:
            room = known_room(tx.conn, self.names, who.user, room_id)
            tags = _stored(tx.conn, who.user, room)
            changed = change(tags)
            if changed == tags:
                return
            encoded = encoded_content({"tags": changed})
            position = account_data.store_in_room(tx, who.user, room, TAGS, encoded)
            tx.after_commit(self.live.ring_users, position, [who.user])

        await self.db.write(write)


def _stored(conn: Connection, user: UserNid, room: RoomNid) -> Tags:
    stored = account_data.find_in_room(conn, user, room, TAGS)
    tags = orjson.loads(stored).get("tags") if stored is not None else None
    # A client may have put anything there through the account data API.
    return tags if isinstance(tags, dict) else {}
