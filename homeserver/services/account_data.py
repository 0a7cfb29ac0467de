"""What users keep for themselves: https://spec.matrix.org/v1.19/client-server-api/#client-config."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import Connection

from federation.core.errors import InvalidIdentifier
from federation.core.ids import RoomID, UserID, parse_user_id
from homeserver.errors import Forbidden, InvalidParam, NotFound, ServerControlled, TooLarge
from homeserver.model.accounts import Requester
from homeserver.model.nids import RoomNid, UserNid
from homeserver.services import access
from homeserver.services.live import Live
from homeserver.services.push_rules import event_content
from homeserver.storage import account_data, push_rules
from homeserver.storage.database import Database, Write
from homeserver.storage.names import Names
from homeserver.storage.remembered import Remembered

FULLY_READ = "m.fully_read"
PUSH_RULES = "m.push_rules"
IGNORED_USERS = "m.ignored_user_list"
TAGS = "m.tag"
OWN = (FULLY_READ, PUSH_RULES)
"""What the server keeps itself, in accounts and rooms alike; clients only read it."""
LARGEST = 512 * 1024
"""Bytes of one type's content."""
LONGEST_TYPE = 255


@dataclass(frozen=True, slots=True)
class AccountData:
    """Keeps users' data, and knows whom they ignore."""

    db: Database
    names: Names
    live: Live
    _ignored: Remembered[UserNid, frozenset[UserID]] = field(default_factory=Remembered)

    async def put(self, who: Requester, user_id: UserID, data_type: str, content: Mapping[str, Any]) -> None:
        """Store data of the user's account. Raises `Forbidden`, `ServerControlled`, `InvalidParam` or `TooLarge`."""
        check_own(who, user_id)
        encoded = _checked(data_type, content)
        await self.db.write(lambda tx: self._store(tx, who, data_type, encoded))

    async def change(
        self, who: Requester, data_type: str, change: Callable[[dict[str, Any]], Mapping[str, Any] | None]
    ) -> None:
        """Store what is made of data of the user's account, nothing if it is None. Raises what `put` raises.

        In one write: what others store at the same time is in it, or comes after it.
        """

        def write(tx: Write) -> None:
            known = account_data.find(tx.conn, who.user, data_type)
            content = change(orjson.loads(known) if known is not None else {})
            if content is not None:
                self._store(tx, who, data_type, _checked(data_type, content))

        await self.db.write(write)

    def _store(self, tx: Write, who: Requester, data_type: str, encoded: bytes) -> None:
        position = account_data.store(tx, who.user, data_type, encoded)
        if data_type == IGNORED_USERS:
            tx.after_commit(self._ignored.learn, who.user, position, _ignored_in(encoded, who.user_id))
        tx.after_commit(self.live.ring_users, position, [who.user])

    async def get(self, who: Requester, user_id: UserID, data_type: str) -> bytes:
        """Return data of the user's account as JSON. Raises `Forbidden` or `NotFound`."""
        check_own(who, user_id)

        def read(conn: Connection) -> bytes | None:
            if data_type == PUSH_RULES:
                return _push_rules(conn, who.user, user_id)
            return account_data.find(conn, who.user, data_type)

        found = await self.db.read(read)
        if found is None:
            raise NotFound("Account data not found")
        return found

    async def put_in_room(
        self, who: Requester, user_id: UserID, room_id: RoomID, data_type: str, content: Mapping[str, Any]
    ) -> None:
        """Store data of the user for a room. Raises `Forbidden`, `ServerControlled`, `InvalidParam` or `TooLarge`."""
        check_own(who, user_id)
        encoded = _checked(data_type, content)

        def write(tx: Write) -> None:
            room = known_room(tx.conn, self.names, who.user, room_id)
            position = account_data.store_in_room(tx, who.user, room, data_type, encoded)
            tx.after_commit(self.live.ring_users, position, [who.user])

        await self.db.write(write)

    async def get_in_room(self, who: Requester, user_id: UserID, room_id: RoomID, data_type: str) -> bytes:
        """Return data of the user for a room as JSON. Raises `Forbidden` or `NotFound`."""
        check_own(who, user_id)

        def read(conn: Connection) -> bytes | None:
            room = self.names.room(conn, room_id)
            return account_data.find_in_room(conn, who.user, room, data_type) if room is not None else None

        found = await self.db.read(read)
        if found is None:
            raise NotFound("Room account data not found")
        return found

    def known_ignored(self, user: UserNid) -> frozenset[UserID] | None:
        """Return whom a user ignores if that is in memory."""
        return self._ignored.known(user)

    def ignored(self, at: Connection | Write, users: Iterable[UserNid]) -> Mapping[UserNid, frozenset[UserID]]:
        """Return whom each of these users ignores, in one query at most, and in none as a rule.

        Source: https://spec.matrix.org/v1.19/client-server-api/#ignoring-users
        """
        return self._ignored.find(at, users, self._load_ignored)

    def since(
        self, conn: Connection, user: UserNid, user_id: UserID, after: int, until: int
    ) -> list[tuple[str, bytes]]:
        """Return type and content of the account's data that changed between two positions, push rules among them.

        Whoever asks from position 0 gets the push rules even if they never changed any.
        """
        found = account_data.since(conn, user, after, until)
        row = push_rules.of_user(conn, user)
        if after < row[0] <= until if row is not None else after == 0:
            found.append((PUSH_RULES, _push_rules(conn, user, user_id)))
        return found

    def _load_ignored(
        self, conn: Connection, users: Collection[UserNid]
    ) -> dict[UserNid, tuple[int, frozenset[UserID]]]:
        rows = account_data.of_users(conn, users, IGNORED_USERS)
        user_ids = self.names.user_ids(conn, rows)
        loaded: dict[UserNid, tuple[int, frozenset[UserID]]] = dict.fromkeys(users, (0, frozenset()))
        for user, (position, content) in rows.items():
            loaded[user] = (position, _ignored_in(content, user_ids[user]))
        return loaded


def check_own(who: Requester, user_id: UserID) -> None:
    """Refuse to touch what another user keeps for themselves. Raises `Forbidden`."""
    if user_id != who.user_id:
        raise Forbidden("You cannot see or change this for another user")


def known_room(conn: Connection, names: Names, user: UserNid, room_id: RoomID) -> RoomNid:
    """Return a room that the user has to do with, even if they only were invited or have left. Raises `Forbidden`."""
    standing = access.membership(conn, names, user, room_id)
    if standing is None:
        raise Forbidden(access.NOT_IN_ROOM)
    return standing.room


def encoded_content(content: Mapping[str, Any]) -> bytes:
    """Return a content as JSON. Raises `TooLarge`."""
    encoded = orjson.dumps(content)
    if len(encoded) > LARGEST:
        raise TooLarge(f"Account data of one type has at most {LARGEST} bytes")
    return encoded


def _checked(data_type: str, content: Mapping[str, Any]) -> bytes:
    if data_type in OWN:
        raise ServerControlled(f"Cannot set {data_type} through this API")
    if not data_type or len(data_type.encode()) > LONGEST_TYPE:
        raise InvalidParam(f"type: must have 1 to {LONGEST_TYPE} bytes")
    return encoded_content(content)


def _push_rules(conn: Connection, user: UserNid, user_id: UserID) -> bytes:
    row = push_rules.of_user(conn, user)
    return orjson.dumps(event_content(row[1] if row is not None else None, user_id))


def _ignored_in(content: bytes, own: UserID) -> frozenset[UserID]:
    """Return the users in an ignored user list that can be read as such; nobody ignores themselves."""
    listed = orjson.loads(content).get("ignored_users")
    found = set()
    for name in listed if isinstance(listed, dict) else ():
        try:
            found.add(parse_user_id(name))
        except InvalidIdentifier:
            continue
    return frozenset(found - {own})
