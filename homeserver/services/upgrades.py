"""Replacing a room by one of another version: https://spec.matrix.org/v1.19/client-server-api/#room-upgrades."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from federation.core.auth.selection import CREATE, POWER_LEVELS
from federation.core.events.content import JoinRule, Membership, PowerLevels, creators_of, join_rule_of, level_of
from federation.core.events.draft import Draft
from federation.core.ids import EventID, RoomID, UserID
from federation.core.room_versions import RoomVersion
from homeserver.errors import Forbidden, MatrixError, UserSuspended
from homeserver.model.accounts import Requester
from homeserver.model.events import Event
from homeserver.model.nids import RoomNid
from homeserver.services import access
from homeserver.services.aliases import CANONICAL_ALIAS, without_aliases
from homeserver.services.policy.asking import PolicedWrites
from homeserver.services.restricted_joins import is_restricted
from homeserver.services.room_views import SPACE
from homeserver.services.rooms import ABOVE_ADMINISTRATORS, ADMINISTRATOR, begin, check_creators, new_room_id
from homeserver.services.successions import Successions
from homeserver.services.timeline import MEMBER, Timeline, Turn
from homeserver.storage import aliases, memberships, rooms, spaces
from homeserver.storage.database import Database, Write

log = structlog.get_logger()

TOMBSTONE = "m.room.tombstone"
TRANSFERRED = (
    "m.room.server_acl", "m.room.encryption", "m.room.name", "m.room.avatar", "m.room.topic", "m.room.guest_access",
    "m.room.history_visibility", "m.room.join_rules",
)  # fmt: skip
"""State that goes into the new room as it is, besides power levels, aliases, bans, and the rooms in a space."""
BANS_IN_A_WRITE = 500
_NAMED = ("users_default", "events_default", "state_default", "ban", "redact", "kick", "invite")
_TABLES = ("users", "events", "notifications")

Ban = tuple[str, str | None]
"""Who is banned, and why."""


@dataclass(frozen=True, slots=True)
class Upgrades:
    """Upgrades rooms."""

    db: Database
    policed: PolicedWrites
    timeline: Timeline
    successions: Successions

    async def upgrade(
        self, who: Requester, room_id: RoomID, version: RoomVersion, additional_creators: Sequence[str]
    ) -> RoomID:
        """Make a new room that continues an old one, and close that; return the new room's ID.

        `additional_creators` count only where the new version has them. Raises `Forbidden` unless the user may send
        tombstones, and `BadJson` for creators that are no users.
        """
        if who.suspended:
            raise UserSuspended("Your account is suspended")
        further = list(additional_creators) if version.creators_have_all_power else []
        check_creators(further, "additional_creators")
        new_id = new_room_id(self.timeline, version)

        def write(tx: Write) -> tuple[Turn, list[Ban]]:
            old = self.timeline.turn(tx, access.joined_room(tx.conn, self.timeline.names, who.user, room_id))
            levels = self.timeline.power_levels(old)
            if levels.user_level(who.user_id) < levels.event_level(TOMBSTONE, is_state=True):
                raise Forbidden("You may not upgrade this room")
            new = self._replace(old, who.user_id, version, further, new_id)
            self._furnish(old, new, who.user_id)
            bans = self._bans(old)
            self._ban(new, who.user_id, bans[:BANS_IN_A_WRITE])
            self._settle_levels(new, who.user_id, levels)
            self._close(old, who.user_id)
            self.successions.follow(new, who.user)
            return new, bans[BANS_IN_A_WRITE:]

        new, bans = await self.policed.write(write)
        for start in range(0, len(bans), BANS_IN_A_WRITE):
            part = bans[start : start + BANS_IN_A_WRITE]
            await self.db.write(partial(self._ban_more, new.room.nid, who.user_id, part))
        return new.room.room_id

    def _replace(
        self, old: Turn, sender: UserID, version: RoomVersion, further: list[str], room_id: RoomID | None
    ) -> Turn:
        """Make the new room and put the tombstone on the old one, each naming the other."""
        if room_id is not None:
            last = self._entomb(old, sender, room_id)
            return begin(self.timeline, old.tx, sender, version, self._creation(old, last, further), room_id)
        # The new room's ID follows from its first event, so that cannot name the tombstone.
        last = self.timeline.events.by_nid(old.tx.conn, max(old.room.extremities)).event_id
        new = begin(self.timeline, old.tx, sender, version, self._creation(old, last, further), None)
        self._entomb(old, sender, new.room.room_id)
        return new

    def _entomb(self, old: Turn, sender: UserID, new: RoomID) -> EventID:
        content = {"body": "This room has been replaced", "replacement_room": new}
        return self.timeline.append(old, Draft(old.room.room_id, TOMBSTONE, sender, content, "")).event_id

    def _creation(self, old: Turn, last: EventID, further: list[str]) -> dict[str, Any]:
        create = self.timeline.entry(old, *CREATE)
        assert create is not None
        content = {name: create.content[name] for name in ("type", "m.federate") if name in create.content}
        content["predecessor"] = {"room_id": old.room.room_id, "event_id": last}
        if further:
            content["additional_creators"] = further
        return content

    def _furnish(self, old: Turn, new: Turn, sender: UserID) -> None:
        """Bring state, aliases and publication from the old room into the new one."""
        # Until all is in place the upgrader may do everything.
        self._set(new, sender, *POWER_LEVELS, self._levels(old, new, sender, raised=True))
        for event in self._transferred(old):
            content = _fitting(event, new.room.version)
            self._set(new, sender, event.type, event.state_key or "", content)
        self._move_aliases(old, new, sender)
        conn = old.tx.conn
        if rooms.is_published(conn, old.room.nid):
            rooms.publish(old.tx, old.room.nid, False)
            rooms.publish(old.tx, new.room.nid, True)

    def _set(self, turn: Turn, sender: UserID, event_type: str, state_key: str, content: Mapping[str, Any]) -> None:
        self.timeline.append(turn, Draft(turn.room.room_id, event_type, sender, content, state_key))

    def _transferred(self, old: Turn) -> list[Event]:
        conn = old.tx.conn
        slots = list(self.timeline.names.slots(conn, [(each, "") for each in TRANSFERRED]).values())
        create = self.timeline.entry(old, *CREATE)
        if create is not None and create.content.get("type") == SPACE:
            slots += spaces.child_slots(conn)
        nids = [nid for slot in slots if (nid := old.state.get(slot)) is not None]
        found = self.timeline.events.by_nids(conn, nids)
        return [found[nid] for nid in nids if found[nid].content]

    def _move_aliases(self, old: Turn, new: Turn, sender: UserID) -> None:
        moved = set(aliases.of_room(old.tx.conn, old.room.nid))
        aliases.move(old.tx, old.room.nid, new.room.nid)
        standing = self.timeline.entry(old, CANONICAL_ALIAS)
        left = without_aliases(standing.content, moved) if standing is not None else None
        if standing is None or left is None:
            return
        named = standing.content.get("alt_aliases")
        content: dict[str, Any] = {}
        if standing.content.get("alias") in moved:
            content["alias"] = standing.content["alias"]
        if isinstance(named, list) and (others := [alias for alias in named if alias in moved]):
            content["alt_aliases"] = others
        self._set(new, sender, CANONICAL_ALIAS, "", content)
        self._try(old, sender, CANONICAL_ALIAS, "", left)

    def _try(self, turn: Turn, sender: UserID, event_type: str, state_key: str, content: Mapping[str, Any]) -> None:
        """Set state that need not be set for the upgrade to be one."""
        try:
            self._set(turn, sender, event_type, state_key, content)
        except MatrixError as error:
            log.info("upgrade_left_out", room_id=turn.room.room_id, type=event_type, reason=error.message)

    def _bans(self, old: Turn) -> list[Ban]:
        conn = old.tx.conn
        banned = memberships.members(conn, old.room.nid, [Membership.BAN])
        events = self.timeline.events.by_nids(conn, [member.event for member in banned])
        reasons = {member.user_id: events[member.event].content.get("reason") for member in banned}
        return [(user_id, reason if isinstance(reason, str) else None) for user_id, reason in reasons.items()]

    def _ban(self, new: Turn, sender: UserID, bans: Sequence[Ban]) -> None:
        for user_id, reason in bans:
            content = {"membership": "ban"} if reason is None else {"membership": "ban", "reason": reason}
            self._try(new, sender, MEMBER, user_id, content)

    def _ban_more(self, room: RoomNid, sender: UserID, bans: Sequence[Ban], tx: Write) -> None:
        self._ban(self.timeline.turn(tx, room), sender, bans)

    # Power levels

    def _levels(self, old: Turn, new: Turn, sender: UserID, *, raised: bool) -> dict[str, Any]:
        """Return the old room's power levels in the terms of the new room's version.

        With `raised` the upgrader has enough to set all state.
        """
        create = self.timeline.entry(new, *CREATE)
        assert create is not None
        content = _converted(self.timeline.power_levels(old), new.room.version, creators_of(create.pdu))
        if raised and not new.room.version.creators_have_all_power:
            users = content["users"]
            enough = _highest(content)
            if users.get(sender, content.get("users_default", 0)) < enough:
                users[sender] = enough
        return content

    def _settle_levels(self, new: Turn, sender: UserID, levels: PowerLevels) -> None:
        create = self.timeline.entry(new, *CREATE)
        assert create is not None
        self._set(new, sender, *POWER_LEVELS, _converted(levels, new.room.version, creators_of(create.pdu)))

    def _close(self, old: Turn, sender: UserID) -> None:
        """Let only moderators speak and invite in the old room, if the upgrader may."""
        standing = self.timeline.entry(old, *POWER_LEVELS)
        if standing is None:
            return
        levels = self.timeline.power_levels(old)
        closed = max(50, levels.users_default + 1)
        content = dict(standing.content)
        content["events_default"] = max(closed, levels.events_default)
        content["invite"] = max(closed, levels.invite)
        self._try(old, sender, *POWER_LEVELS, content)


def _fitting(event: Event, version: RoomVersion) -> Mapping[str, Any]:
    """Return what a state event says, in a form that does not lock everyone out of a room of that version."""
    content: Mapping[str, Any] = event.content
    if event.type == "m.room.join_rules":
        rule = join_rule_of(content)
        knocks = rule in (JoinRule.KNOCK, JoinRule.KNOCK_RESTRICTED)
        restricted = rule in (JoinRule.RESTRICTED, JoinRule.KNOCK_RESTRICTED)
        if (restricted and not is_restricted(rule, version)) or (knocks and not version.knocking):
            return {"join_rule": str(JoinRule.INVITE)}
    if version.strict_canonical_json and not event.version.strict_canonical_json:
        whole: Mapping[str, Any] = _without_floats(content)
        return whole
    return content


def _without_floats(value: Any) -> Any:
    """Return JSON with its fractions cut off: sizes of pictures, in old rooms."""
    if isinstance(value, dict):
        return {name: _without_floats(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_without_floats(inner) for inner in value]
    return int(value) if isinstance(value, float) else value


def _converted(levels: PowerLevels, version: RoomVersion, creators: frozenset[UserID]) -> dict[str, Any]:
    """Return power levels in the terms of another room version: integers, and creators where that version has them."""
    old = levels.content or {}
    content: dict[str, Any] = {
        name: level for name, value in old.items() if (level := level_of(value, levels.version)) is not None
    }
    for table in _TABLES:
        entries = old.get(table)
        content[table] = {
            name: level
            for name, value in (entries.items() if isinstance(entries, dict) else ())
            if (level := level_of(value, levels.version)) is not None
        }
    users, events = content["users"], content["events"]
    if version.creators_have_all_power:
        for creator in creators:
            users.pop(creator, None)
        state_default = content.get("state_default", 50)
        if events.get(TOMBSTONE, state_default) <= state_default or events.get(TOMBSTONE) == ADMINISTRATOR:
            events[TOMBSTONE] = max(ABOVE_ADMINISTRATORS, state_default + 1)
    elif levels.version.creators_have_all_power or levels.content is None:
        # They had all power without being listed.
        users.update(dict.fromkeys(levels.creators, _highest(content)))
    return content


def _highest(levels: Mapping[str, Any]) -> int:
    named: list[int] = [levels[name] for name in _NAMED if name in levels]
    events: Mapping[str, int] = levels["events"]
    return max(ADMINISTRATOR, *named, *events.values())
