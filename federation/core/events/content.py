"""What the content of an event says, read field by field when it is asked for.

Events that the authorisation rules accept may still hold nonsense in fields that the rules never look at, so
a reader does not fail on one: it gives what the specification says of a missing field.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from typing import Any, Final

from federation.core.errors import InvalidIdentifier, Rejected
from federation.core.events.pdu import Pdu
from federation.core.ids import RoomID, UserID, parse_room_id
from federation.core.room_versions import RoomVersion

INFINITE_LEVEL: Final = 2**53
"""The power level of room creators since v12: above every integer that canonical JSON can hold."""

_string_level = re.compile(r"\s*[+-]?[0-9]+\s*").fullmatch


class Membership(StrEnum):
    """https://spec.matrix.org/v1.19/client-server-api/#room-membership."""

    INVITE = "invite"
    JOIN = "join"
    KNOCK = "knock"
    LEAVE = "leave"
    BAN = "ban"


class JoinRule(StrEnum):
    """https://spec.matrix.org/v1.19/client-server-api/#mroomjoin_rules."""

    PUBLIC = "public"
    KNOCK = "knock"
    INVITE = "invite"
    PRIVATE = "private"
    RESTRICTED = "restricted"
    KNOCK_RESTRICTED = "knock_restricted"


class HistoryVisibility(StrEnum):
    """https://spec.matrix.org/v1.19/client-server-api/#room-history-visibility."""

    INVITED = "invited"
    JOINED = "joined"
    SHARED = "shared"
    WORLD_READABLE = "world_readable"


_MEMBERSHIPS = {str(each): each for each in Membership}
_JOIN_RULES = {str(each): each for each in JoinRule}
_VISIBILITIES = {str(each): each for each in HistoryVisibility}


def membership_of(event: Pdu) -> Membership:
    """Return what an `m.room.member` event says; raise `Rejected` if that is nothing known, as rules do."""
    membership = event.content.get("membership")
    known = _MEMBERSHIPS.get(membership) if isinstance(membership, str) else None
    if known is None:
        raise Rejected("the membership is missing or unknown")
    return known


def join_rule_of(content: Mapping[str, Any] | None) -> JoinRule:
    """Return the join rule of an `m.room.join_rules` content; a room without one (None) is invite-only.

    An unknown rule lets no one in, invited or not, as does `private`.
    """
    if content is None:
        return JoinRule.INVITE
    rule = content.get("join_rule", JoinRule.INVITE)
    return _JOIN_RULES.get(rule, JoinRule.PRIVATE) if isinstance(rule, str) else JoinRule.PRIVATE


def allowed_rooms(content: Mapping[str, Any]) -> tuple[RoomID, ...]:
    """Return the rooms whose members may join by a restricted join rule, in the order of `allow`.

    https://spec.matrix.org/v1.19/client-server-api/#restricted-rooms; a condition that we cannot read is one
    that no one meets.
    """
    conditions = content.get("allow")
    rooms = []
    for condition in conditions if isinstance(conditions, list) else ():
        if not isinstance(condition, dict) or condition.get("type") != "m.room_membership":
            continue
        room_id = condition.get("room_id")
        try:
            rooms.append(parse_room_id(room_id if isinstance(room_id, str) else ""))
        except InvalidIdentifier:
            continue
    return tuple(rooms)


def history_visibility_of(content: Mapping[str, Any] | None) -> HistoryVisibility:
    """Return who may read a room's past; `shared` where the room does not say, or says it unreadably."""
    visibility = content.get("history_visibility") if content is not None else None
    shared = HistoryVisibility.SHARED
    return _VISIBILITIES.get(visibility, shared) if isinstance(visibility, str) else shared


def creators_of(create: Pdu) -> frozenset[UserID]:
    """Return the creators of a room, from its `m.room.create` event.

    Until v10 `content.creator`, since v11 the sender, since v12 the sender and `additional_creators`.
    """
    if create.version.creator_in_content:
        creator = create.content.get("creator")
        return frozenset({UserID(creator) if isinstance(creator, str) else create.sender})
    creators = {create.sender}
    if create.version.creators_have_all_power:
        additional = create.content.get("additional_creators")
        if isinstance(additional, list):
            creators.update(UserID(user_id) for user_id in additional if isinstance(user_id, str))
    return frozenset(creators)


def level_of(value: object, version: RoomVersion) -> int | None:
    """Return the power level that a JSON value stands for in a room version, or None if it stands for none.

    https://spec.matrix.org/v1.19/rooms/v1/#mroompower_levels-events-accept-values-as-strings (until v9) and
    https://spec.matrix.org/v1.19/rooms/v1/#mroompower_levels-events-accept-values-as-floats (until v5).
    """
    if type(value) is int:
        return value
    if version.string_power_levels and isinstance(value, str) and _string_level(value):
        try:
            return int(value)
        except ValueError:  # thousands of digits
            return None
    if version.float_power_levels and isinstance(value, float) and isfinite(value):
        return int(value)
    return None


@dataclass(frozen=True, slots=True)
class PowerLevels:
    """The power levels of a room: https://spec.matrix.org/v1.19/client-server-api/#mroompower_levels.

    Making one costs nothing; each question reads the entry that it is about.
    """

    content: Mapping[str, Any] | None
    version: RoomVersion
    creators: Collection[UserID]

    @classmethod
    def of(cls, content: Mapping[str, Any] | None, version: RoomVersion, creators: Collection[UserID]) -> "PowerLevels":
        """Return the levels by an `m.room.power_levels` content, or by none; `creators` by `creators_of`."""
        return cls(content, version, creators)

    def user_level(self, user_id: str) -> int:
        """Return the level of a user."""
        creator = user_id in self.creators
        if creator and self.version.creators_have_all_power:
            return INFINITE_LEVEL
        if self.content is None:
            return 100 if creator else 0
        own = self._entry("users", user_id)
        return own if own is not None else self.users_default

    def event_level(self, event_type: str, is_state: bool) -> int:
        """Return the level that it takes to send events of a type."""
        level = self._entry("events", event_type)
        if level is not None:
            return level
        return self.state_default if is_state else self.events_default

    def notification_level(self, key: str) -> int:
        """Return the level that it takes to notify all of `key`, e.g. "room"."""
        level = self._entry("notifications", key)
        return level if level is not None else 50

    @property
    def users_default(self) -> int:
        """The level of users that are not listed."""
        return self._named("users_default", 0)

    @property
    def events_default(self) -> int:
        """The level for message events that are not listed."""
        return self._named("events_default", 0)

    @property
    def state_default(self) -> int:
        """The level for state events that are not listed."""
        return self._named("state_default", 50)

    @property
    def invite(self) -> int:
        """The level to invite."""
        return self._named("invite", 0)

    @property
    def kick(self) -> int:
        """The level to remove others."""
        return self._named("kick", 50)

    @property
    def ban(self) -> int:
        """The level to ban."""
        return self._named("ban", 50)

    @property
    def redact(self) -> int:
        """The level to redact events of others."""
        return self._named("redact", 50)

    def _named(self, name: str, default: int) -> int:
        if self.content is None:
            return default
        level = level_of(self.content.get(name), self.version)
        return level if level is not None else default

    def _entry(self, table: str, key: str) -> int | None:
        entries = self.content.get(table) if self.content is not None else None
        return level_of(entries.get(key), self.version) if isinstance(entries, dict) else None
