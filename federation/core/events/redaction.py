"""What is left of an event once it is redacted.

https://spec.matrix.org/v1.19/client-server-api/#redactions and the "Redactions" section of each room version,
e.g. https://spec.matrix.org/v1.19/rooms/v11/#redactions. The same stripping decides what a signature and a
reference hash cover, so it has to be exact.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from federation.core.room_versions import RoomVersion

_EVERY_VERSION = frozenset(
    {
        "event_id",
        "type",
        "room_id",
        "sender",
        "state_key",
        "content",
        "hashes",
        "signatures",
        "depth",
        "prev_events",
        "auth_events",
        "origin_server_ts",
    }
)
_LEGACY = frozenset({"prev_state", "origin", "membership"})
_POWER_LEVELS = frozenset(
    {"ban", "events", "events_default", "kick", "redact", "state_default", "users", "users_default"}
)
_NOTHING: frozenset[str] = frozenset()


def redact(fields: Mapping[str, Any], version: RoomVersion) -> dict[str, Any]:
    """Return a redacted copy of an event's fields; values that survive whole are shared, not copied.

    `fields["type"]` is text and `fields["content"]` a dict, as `federation.core.events.format` checks.
    """
    kept = _kept_fields(version)
    redacted = {key: value for key, value in fields.items() if key in kept}
    redacted["content"] = _redact_content(fields["type"], fields["content"], version)
    return redacted


def _redact_content(event_type: str, content: Mapping[str, Any], version: RoomVersion) -> dict[str, Any]:
    if event_type == "m.room.create" and version.redaction_keeps_all_of_create:
        return dict(content)
    kept = _kept_content(version).get(event_type, _NOTHING)
    redacted = {key: value for key, value in content.items() if key in kept}
    if event_type == "m.room.member" and version.redaction_keeps_signed_invite:
        invite = content.get("third_party_invite")
        # Of this key only `signed` stays; without it, an empty object does.
        if isinstance(invite, dict):
            redacted["third_party_invite"] = {key: invite[key] for key in ("signed",) if key in invite}
    return redacted


@lru_cache
def _kept_fields(version: RoomVersion) -> frozenset[str]:
    return _EVERY_VERSION | _LEGACY if version.redaction_keeps_legacy_fields else _EVERY_VERSION


@lru_cache
def _kept_content(version: RoomVersion) -> Mapping[str, frozenset[str]]:
    """Return which keys of the content survive, by event type."""

    def keys(always: frozenset[str], **by_flag: bool) -> frozenset[str]:
        return always | {key for key, kept in by_flag.items() if kept}

    return {
        "m.room.member": keys(
            frozenset({"membership"}),
            join_authorised_via_users_server=version.redaction_keeps_join_authoriser,
        ),
        "m.room.create": frozenset({"creator"}),
        "m.room.join_rules": keys(frozenset({"join_rule"}), allow=version.redaction_keeps_join_rule_allow),
        "m.room.power_levels": keys(_POWER_LEVELS, invite=version.redaction_keeps_invite_level),
        "m.room.aliases": keys(_NOTHING, aliases=version.redaction_keeps_aliases),
        "m.room.history_visibility": frozenset({"history_visibility"}),
        "m.room.redaction": keys(_NOTHING, redacts=version.redaction_keeps_redacts),
    }
