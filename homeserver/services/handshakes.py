"""Taking in the events with which users of other servers come, go and knock: the second half of the handshakes.

Sources: https://spec.matrix.org/v1.19/server-server-api/#joining-rooms and the sections after it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from federation.core.auth.receipt import Verdict, VerdictKind
from federation.core.errors import InvalidIdentifier
from federation.core.events.content import Membership
from federation.core.events.format import MAX_PREV_EVENTS
from federation.core.events.pdu import Pdu
from federation.core.ids import EventID, RoomID, ServerName, parse_user_id, server_of
from federation.core.signing import SigningKey, sign_event
from federation.matrix.keyring import Keyring
from homeserver.errors import Forbidden, InvalidParam
from homeserver.model.rooms import Room
from homeserver.services import member_pdus
from homeserver.services.intake import Gap, Intake
from homeserver.services.member_events import VOUCHER
from homeserver.services.policy.asking import PolicedWrites
from homeserver.services.restricted_joins import RestrictedJoins
from homeserver.services.room_tellings import Joined, RoomTellings
from homeserver.services.server_access import ServerAccess
from homeserver.storage.database import Database, Write


@dataclass(frozen=True, slots=True)
class Handshakes:
    """Takes membership events of other servers' users into the rooms that this server is in.

    Every method raises `NotFound` for a room that nobody of this server is in, `Forbidden` where room or rules do not
    allow it, and `InvalidParam` or `TooLarge` for an event that is not what it must be.
    """

    db: Database
    policed: PolicedWrites
    key: SigningKey
    keyring: Keyring
    intake: Intake
    access: ServerAccess
    restricted_joins: RestrictedJoins
    tellings: RoomTellings

    async def join(
        self, origin: ServerName, room_id: RoomID, event_id: EventID, fields: Mapping[str, Any], *, omit_members: bool
    ) -> Joined:
        """Let a user in; return the room as it was before.

        Raises `UnableToAuthoriseJoin` or `UnableToGrantJoin`, too, for a join that somebody here should have allowed.
        """

        def prepare(conn: Connection) -> tuple[Room, Pdu, frozenset[ServerName]]:
            room, pdu = self._read(conn, origin, room_id, event_id, fields, Membership.JOIN)
            servers = self.access.room_servers.servers(conn, room.nid)
            return room, self._vouch(conn, room, pdu), servers

        room, pdu, servers = await self.db.read(prepare)
        await self._take(origin, room, pdu, is_new=origin not in servers)
        if omit_members:
            return await self.db.read(lambda conn: self.tellings.joined_without_members(conn, event_id, servers))
        return await self.db.read(lambda conn: self.tellings.joined(conn, event_id))

    async def leave(self, origin: ServerName, room_id: RoomID, event_id: EventID, fields: Mapping[str, Any]) -> None:
        """Let a user leave, turn down an invite or take back a knock."""
        room, pdu = await self.db.read(
            lambda conn: self._read(conn, origin, room_id, event_id, fields, Membership.LEAVE)
        )
        await self._take(origin, room, pdu)

    async def knock(
        self, origin: ServerName, room_id: RoomID, event_id: EventID, fields: Mapping[str, Any]
    ) -> list[bytes]:
        """Let a user knock; return what they are told of the room, events as servers exchange them."""
        room, pdu = await self.db.read(
            lambda conn: self._read(conn, origin, room_id, event_id, fields, Membership.KNOCK)
        )
        await self._take(origin, room, pdu)
        return await self.db.read(lambda conn: self.tellings.stripped(conn, room))

    def _read(
        self,
        conn: Connection,
        origin: ServerName,
        room_id: RoomID,
        event_id: EventID,
        fields: Mapping[str, Any],
        membership: Membership,
    ) -> tuple[Room, Pdu]:
        room = self.access.resident(conn, origin, room_id)
        pdu = member_pdus.read(
            fields, room.version, origin=origin, room_id=room_id, event_id=event_id, membership=membership
        )
        if pdu.state_key != pdu.sender:
            raise InvalidParam("The event is about somebody else than its sender")
        return room, pdu

    def _vouch(self, conn: Connection, room: Room, pdu: Pdu) -> Pdu:
        """Return a join, signed by this server if it says that one of its users lets the new one in."""
        voucher = pdu.content.get(VOUCHER)
        if not isinstance(voucher, str):
            if self.restricted_joins.voucher(conn, room, pdu.sender) is not None:
                raise Forbidden("The join does not say who lets the user in")
            return pdu
        try:
            if server_of(parse_user_id(voucher)) != self.access.server_name:
                # That server has signed, or nobody will take the event.
                return pdu
        except InvalidIdentifier as error:
            raise InvalidParam(f"{VOUCHER}: is no user ID") from error
        self.restricted_joins.voucher(conn, room, pdu.sender)
        signed = sign_event(pdu.fields, room.version, self.access.server_name, self.key)
        return Pdu.trusted(signed, room.version, pdu.event_id)

    async def _take(self, origin: ServerName, room: Room, pdu: Pdu, *, is_new: bool = False) -> None:
        received = await member_pdus.verified(self.keyring, pdu)

        def write(tx: Write) -> Verdict:
            verdict = self.intake.take(tx, room.nid, received, relay_except=origin)
            if is_new and verdict.kind is VerdictKind.ACCEPTED:
                self._tell_the_rest(tx, room, pdu, origin)
            return verdict

        try:
            await self.db.read(lambda conn: self.intake.prepare(conn, room.nid, pdu.prev_events))
            verdict = await self.policed.write(write, [pdu])
        except Gap as gap:
            raise InvalidParam("The event cites others that this server does not have") from gap
        if verdict.kind is not VerdictKind.ACCEPTED:
            raise Forbidden(f"The room does not allow it: {verdict.reason}")

    def _tell_the_rest(self, tx: Write, room: Room, joined: Pdu, server: ServerName) -> None:
        """Send a server that is new in a room what was sent there between the halves of its handshake.

        The join does not build on that, and when it was sent the server was not there: it would learn of it only by
        what is sent next.
        """
        timeline = self.intake.timeline
        heads = sorted(timeline.turn(tx, room.nid).room.extremities, reverse=True)[:MAX_PREV_EVENTS]
        for event in self.access.events.by_nids(tx.conn, heads).values():
            if event.event_id != joined.event_id:
                timeline.deliver(tx, event, frozenset({server}))
