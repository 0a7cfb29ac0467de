"""Authorisation rule 10: `m.room.power_levels`.

https://spec.matrix.org/v1.19/rooms/v12/#authorisation-rules
The numbers in the comments are those of version 12.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from federation.core.auth.state import AuthState
from federation.core.errors import InvalidIdentifier, Rejected
from federation.core.events.content import level_of
from federation.core.events.pdu import Pdu
from federation.core.ids import parse_user_id
from federation.core.room_versions import RoomVersion

_NAMED = ("users_default", "events_default", "state_default", "ban", "redact", "kick", "invite")


def check_power_levels(event: Pdu, room: AuthState) -> None:
    """Allow the sender to set the room's power levels as `event` does, or raise `Rejected`.

    That the sender may send events of this type at all (rule 8) was checked before.
    """
    version, content = event.version, event.content
    if version.integer_power_levels:
        _check_integers(content)
    # 10.3: until v9 a level may also be a string that is an integer.
    users = content.get("users", {})
    _check_users(users, version)
    # 10.4: since v12.
    if version.creators_have_all_power and any(creator in users for creator in room.levels.creators):
        raise Rejected("a creator of the room is listed in users")
    # 10.5
    if room.power_levels is None:
        return

    current = room.power_levels.content
    own_level = room.levels.user_level(event.sender)
    # 10.6
    for name, old, new in _changes(_named(current), _named(content), version):
        if max(old, new) > own_level:
            raise Rejected(f"the sender may not change the level of {name}")
    # 10.7 and 10.8: `notifications` since v6.
    for table in ("events", "notifications") if version.check_notification_levels else ("events",):
        for name, old, new in _changes(current.get(table, {}), content.get(table, {}), version):
            if max(old, new) > own_level:
                raise Rejected(f"the sender may not change the level of {name} in {table}")
    for user_id, old, new in _changes(current.get("users", {}), users, version):
        # 10.9
        if old >= own_level and user_id != event.sender:
            raise Rejected(f"the sender may not change the level of {user_id}")
        # 10.10
        if new > own_level:
            raise Rejected(f"the sender may not give {user_id} a level above their own")


def _check_integers(content: Mapping[str, Any]) -> None:
    """Rules 10.1 and 10.2, since v10."""
    # 10.1
    for name in _NAMED:
        if name in content and type(content[name]) is not int:
            raise Rejected(f"{name} is not an integer")
    # 10.2
    for table in ("events", "notifications"):
        levels = content.get(table, {})
        if not isinstance(levels, dict) or any(type(level) is not int for level in levels.values()):
            raise Rejected(f"{table} is not an object of integers")


def _check_users(users: object, version: RoomVersion) -> None:
    """Rule 10.3."""
    if not isinstance(users, dict):
        raise Rejected("users is not an object")
    for user_id, level in users.items():
        try:
            parse_user_id(user_id)
        except InvalidIdentifier as error:
            raise Rejected("users has a key that is not a user ID") from error
        if level_of(level, version) is None:
            raise Rejected(f"the level of {user_id} is not an integer")


def _named(content: Mapping[str, Any]) -> dict[str, Any]:
    return {name: content[name] for name in _NAMED if name in content}


_ABSENT = float("-inf")


def _changes(current: object, new: object, version: RoomVersion) -> Iterator[tuple[str, float, float]]:
    """Yield what was added, changed or removed: name, current value, new value; no value is below every
    level.

    Until v9 the room may hold values that are no levels. Nobody is bound by those that it has, but nobody may
    add to them.
    """
    old_levels = {
        name: level
        for name, value in (current.items() if isinstance(current, dict) else ())
        if (level := level_of(value, version)) is not None
    }
    if not isinstance(new, dict):
        raise Rejected("a table of levels is not an object")
    new_levels = {}
    for name, value in new.items():
        level = level_of(value, version)
        if level is None:
            raise Rejected(f"the level of {name} is not an integer")
        new_levels[name] = level
    for name in old_levels.keys() | new_levels.keys():
        old_level, new_level = old_levels.get(name, _ABSENT), new_levels.get(name, _ABSENT)
        if old_level != new_level:
            yield name, old_level, new_level
