"""Invites of users of this server by users of others, mostly into rooms that this server is not in.

Source: https://spec.matrix.org/v1.19/server-server-api/#inviting-to-a-room
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection

from federation.core.auth.receipt import Verdict
from federation.core.errors import BadEvent, InvalidIdentifier
from federation.core.events.content import Membership
from federation.core.events.pdu import Pdu
from federation.core.ids import EventID, RoomID, ServerName, UserID, parse_user_id, server_of
from federation.core.room_versions import ROOM_VERSIONS
from federation.core.signing import SigningKey, sign_event
from federation.matrix.keyring import Keyring
from homeserver.errors import Forbidden, IncompatibleRoomVersion, InvalidParam, InviteBlocked, TooLarge
from homeserver.services import member_pdus
from homeserver.services.member_events import INVITE_PERMISSION, blocks_invites
from homeserver.services.outside import OutsideMemberships
from homeserver.services.server_access import ServerAccess
from homeserver.storage import account_data, accounts, memberships, rooms
from homeserver.storage.database import Database, Write

CREATE = "m.room.create"
MOST_ROOM_STATE = 100
"""Events of `invite_room_state`; ten are usual."""
MOST_BYTES_TOLD = 1024 * 1024
"""Of them as they are stored, and shown in every initial sync."""


@dataclass(frozen=True, slots=True)
class IncomingInvites:
    """Receives invites."""

    db: Database
    key: SigningKey
    keyring: Keyring
    access: ServerAccess
    outside: OutsideMemberships

    async def receive(
        self,
        origin: ServerName,
        room_id: RoomID,
        event_id: EventID,
        *,
        room_version: str,
        fields: Mapping[str, Any],
        room_state: Sequence[Any],
    ) -> dict[str, Any]:
        """Sign an invite, let the user know of it, and return it.

        One into a room that this server is in is signed only: it comes to the room like any other event.

        Raises `IncompatibleRoomVersion`, `InvalidParam`, `Forbidden`, and `InviteBlocked` for a user who takes none.
        """
        version = ROOM_VERSIONS.get(room_version)
        if version is None:
            raise IncompatibleRoomVersion(room_version)
        pdu = member_pdus.read(
            fields, version, origin=origin, room_id=room_id, event_id=event_id, membership=Membership.INVITE
        )
        target = self._target(pdu)
        if len(room_state) > MOST_ROOM_STATE:
            raise InvalidParam(f"invite_room_state: has more than {MOST_ROOM_STATE} entries")
        is_resident = await self.db.read(lambda conn: self._check(conn, origin, pdu, target))
        received = await member_pdus.verified(self.keyring, pdu)
        stripped = await self._stripped(pdu, room_state)
        signed = sign_event(received.event.fields, version, self.access.server_name, self.key)
        if not is_resident:
            invite = Pdu.trusted(signed, version, pdu.event_id)

            def write(tx: Write) -> None:
                self.outside.store(tx, invite, stripped)

            await self.db.write(write)
        return {**fields, "signatures": signed["signatures"]}

    def _target(self, pdu: Pdu) -> UserID:
        try:
            target = parse_user_id(pdu.state_key or "")
        except InvalidIdentifier as error:
            raise InvalidParam("state_key: is no user ID") from error
        if server_of(target) != self.access.server_name:
            raise InvalidParam("state_key: is not a user of this server")
        return target

    def _check(self, conn: Connection, origin: ServerName, pdu: Pdu, target: UserID) -> bool:
        """Return whether this server is in the room. Raises if the user cannot be invited."""
        user = self.access.names.user(conn, target)
        if user is None or user not in accounts.living(conn, [user]):
            raise Forbidden(f"There is no user {target}")
        permission = account_data.find(conn, user, INVITE_PERMISSION)
        if permission is not None and blocks_invites(permission):
            raise InviteBlocked(f"{target} does not take invites")
        nid = self.access.names.room(conn, pdu.room_id)
        if nid is None or self.access.server_name not in self.access.room_servers.servers(conn, nid):
            return False
        room = rooms.load(conn, nid)
        if room.version is not pdu.version and (room.version.event_id_is_hash or pdu.version.event_id_is_hash):
            raise InvalidParam("room_version: is not that of the room")
        self.access.check_acl(conn, origin, room)
        standing = memberships.of_user_in(conn, nid, user)
        if standing is not None and standing.membership in (Membership.JOIN, Membership.BAN):
            raise Forbidden("The user is in the room already, or banned")
        return True

    # What is told of the room

    async def _stripped(self, invite: Pdu, room_state: Sequence[Any]) -> bytes:
        """Return the stripped state as a JSON list.

        Since room version 12 it is checked, and for the versions before it may be of the old form.
        """
        version = invite.version
        if version.room_id_is_create_hash:
            events = await self._checked(invite, room_state)
            return _encoded([_strip(event.fields) for event in events])
        return _encoded([_strip(entry) for entry in room_state if _is_stripped_state(entry)])

    async def _checked(self, invite: Pdu, room_state: Sequence[Any]) -> list[Pdu]:
        events: list[Pdu] = []
        for index, fields in enumerate(room_state):
            try:
                event = Pdu.from_wire(fields, invite.version)
            except BadEvent as error:
                raise InvalidParam(f"invite_room_state.{index}: {error}") from error
            if event.room_id != invite.room_id or event.state_key is None:
                raise InvalidParam(f"invite_room_state.{index}: is no state of the room")
            events.append(event)
        if not any(event.type == CREATE for event in events):
            raise InvalidParam("invite_room_state: has no m.room.create event")
        for index, outcome in enumerate(await self.keyring.verify_events(events)):
            if isinstance(outcome, Verdict):
                raise InvalidParam(f"invite_room_state.{index}: {outcome.reason}")
            events[index] = outcome.event
        return events


def _encoded(stripped: list[dict[str, Any]]) -> bytes:
    """Return stripped state as it is stored. Raises `InvalidParam`, `TooLarge`."""
    try:
        encoded = orjson.dumps(stripped)
    except orjson.JSONEncodeError as error:
        raise InvalidParam("invite_room_state: holds what clients cannot read") from error
    if len(encoded) > MOST_BYTES_TOLD:
        raise TooLarge(f"invite_room_state: has more than {MOST_BYTES_TOLD} bytes")
    return encoded


def _is_stripped_state(entry: object) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("content"), dict)
        and all(isinstance(entry.get(name), str) for name in ("type", "state_key", "sender"))
    )


def _strip(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: entry[name] for name in ("content", "sender", "state_key", "type")}
