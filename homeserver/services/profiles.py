"""What users tell of themselves: https://spec.matrix.org/v1.19/client-server-api/#profiles."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import Connection

from federation.core.ids import UserID, server_of
from homeserver.errors import (
    BadJson,
    Forbidden,
    InvalidParam,
    KeyTooLarge,
    MissingParam,
    NotFound,
    ProfileTooLarge,
    UserSuspended,
)
from homeserver.model.accounts import Requester
from homeserver.model.nids import UserNid
from homeserver.model.profiles import AVATAR_URL, DISPLAY_NAME, TIME_ZONE
from homeserver.services.remote_profiles import RemoteProfiles
from homeserver.storage import accounts, profiles
from homeserver.storage.database import Database, Write
from homeserver.storage.names import Names

LARGEST = 64 * 1024
"""Bytes of a whole profile, as JSON."""
LONGEST_KEY = 255
LONGEST_NAME = 256
"""Characters of a display name."""
LONGEST_AVATAR = 1000

# https://spec.matrix.org/v1.19/appendices/#common-namespaced-identifier-grammar
_KEY = re.compile(r"[a-z][a-z0-9_.-]*")
_MXC = re.compile(r"mxc://[^/?#\s]+/[A-Za-z0-9_-]+")

OnChange = Callable[[UserNid, UserID], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Profiles:
    """Keeps the profiles of this server's users, and asks other servers for those of theirs."""

    db: Database
    names: Names
    elsewhere: RemoteProfiles
    on_change: list[OnChange] = field(default_factory=list)
    """Told of each new display name or avatar, to carry it to where others see it."""
    _carrying: set[asyncio.Task[None]] = field(default_factory=set)

    async def all(self, user_id: UserID) -> Mapping[str, Any]:
        """Return a user's profile. Raises `NotFound`; for a user of another server also `OtherServerFailed`."""
        if server_of(user_id) != self.elsewhere.own:
            return await self.elsewhere.of_user(user_id)
        return await self.local(user_id)

    async def local(self, user_id: UserID) -> Mapping[str, Any]:
        """Return the profile of a user of this server. Raises `NotFound`."""

        def read(conn: Connection) -> dict[str, bytes]:
            return profiles.of_user(conn, _living(conn, user_id))

        return {name: orjson.loads(value) for name, value in (await self.db.read(read)).items()}

    async def get(self, user_id: UserID, key: str) -> Mapping[str, Any]:
        """Return one field of a user's profile. Raises `NotFound` or what is wrong with the key."""
        _check_key(key)
        found = await self.all(user_id)
        if key not in found:
            raise NotFound("The user's profile has no such field")
        return {key: found[key]}

    async def put(self, who: Requester, user_id: UserID, key: str, body: Mapping[str, Any]) -> None:
        """Set a field of the user's own profile to what `body` has under its name.

        An empty display name or avatar is none. Raises `Forbidden`, `MissingParam`, `BadJson`, `InvalidParam`,
        `KeyTooLarge`, `ProfileTooLarge`.
        """
        _check_own(who, user_id, key)
        if key not in body:
            raise MissingParam(f"Missing {key}")
        value = body[key]
        _check_value(key, value)
        if value == "" and key in (DISPLAY_NAME, AVATAR_URL):
            await self._remove(who, key)
            return

        def write(tx: Write) -> bool:
            stored = profiles.of_user(tx.conn, who.user)
            whole = {name: orjson.Fragment(old) for name, old in stored.items()} | {key: value}
            if len(orjson.dumps(whole)) > LARGEST:
                raise ProfileTooLarge(f"A profile has at most {LARGEST} bytes")
            if stored.get(key) == orjson.dumps(value):
                return False
            profiles.store(tx, who.user, key, value)
            return True

        if await self.db.write(write):
            await self._carry(who, key)

    async def delete(self, who: Requester, user_id: UserID, key: str) -> None:
        """Remove a field of the user's own profile. Raises `Forbidden`, `InvalidParam`, `KeyTooLarge`."""
        _check_own(who, user_id, key)
        await self._remove(who, key)

    async def _remove(self, who: Requester, key: str) -> None:
        if await self.db.write(lambda tx: profiles.remove(tx, who.user, key)):
            await self._carry(who, key)

    async def _carry(self, who: Requester, key: str) -> None:
        if key not in (DISPLAY_NAME, AVATAR_URL):
            return

        async def tell() -> None:
            for told in self.on_change:
                await told(who.user, who.user_id)

        # A client that hangs up now must not leave half of its rooms with the old name.
        task = asyncio.create_task(tell(), name="profile-change")
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)
        await asyncio.shield(task)


def _living(conn: Connection, user_id: UserID) -> UserNid:
    """Return a user who has an account here that is not deactivated. Raises `NotFound`."""
    account = accounts.find(conn, user_id)
    if account is None or account.deactivated_at is not None:
        raise NotFound("There is no profile of this user")
    return account.user


def _check_own(who: Requester, user_id: UserID, key: str) -> None:
    if user_id != who.user_id:
        raise Forbidden("You cannot change the profile of another user")
    # https://spec.matrix.org/v1.19/client-server-api/#account-suspension
    if who.suspended:
        raise UserSuspended("Your account is suspended")
    _check_key(key)


def _check_key(key: str) -> None:
    if len(key.encode()) > LONGEST_KEY:
        raise KeyTooLarge(f"keyName: has more than {LONGEST_KEY} bytes")
    if _KEY.fullmatch(key) is None:
        raise InvalidParam("keyName: must begin with a-z, and only have a-z, 0-9, and _ . -")


def _check_value(key: str, value: Any) -> None:
    if key in (DISPLAY_NAME, AVATAR_URL, TIME_ZONE) and not isinstance(value, str):
        raise BadJson(f"{key}: must be a text")
    if key == DISPLAY_NAME and (len(value) > LONGEST_NAME or "\0" in value):
        raise InvalidParam(f"displayname: must have at most {LONGEST_NAME} characters, and no NUL")
    if key == AVATAR_URL and value and (_MXC.fullmatch(value) is None or len(value) > LONGEST_AVATAR):
        raise InvalidParam("avatar_url: must be an mxc:// URI")
