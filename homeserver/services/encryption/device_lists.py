"""Whose devices have changed, and who is told: local users by /sync, other servers by EDUs.

https://spec.matrix.org/v1.19/client-server-api/#tracking-the-device-list-for-a-user and
https://spec.matrix.org/v1.19/server-server-api/#device-management
"""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import Connection

from federation.core.ids import DeviceID, UserID, server_of
from federation.matrix.edus import DEVICE_LIST_UPDATE, SIGNING_KEY_UPDATE
from homeserver.model.accounts import Requester
from homeserver.model.encryption import PublishedDevice, Usage
from homeserver.model.nids import RoomNid, UserNid
from homeserver.services.live import Live
from homeserver.services.neighbours import Neighbours
from homeserver.services.outgoing import Outgoing
from homeserver.storage import cross_signing, device_keys, device_lists, memberships, rooms
from homeserver.storage.database import Database, Write, current_position
from homeserver.storage.names import Names
from homeserver.storage.snapshots import Snapshots

ENCRYPTION = ("m.room.encryption", "")


@dataclass(frozen=True, slots=True)
class DeviceLists:
    """Tells of changes."""

    db: Database
    names: Names
    snapshots: Snapshots
    live: Live
    neighbours: Neighbours
    outgoing: Outgoing
    _introducing: set[asyncio.Task[None]] = field(default_factory=set)

    # Changes, told in the write that makes them

    def changed(self, tx: Write, user: UserNid, changed: Collection[PublishedDevice]) -> None:
        """A local user's devices have new keys or names."""
        updates = [_update(one) for one in changed]
        self._tell(tx, user, updates, DEVICE_LIST_UPDATE)

    def removed(self, tx: Write, user: UserNid, gone: Collection[DeviceID]) -> None:
        """Devices of a local user that had keys are no more."""
        if gone:
            self._tell(tx, user, [{"device_id": device_id, "deleted": True} for device_id in gone], DEVICE_LIST_UPDATE)

    def cross_signing_changed(self, tx: Write, user: UserNid) -> None:
        """A local user has other cross-signing keys, or new signatures under them."""
        keys = cross_signing.of_users(tx.conn, [user]).get(user, {})
        update = {
            f"{usage}_key": orjson.loads(keys[usage]) for usage in (Usage.MASTER, Usage.SELF_SIGNING) if usage in keys
        }
        self._tell(tx, user, [update], SIGNING_KEY_UPDATE)

    def remote_changed(self, tx: Write, user: UserNid) -> None:
        """The devices of another server's user have changed."""
        position = tx.position()
        device_lists.advance(tx, user, position)
        self._ring(tx, user, position, memberships.joined_rooms(tx.conn, user))

    def _tell(self, tx: Write, user: UserNid, updates: Sequence[dict[str, Any]], edu_type: str) -> None:
        """Store a change, wake who shares a room, and send the updates to the servers in these rooms."""
        joined = memberships.joined_rooms(tx.conn, user)
        others = self.neighbours.of_rooms(tx.conn, joined)
        user_id = self.names.user_ids(tx.conn, [user])[user]
        position = 0
        for update in updates:
            position = tx.position()
            before = device_lists.advance(tx, user, position)
            if others:
                content = {"user_id": user_id, **update}
                if edu_type == DEVICE_LIST_UPDATE:
                    content |= {"stream_id": position, "prev_id": [before] if before is not None else []}
                edu = {"edu_type": edu_type, "content": content}
                self.outgoing.edu(tx, others, edu, durable=True)
        self._ring(tx, user, position, joined)

    def _ring(self, tx: Write, user: UserNid, position: int, joined: Sequence[RoomNid]) -> None:
        def ring() -> None:
            readers = {user}
            for room in joined:
                readers.update(self.live.online_in(room))
            self.live.ring_users(position, readers)

        tx.after_commit(ring)

    def moved(self, room: RoomNid, user: UserNid, user_id: UserID, joined: bool) -> None:
        """Take note that a user has come into a room, or gone out of it."""
        if joined and server_of(user_id) == self.neighbours.own:
            task = asyncio.create_task(self.introduce(user, user_id, room), name="introduce-devices")
            self._introducing.add(task)
            task.add_done_callback(self._introducing.discard)

    async def introduce(self, user: UserNid, user_id: UserID, room: RoomNid) -> None:
        """Tell the servers in a room that a local user has come into of the user's devices, if nobody else has."""

        def write(tx: Write) -> None:
            here = self.neighbours.of(tx.conn, room)
            elsewhere = self.neighbours.of_rooms(
                tx.conn, (each for each in memberships.joined_rooms(tx.conn, user) if each != room)
            )
            new = here - elsewhere
            devices = device_keys.of_users(tx.conn, [user]).get(user, []) if new else []
            stream_id = device_lists.position_of(tx.conn, user)
            for one in devices:
                # Whoever knows of no update before asks for the whole list.
                content = {"user_id": user_id, "stream_id": stream_id, "prev_id": [], **_update(one)}
                self.outgoing.edu(tx, new, {"edu_type": DEVICE_LIST_UPDATE, "content": content}, durable=True)

        if await self.db.read(lambda conn: bool(self.neighbours.of(conn, room))):
            await self.db.write(write)

    # What /sync tells

    def section(self, conn: Connection, reader: UserNid, since: int, until: int) -> bytes | None:
        """Return `device_lists` of an answer that goes on from a position; None if there is nothing to tell."""
        changed, left = self.between(conn, reader, since, until)
        if not changed and not left:
            return None
        return orjson.dumps({"changed": sorted(changed), "left": sorted(left)})

    async def since(self, who: Requester, position: int) -> tuple[set[UserID], set[UserID]]:
        """Return what `between` does, up to now."""
        return await self.db.read(lambda conn: self.between(conn, who.user, position, current_position(conn)))

    def between(self, conn: Connection, reader: UserNid, since: int, until: int) -> tuple[set[UserID], set[UserID]]:
        """Return the users whose devices a reader must look at anew since a position, and whom they may forget."""
        changed = device_lists.changed_for(conn, reader, since, until)
        changed |= cross_signing.signed_since(conn, reader, since, until)
        came, left = device_lists.moved(conn, reader, since, until)
        entered, gone_from = device_lists.rooms_moved(conn, reader, since, until)
        # Who sees a room become encrypted asks for the keys of all who are in it.
        encrypted = self._encrypted(conn, {*came, *entered, *gone_from})
        for room, users in came.items():
            if room in encrypted:
                changed |= users
        if entered & encrypted:
            changed |= device_lists.members(conn, entered & encrypted)
        if gone_from & encrypted:
            left |= device_lists.members(conn, gone_from & encrypted)
        left -= {reader}
        if left:
            left -= device_lists.sharing(conn, reader, left)
        user_ids = self.names.user_ids(conn, changed | left)
        return {user_ids[user] for user in changed}, {user_ids[user] for user in left - changed}

    def _encrypted(self, conn: Connection, wanted: Collection[RoomNid]) -> set[RoomNid]:
        """Return which of the rooms are encrypted."""
        slot = self.names.slots(conn, [ENCRYPTION]).get(ENCRYPTION) if wanted else None
        if slot is None:
            return set()
        heads = rooms.load_many(conn, wanted)
        current = {room.snapshot: nid for nid, room in heads.items() if room.snapshot is not None}
        standing = self.snapshots.standing(conn, current, [slot])
        return {current[snapshot] for snapshot, (event,) in standing.items() if event is not None}


def _update(device: PublishedDevice) -> dict[str, Any]:
    update: dict[str, Any] = {"device_id": device.device_id, "keys": orjson.loads(device.keys)}
    if device.display_name is not None:
        update["device_display_name"] = device.display_name
    return update
