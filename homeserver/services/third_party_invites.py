"""Invites of people who were known by an e-mail address or a telephone number, and now are by their user ID.

An identity server has signed which user that is; the room's `m.room.third_party_invite` says whose signature counts,
and the authorisation rules check it. So nothing is believed here that anybody else says.

Source: https://spec.matrix.org/v1.19/server-server-api/#third-party-invites
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from sqlalchemy import Connection

from federation.core.events.draft import Draft
from federation.core.ids import RoomID, ServerName, UserID, server_of
from federation.matrix.client import FederationClient
from federation.matrix.errors import FederationError
from homeserver.errors import Forbidden, MatrixError
from homeserver.model.rooms import Room
from homeserver.services import member_events
from homeserver.services.policy.asking import PolicedWrites
from homeserver.services.remote_invites import RemoteInvites
from homeserver.services.server_access import ServerAccess
from homeserver.services.timeline import MEMBER, Timeline
from homeserver.storage.database import Database, Write

log = structlog.get_logger()

THIRD_PARTY_INVITE = "m.room.third_party_invite"
AT_ONCE = 4
"""Servers that are asked at the same time. Anybody can make us ask one: identity servers sign no requests."""


@dataclass(frozen=True, slots=True)
class Bound:
    """An invite of somebody whose user ID is known now."""

    room_id: RoomID
    sender: UserID
    """Who invited."""
    signed: Mapping[str, Any]
    """What the identity server has signed: `mxid`, `token`, `signatures`."""

    @property
    def token(self) -> str:
        """What names the room's `m.room.third_party_invite`; empty if it is not text."""
        token = self.signed.get("token")
        return token if isinstance(token, str) else ""


@dataclass(frozen=True, slots=True)
class ThirdPartyInvites:
    """Makes invites of users out of invites of addresses."""

    db: Database
    policed: PolicedWrites
    timeline: Timeline
    access: ServerAccess
    remote_invites: RemoteInvites
    client: FederationClient
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def exchange(self, origin: ServerName, bound: Bound, target: UserID) -> None:
        """Invite a user of `origin` in the name of the user of ours who invited the address.

        Raises `NotFound` or `Forbidden`, and what `RemoteInvites.send` raises.
        """
        if server_of(target) != origin:
            raise Forbidden("state_key: is not one of your server's users")
        if server_of(bound.sender) != self.access.server_name:
            raise Forbidden("sender: is not a user of this server")
        draft = await self.db.read(
            lambda conn: self._draft(conn, self.access.resident(conn, origin, bound.room_id), bound, target)
        )
        await self.remote_invites.send_draft(bound.room_id, target, draft)

    async def bound(self, target: UserID, invites: Sequence[Bound]) -> None:
        """Let a user of ours have the invites that were waiting for an address of theirs.

        An invite that comes to nothing is no reason to keep the others back. Raises `Forbidden` for a user who is not
        here, `InviteBlocked` for one who takes no invites.
        """
        await self.db.read(lambda conn: member_events.check_invitees(conn, self.timeline, [target]))
        await asyncio.gather(*(self._accept(target, each) for each in invites))

    async def _accept(self, target: UserID, bound: Bound) -> None:
        try:
            if not await self.policed.write(lambda tx: self._append(tx, target, bound)):
                await self._ask_to_invite(target, bound)
        except (MatrixError, FederationError) as error:
            log.info("third_party_invite_failed", room_id=bound.room_id, target=target, reason=str(error))

    def _append(self, tx: Write, target: UserID, bound: Bound) -> bool:
        """Invite the user in a room that this server is in; return whether it is."""
        room = self.timeline.names.room(tx.conn, bound.room_id)
        if room is None or self.access.server_name not in self.access.room_servers.servers(tx.conn, room):
            return False
        turn = self.timeline.turn(tx, room)
        self.timeline.append(turn, self._draft(tx.conn, turn.room, bound, target))
        return True

    async def _ask_to_invite(self, target: UserID, bound: Bound) -> None:
        event = {
            "type": MEMBER,
            "room_id": bound.room_id,
            "sender": bound.sender,
            "state_key": target,
            # The room knows a better name; this is what shows where it does not.
            "content": _content(bound, target),
        }
        server = server_of(bound.sender)
        if server == self.access.server_name:
            raise Forbidden("Nobody of this server is in the room any more")
        async with self._slots:
            await self.client.exchange_third_party_invite(server, bound.room_id, event)

    def _draft(self, conn: Connection, room: Room, bound: Bound, target: UserID) -> Draft:
        """Return the invite, with the name that the room has for it. Raises `Forbidden` if nobody was invited so."""
        invite = self.access.entry(conn, room, THIRD_PARTY_INVITE, bound.token)
        if invite is None or invite.sender != bound.sender:
            raise Forbidden("The room has no such invite")
        name = invite.content.get("display_name")
        content = _content(bound, name if isinstance(name, str) else target)
        return Draft(bound.room_id, MEMBER, bound.sender, content, target)


def _content(bound: Bound, display_name: str) -> dict[str, Any]:
    return {
        "membership": "invite",
        "third_party_invite": {"display_name": display_name, "signed": bound.signed},
    }
