"""Power levels as affiliations and roles of a MUC room, and back. Pure.

https://xmpp.org/extensions/xep-0045.html#affil and #roles; levels between those that mean something are lost on the way
to XMPP, and kept on the way back unless somebody changes an affiliation.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from federation.core.events.content import Membership, PowerLevels
from federation.core.ids import UserID

OWNER_LEVEL = 100
MESSAGE = "m.room.message"


class Affiliation(StrEnum):
    """How somebody stands to a room for good."""

    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"
    NONE = "none"
    OUTCAST = "outcast"


class Role(StrEnum):
    """What somebody may do who is in it."""

    MODERATOR = "moderator"
    PARTICIPANT = "participant"
    VISITOR = "visitor"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Standing:
    """Affiliation and role of one user."""

    affiliation: Affiliation
    role: Role


def admin_level(levels: PowerLevels) -> int:
    """Return the level from which on somebody is an admin: who may ban and kick."""
    return max(levels.ban, levels.kick, levels.users_default + 1)


def moderator_level(levels: PowerLevels) -> int:
    """Return the level from which on somebody is a moderator: who may kick and take messages away."""
    return max(levels.kick, levels.redact, levels.users_default + 1)


def standing_of(levels: PowerLevels, user_id: UserID, membership: Membership | None) -> Standing:
    """Return how a user stands to a room by its power levels and their membership."""
    if membership is Membership.BAN:
        return Standing(Affiliation.OUTCAST, Role.NONE)
    if membership not in (Membership.JOIN, Membership.INVITE):
        return Standing(Affiliation.NONE, Role.NONE)
    level = levels.user_level(user_id)
    affiliation = Affiliation.MEMBER
    if level >= OWNER_LEVEL:
        affiliation = Affiliation.OWNER
    elif level >= admin_level(levels):
        affiliation = Affiliation.ADMIN
    if membership is Membership.INVITE:
        return Standing(affiliation, Role.NONE)
    role = Role.PARTICIPANT
    if level >= moderator_level(levels):
        role = Role.MODERATOR
    elif level < levels.event_level(MESSAGE, is_state=False):
        role = Role.VISITOR
    return Standing(affiliation, role)


def level_for(wanted: Affiliation, levels: PowerLevels) -> int | None:
    """Return the level that gives somebody an affiliation, None for the level of those who are not named."""
    if wanted is Affiliation.OWNER:
        return OWNER_LEVEL
    if wanted is Affiliation.ADMIN:
        return admin_level(levels)
    return None


def level_for_role(wanted: Role, levels: PowerLevels) -> int | None:
    """Return the level that gives somebody a role, None for the level of those who are not named."""
    if wanted is Role.MODERATOR:
        return moderator_level(levels)
    speaking = levels.event_level(MESSAGE, is_state=False)
    if wanted is Role.VISITOR:
        return min(speaking, levels.users_default) - 1 if levels.users_default >= speaking else None
    return speaking if levels.users_default < speaking else None


def with_level(content: Mapping[str, Any], user_id: UserID, level: int | None) -> dict[str, Any]:
    """Return the content of an `m.room.power_levels` event in which a user has another level."""
    named = content.get("users")
    users = dict(named) if isinstance(named, dict) else {}
    if level is None:
        users.pop(user_id, None)
    else:
        users[user_id] = level
    return {**content, "users": users}
