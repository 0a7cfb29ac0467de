"""Who lets users of other servers into rooms that members of certain other rooms may join.

Source: https://spec.matrix.org/v1.19/server-server-api/#restricted-rooms
"""

from dataclasses import dataclass

from sqlalchemy import Connection

from federation.core.auth.selection import JOIN_RULES
from federation.core.events.content import JoinRule, PowerLevels, allowed_rooms, join_rule_of
from federation.core.ids import RoomID, ServerName, UserID, server_of
from federation.core.room_versions import RoomVersion
from homeserver.errors import Forbidden, UnableToAuthoriseJoin, UnableToGrantJoin
from homeserver.model.rooms import Room
from homeserver.services.power import levels_in
from homeserver.services.server_access import ServerAccess
from homeserver.storage import memberships

NONE_MET = "You are in none of the rooms whose members may join this one"
_NEEDS_NOBODY = ("join", "invite", "ban")


def is_restricted(rule: JoinRule, version: RoomVersion) -> bool:
    """Return whether members of other rooms may join by this rule, in a room of this version."""
    if rule is JoinRule.KNOCK_RESTRICTED:
        return version.knock_restricted
    return rule is JoinRule.RESTRICTED and version.restricted_joins


@dataclass(frozen=True, slots=True)
class RestrictedJoins:
    """Decides whether this server can let somebody in."""

    access: ServerAccess

    def voucher(self, conn: Connection, room: Room, user_id: UserID) -> UserID | None:
        """Return who lets a user into a room that this server is in; None if nobody needs to.

        Raises `Forbidden` for one who meets no condition, `UnableToAuthoriseJoin` if nobody here can know that, and
        `UnableToGrantJoin` if nobody of this server may let them in.
        """
        rules = self.access.entry(conn, room, *JOIN_RULES)
        if rules is None or not is_restricted(join_rule_of(rules.content), room.version):
            return None
        own = self.access.entry(conn, room, "m.room.member", user_id)
        if own is not None and own.content.get("membership") in _NEEDS_NOBODY:
            # Who is banned hears that from the rules.
            return None
        self._check_conditions(conn, user_id, allowed_rooms(rules.content))
        levels = levels_in(conn, self.access.names, self.access.events, self.access.snapshots, room)
        voucher = who_may_invite(conn, room, levels, self.access.server_name) if levels is not None else None
        if voucher is None:
            raise UnableToGrantJoin("Nobody of this server who is in the room may let you in")
        return voucher

    def _check_conditions(self, conn: Connection, user_id: UserID, allowed: tuple[RoomID, ...]) -> None:
        nids = self.access.names.room_nids(conn, allowed)
        # What became of a room after the last one of us had left it, nobody here knows.
        known = {
            room_id: nid
            for room_id, nid in nids.items()
            if self.access.server_name in self.access.room_servers.servers(conn, nid)
        }
        user = self.access.names.user(conn, user_id)
        if user is not None and memberships.has_joined_any(conn, user, known.values()):
            return
        if known.keys() >= set(allowed):
            raise Forbidden(NONE_MET)
        raise UnableToAuthoriseJoin("This server is not in all of the rooms whose members may join")


def who_may_invite(conn: Connection, room: Room, levels: PowerLevels, server_name: ServerName) -> UserID | None:
    """Return a user of a server who is in a room and may invite, the mightiest first."""
    listed = levels.content.get("users") if levels.content is not None else None
    known = {*levels.creators, *(listed if isinstance(listed, dict) else ())}
    local = [user_id for user_id in known if user_id.endswith(f":{server_name}")]
    local.sort(key=lambda user_id: (-levels.user_level(user_id), user_id))
    able = [UserID(user_id) for user_id in local if levels.user_level(user_id) >= levels.invite]
    joined = memberships.joined_of(conn, room.nid, able)
    for user_id in able:
        if user_id in joined and server_of(user_id) == server_name:
            return user_id
    if levels.users_default < levels.invite:
        return None
    # At most as many as are listed have less than the default.
    some = memberships.some_joined_from(conn, room.nid, server_name, limit=len(local) + 1)
    return next((user_id for user_id in some if levels.user_level(user_id) >= levels.invite), None)
