"""Devices of other servers' users: asked for once, then kept up to date by what their servers tell.

Lists are kept of users with whom somebody here shares a room; of others nobody would tell us a change.
Source: https://spec.matrix.org/v1.19/server-server-api/#device-management
"""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson
import structlog
from sqlalchemy import Connection

from federation.core.ids import DeviceID, ServerName, UserID, server_of
from federation.matrix.client import FederationClient
from federation.matrix.errors import FederationError
from homeserver.clock import Clock
from homeserver.model.encryption import PublishedDevice, Usage
from homeserver.model.nids import UserNid
from homeserver.services.encryption.device_lists import DeviceLists
from homeserver.storage import cross_signing, device_lists
from homeserver.storage.database import Database, Write
from homeserver.storage.names import Names

if TYPE_CHECKING:
    from homeserver.services.encryption.device_keys import Published, Wanted

log = structlog.get_logger()

MOST_DEVICES = 1_000
"""Devices of one user; those after them are not looked at."""
RESYNC_SECONDS = 60.0
"""How often lists that must be asked for anew are tried again."""
MOST_AT_ONCE = 10
RESYNCS_A_ROUND = 200


@dataclass(frozen=True, slots=True)
class RemoteDevices:
    """Knows the devices of users of other servers."""

    db: Database
    clock: Clock
    names: Names
    lists: DeviceLists
    client: FederationClient
    _asking: dict[UserID, asyncio.Task[bool]] = field(default_factory=dict)
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_AT_ONCE))

    def stored(self, conn: Connection, users: Collection[UserNid]) -> dict[UserNid, list[PublishedDevice]]:
        """Return the devices of remote users whose lists are known, none for a user who has none."""
        known = device_lists.remote_lists(conn, users)
        found = device_lists.remote_of_users(conn, list(known))
        return {user: found.get(user, []) for user in known}

    async def make_known(self, wanted: Collection[UserID], seconds: float) -> dict[str, Any]:
        """Ask for the lists of those of the users that share a room with somebody here and are not known, or stale.

        Return the servers that could not be asked in time.
        """

        def read(conn: Connection) -> list[UserID]:
            users = self.names.user_nids(conn, wanted)
            known = device_lists.remote_lists(conn, list(users.values()))
            missing = {user: user_id for user_id, user in users.items() if user not in known or known[user].stale}
            shared = device_lists.in_rooms(conn, list(missing))
            return [missing[user] for user in shared]

        missing = await self.db.read(read)
        if not missing:
            return {}
        tasks = {user_id: self._resync_soon(user_id) for user_id in missing}
        await asyncio.wait(tasks.values(), timeout=seconds)
        late = {server_of(user_id) for user_id, task in tasks.items() if not task.done() or not task.result()}
        return {server: {"message": "the server cannot be asked now", "status": 503} for server in late}

    async def ask(self, strangers: "Wanted", failures: dict[str, Any]) -> "Published":
        """Return the devices of users whose lists are not kept, as their servers tell them now."""
        from homeserver.services.encryption.device_keys import Published

        found = Published({}, {}, {}, {})
        by_server: dict[ServerName, dict[UserID, list[DeviceID]]] = {}
        for user_id, names in strangers.items():
            if server_of(user_id) not in failures:
                by_server.setdefault(server_of(user_id), {})[user_id] = list(names)

        async def ask(server: ServerName, wanted: Mapping[UserID, list[DeviceID]]) -> None:
            try:
                answer = await self.client.query_user_keys(server, {"device_keys": wanted})
            except FederationError as error:
                failures[server] = {"message": str(error), "status": 503}
                return
            for name, into in (
                ("device_keys", found.device_keys),
                ("master_keys", found.master_keys),
                ("self_signing_keys", found.self_signing_keys),
            ):
                said = answer.get(name)
                if isinstance(said, dict):
                    # No server speaks for the users of another one.
                    into.update((user_id, said[user_id]) for user_id in wanted if isinstance(said.get(user_id), dict))

        await asyncio.gather(*(ask(server, wanted) for server, wanted in by_server.items()))
        return found

    # What other servers tell: checked EDUs

    async def hear_device(self, _origin: ServerName, content: Mapping[str, Any]) -> None:
        """Take an `m.device_list_update`: a change of one device, or the hint that there are more."""
        user_id, device_id = UserID(content["user_id"]), DeviceID(content["device_id"])
        keys = content.get("keys")

        def write(tx: Write) -> bool:
            user = self.names.user(tx.conn, user_id)
            if user is None or not device_lists.in_rooms(tx.conn, [user]):
                return False
            known = device_lists.remote_lists(tx.conn, [user]).get(user)
            self.lists.remote_changed(tx, user)
            if known is None:
                # Nobody has asked for this list yet; whoever does gets it whole.
                return False
            if known.stream_id == content["stream_id"] and not known.stale:
                return False
            if known.stale or content.get("prev_id", []) not in ([known.stream_id], []):
                device_lists.set_remote(tx, user, known.stream_id or 0, stale=True)
                return True
            if not content.get("prev_id"):
                device_lists.set_remote(tx, user, known.stream_id or 0, stale=True)
                return True
            if content.get("deleted") or not _is_device_of(user_id, device_id, keys):
                device_lists.remove_remote(tx, user, [device_id])
            else:
                name = content.get("device_display_name")
                device_lists.put_remote(tx, user, [PublishedDevice(device_id, orjson.dumps(keys), name)])
            device_lists.set_remote(tx, user, content["stream_id"], stale=False)
            return False

        if await self.db.write(write):
            _ = self._resync_soon(user_id)

    async def hear_signing_keys(self, _origin: ServerName, content: Mapping[str, Any]) -> None:
        """Take an `m.signing_key_update`: other cross-signing keys."""
        user_id = UserID(content["user_id"])
        keys = _cross_signing(user_id, content)

        def write(tx: Write) -> None:
            user = self.names.user(tx.conn, user_id)
            if user is None or not keys or not device_lists.in_rooms(tx.conn, [user]):
                return
            cross_signing.store(tx, user, keys)
            self.lists.remote_changed(tx, user)

        await self.db.write(write)

    # Asking anew

    async def run(self) -> None:
        """Ask for stale lists until cancelled; other servers may have been away."""
        while True:
            await self.clock.sleep(RESYNC_SECONDS)
            try:
                stale = await self.db.read(
                    lambda conn: self.names.user_ids(conn, device_lists.stale_users(conn, RESYNCS_A_ROUND))
                )
                await asyncio.gather(*(self._resync_soon(user_id) for user_id in stale.values()))
            except Exception:
                log.exception("device_lists_not_asked_for")

    async def prune(self) -> None:
        """Forget the lists of users with whom nobody shares a room any more."""
        await self.db.write(device_lists.forget_strangers)

    async def close(self) -> None:
        """Give up what is being asked."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _resync_soon(self, user_id: UserID) -> asyncio.Task[bool]:
        task = self._asking.get(user_id)
        if task is None:
            task = self._asking[user_id] = asyncio.create_task(self._resync(user_id), name="device-list")
            task.add_done_callback(lambda _: self._asking.pop(user_id, None))
        return task

    async def _resync(self, user_id: UserID) -> bool:
        """Ask for the whole list of a user; return whether it was told."""
        async with self._turns:
            try:
                answer = await self.client.user_devices(server_of(user_id), user_id)
            except FederationError as error:
                log.info("device_list_not_told", user_id=user_id, reason=str(error))
                return False
        stream_id, listed = answer.get("stream_id"), answer.get("devices")
        if not isinstance(stream_id, int) or not 0 <= stream_id < 2**53 or not isinstance(listed, list):
            return False
        found = []
        for each in listed[:MOST_DEVICES]:
            device_id = each.get("device_id") if isinstance(each, dict) else None
            if isinstance(device_id, str) and _is_device_of(user_id, device_id, each.get("keys")):
                name = each.get("device_display_name")
                display_name = name.replace("\0", "") if isinstance(name, str) else None
                found.append(PublishedDevice(DeviceID(device_id), orjson.dumps(each["keys"]), display_name))
        keys = _cross_signing(user_id, answer)

        def write(tx: Write) -> None:
            user = self.names.intern_user(tx, user_id)
            before = {one.device_id: one.keys for one in device_lists.remote_of_users(tx.conn, [user]).get(user, ())}
            old_keys = cross_signing.of_users(tx.conn, [user]).get(user, {})
            device_lists.replace_remote(tx, user, found)
            cross_signing.store(tx, user, keys)
            if before != {one.device_id: one.keys for one in found} or any(
                old_keys.get(usage) != key for usage, key in keys.items()
            ):
                self.lists.remote_changed(tx, user)
            else:
                device_lists.advance(tx, user, device_lists.position_of(tx.conn, user))
            device_lists.set_remote(tx, user, stream_id, stale=False)

        await self.db.write(write)
        return True


def _is_device_of(user_id: UserID, device_id: str, keys: object) -> bool:
    if not isinstance(keys, dict) or not device_id or len(device_id) > 255 or "\0" in device_id:
        return False
    return keys.get("user_id") == user_id and keys.get("device_id") == device_id


def _cross_signing(user_id: UserID, told: Mapping[str, Any]) -> dict[Usage, bytes]:
    """Return the cross-signing keys that a server tells of its user."""
    found = {}
    for usage in (Usage.MASTER, Usage.SELF_SIGNING):
        key = told.get(f"{usage}_key")
        if isinstance(key, dict) and key.get("user_id") == user_id and isinstance(key.get("keys"), dict):
            found[usage] = orjson.dumps(key)
    return found
