"""Coming and going: https://spec.matrix.org/v1.19/client-server-api/#room-membership."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from federation.core.events.content import Membership
from federation.core.events.draft import Draft
from federation.core.ids import RoomAlias, RoomID, UserID, server_of
from homeserver.errors import BadState, Forbidden, MatrixError, NotFound, UnableToAuthoriseJoin, UserSuspended
from homeserver.model.accounts import Requester
from homeserver.model.nids import RoomNid, UserNid
from homeserver.model.profiles import AVATAR_URL, DISPLAY_NAME
from homeserver.model.rooms import RoomMembership
from homeserver.services import access, member_events
from homeserver.services.access import NOT_IN_ROOM
from homeserver.services.aliases import Aliases
from homeserver.services.joining import Joining
from homeserver.services.local_joins import LocalJoins, NotHere
from homeserver.services.policy.asking import PolicedWrites
from homeserver.services.policy.recommendations import Gathered
from homeserver.services.remote_invites import RemoteInvites
from homeserver.services.timeline import MEMBER, Timeline, Turn
from homeserver.storage import memberships
from homeserver.storage.database import Database, Write

log = structlog.get_logger()

ROOMS_IN_A_WRITE = 50
"""Rooms that one write changes when a user changes in all of theirs; others' writes go in between."""
AT_ONCE = 5
"""Rooms of other servers that a user who ends their account leaves at the same time."""
_PRESENT = (Membership.JOIN, Membership.INVITE, Membership.KNOCK)
_PASSING = (member_events.VOUCHER, "reason", "is_direct", "third_party_invite")
"""What a membership says of how it came about, and not of the member."""


@dataclass(frozen=True, slots=True)
class Memberships:
    """Lets users join, leave, invite, knock, and remove others."""

    db: Database
    policed: PolicedWrites
    timeline: Timeline
    aliases: Aliases
    local: LocalJoins
    joining: Joining | None
    """Reaches the rooms of other servers; None if this server speaks with none."""
    invites: RemoteInvites | None
    """Invites users of other servers; None likewise."""

    async def join(
        self, who: Requester, room: RoomID | RoomAlias, reason: str | None = None, via: Sequence[str] = ()
    ) -> RoomID:
        """Join a room, through the servers in `via` if this one is not in it; return its ID.

        Who is in it already stays there, and nothing is sent. Raises `NotFound` if no such room is known, `Forbidden`
        or `UnableToAuthoriseJoin` if it does not let the user in, and what `Joining.join` raises.
        """
        _check_suspended(who)
        room_id, servers = await self._find(room, via)
        try:
            await self.local.join(who.user, who.user_id, room_id, reason)
        except NotHere as error:
            if self.joining is None:
                raise NotFound(f"There is no room {room} here") from error
            await self.joining.join(who.user, who.user_id, room_id, servers, reason)
        except UnableToAuthoriseJoin as refusal:
            # Somebody of another server may let them in, if there is one.
            if self.joining is None:
                raise
            try:
                await self.joining.join(who.user, who.user_id, room_id, servers, reason)
            except NotFound:
                raise refusal from None
        return room_id

    async def knock(
        self, who: Requester, room: RoomID | RoomAlias, reason: str | None = None, via: Sequence[str] = ()
    ) -> RoomID:
        """Ask to be invited to a room; return its ID. Raises `NotFound`, `Forbidden`, what `Joining.knock` raises."""
        _check_suspended(who)
        room_id, servers = await self._find(room, via)

        def write(tx: Write) -> None:
            self._append(self.local.turn(tx, room_id), who.user_id, who.user_id, Membership.KNOCK, reason)

        try:
            await self.policed.write(write)
        except NotHere as error:
            if self.joining is None:
                raise NotFound(f"There is no room {room} here") from error
            await self.joining.knock(who.user, who.user_id, room_id, servers, reason)
        return room_id

    async def invite(self, who: Requester, room_id: RoomID, target: UserID, reason: str | None = None) -> None:
        """Invite a user.

        Raises `Forbidden`, `NotFound` if there is no such user here, `InviteBlocked`, and what `RemoteInvites.send`
        raises.
        """
        _check_suspended(who)
        if self.invites is not None and server_of(target) != self.timeline.server_name:
            await self.invites.send(who, room_id, target, {} if reason is None else {"reason": reason})
            return

        def write(tx: Write) -> None:
            turn = self._joined(tx, who, room_id)
            self._append(turn, who.user_id, target, Membership.INVITE, reason)

        await self.policed.write(write)

    async def leave(self, who: Requester, room_id: RoomID, reason: str | None = None) -> None:
        """Leave a room, turn down an invite or take back a knock. Who has left already may say so again.

        Raises `Forbidden` for a room that the user has nothing to do with.
        """

        def write(tx: Write) -> None:
            standing = access.membership(tx.conn, self.timeline.names, who.user, room_id)
            if standing is None:
                raise NotHere(room_id)
            if standing.membership is not Membership.LEAVE:
                turn = self.local.turn(tx, room_id)
                self._append(turn, who.user_id, who.user_id, Membership.LEAVE, reason)

        try:
            await self.policed.write(write)
        except NotHere as error:
            if self.joining is None:
                raise Forbidden(NOT_IN_ROOM) from error
            await self.joining.leave(who.user, who.user_id, room_id, reason)

    async def kick(self, who: Requester, room_id: RoomID, target: UserID, reason: str | None = None) -> None:
        """Remove a user who is in the room, invited or knocking. Raises `Forbidden`."""
        _check_suspended(who)

        def write(tx: Write) -> None:
            turn = self._joined(tx, who, room_id)
            standing = self._standing(turn, target)
            # The rules would let a kick lift a ban: https://spec.matrix.org/v1.19/client-server-api/#leaving-rooms
            if standing is None or standing.membership not in _PRESENT:
                raise Forbidden(f"{target} is not in this room")
            self._append(turn, who.user_id, target, Membership.LEAVE, reason)

        await self.policed.write(write)

    async def ban(self, who: Requester, room_id: RoomID, target: UserID, reason: str | None = None) -> None:
        """Ban a user, whether they are in the room or not. Raises `Forbidden`."""
        _check_suspended(who)

        def write(tx: Write) -> None:
            turn = self._joined(tx, who, room_id)
            self._append(turn, who.user_id, target, Membership.BAN, reason)

        await self.policed.write(write)

    async def unban(self, who: Requester, room_id: RoomID, target: UserID, reason: str | None = None) -> None:
        """Lift a ban. Raises `Forbidden`, and `BadState` if the user is not banned."""
        _check_suspended(who)

        def write(tx: Write) -> None:
            turn = self._joined(tx, who, room_id)
            standing = self._standing(turn, target)
            if standing is None or standing.membership is not Membership.BAN:
                raise BadState(f"{target} is not banned from this room")
            self._append(turn, who.user_id, target, Membership.LEAVE, reason)

        await self.policed.write(write)

    async def forget(self, who: Requester, room_id: RoomID) -> None:
        """Forget a room that the user has left.

        Raises `MatrixError` if they have not, `Forbidden` if they never had to do with it.
        """

        def write(tx: Write) -> None:
            standing = access.membership(tx.conn, self.timeline.names, who.user, room_id)
            if standing is None:
                raise Forbidden(NOT_IN_ROOM)
            if standing.membership in _PRESENT:
                raise MatrixError("You must leave the room before you forget it")
            memberships.forget(tx, standing.room, who.user)

        await self.db.write(write)

    # One user in all of their rooms

    async def update_profile(self, user: UserNid, user_id: UserID) -> None:
        """Carry a user's new display name and avatar into the rooms that they have joined."""
        rooms = await self.db.read(lambda conn: memberships.joined_rooms(conn, user))
        for part in _parts(rooms):

            def write(tx: Write, part: list[RoomNid] = part) -> None:
                names, unsigned = member_events.names_of(tx.conn, user), Gathered()
                for room in part:
                    with unsigned:
                        self._rename(self.timeline.turn(tx, room), user_id, names)
                unsigned.check()

            await self.policed.write(write)

    def _rename(self, turn: Turn, user_id: UserID, names: Mapping[str, str]) -> None:
        standing = self.timeline.entry(turn, MEMBER, user_id)
        if standing is None or standing.content.get("membership") != "join":
            return
        content = {name: value for name, value in standing.content.items() if name not in _PASSING}
        for name in (DISPLAY_NAME, AVATAR_URL):
            content.pop(name, None)
        content.update(names)
        if any(content.get(name) != standing.content.get(name) for name in (DISPLAY_NAME, AVATAR_URL)):
            draft = Draft(turn.room.room_id, MEMBER, user_id, content, user_id)
            self._try(turn, draft)

    async def leave_all(self, user: UserNid, user_id: UserID) -> None:
        """Leave all rooms, turn down all invites and take back all knocks, as an account ends."""
        found = await self.db.read(lambda conn: memberships.of_user(conn, user, _PRESENT))
        elsewhere: list[RoomID] = []
        for part in _parts([each.room for each in found]):

            def write(tx: Write, part: list[RoomNid] = part) -> list[RoomID]:
                outside, unsigned = [], Gathered()
                for room in part:
                    if not self.local.is_here(tx.conn, room):
                        outside.append(room)
                        continue
                    turn = self.timeline.turn(tx, room)
                    standing = memberships.of_user_in(tx.conn, room, user)
                    if standing is not None and standing.membership in _PRESENT:
                        with unsigned:
                            self._try(turn, Draft(turn.room.room_id, MEMBER, user_id, {"membership": "leave"}, user_id))
                unsigned.check()
                return list(self.timeline.names.room_ids(tx.conn, outside).values())

            elsewhere += await self.policed.write(write)
        if self.joining is not None:
            slots = asyncio.Semaphore(AT_ONCE)
            await asyncio.gather(*(self._leave_elsewhere(slots, user, user_id, room_id) for room_id in elsewhere))

    async def _leave_elsewhere(self, slots: asyncio.Semaphore, user: UserNid, user_id: UserID, room_id: RoomID) -> None:
        assert self.joining is not None
        async with slots:
            try:
                await self.joining.leave(user, user_id, room_id, None)
            except MatrixError as error:
                log.warning("member_event_refused", room_id=room_id, user_id=user_id, reason=error.message)

    def _try(self, turn: Turn, draft: Draft) -> None:
        """Append an event; one room that does not allow it is no reason to stop in the others."""
        try:
            self.timeline.append(turn, draft)
        except MatrixError as error:
            log.warning("member_event_refused", room_id=turn.room.room_id, user_id=draft.sender, reason=error.message)

    # The common ways

    def _append(self, turn: Turn, sender: UserID, target: UserID, membership: Membership, reason: str | None) -> None:
        member_events.append(self.timeline, turn, sender, target, membership, reason=reason)

    async def _find(self, room: RoomID | RoomAlias, via: Sequence[str]) -> tuple[RoomID, list[str]]:
        """Return the ID of a room, and which servers to reach it through. Raises what `Aliases.resolve` raises."""
        if not room.startswith("#"):
            return RoomID(room), list(via)
        room_id, servers = await self.aliases.resolve(RoomAlias(room))
        return room_id, [*via, *servers]

    def _joined(self, tx: Write, who: Requester, room_id: RoomID) -> Turn:
        room = access.joined_room(tx.conn, self.timeline.names, who.user, room_id)
        return self.timeline.turn(tx, room)

    def _standing(self, turn: Turn, target: UserID) -> RoomMembership | None:
        user = self.timeline.names.user(turn.tx.conn, target)
        return memberships.of_user_in(turn.tx.conn, turn.room.nid, user) if user is not None else None


def _parts(rooms: list[RoomNid]) -> list[list[RoomNid]]:
    return [rooms[start : start + ROOMS_IN_A_WRITE] for start in range(0, len(rooms), ROOMS_IN_A_WRITE)]


def _check_suspended(who: Requester) -> None:
    # https://spec.matrix.org/v1.19/client-server-api/#account-suspension: leaving remains allowed.
    if who.suspended:
        raise UserSuspended("Your account is suspended")
