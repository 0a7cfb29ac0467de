"""The predefined rules: https://spec.matrix.org/v1.19/client-server-api/#predefined-rules.

The legacy rules that looked for names in the body are not here: the specification removed them in v1.17.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from homeserver.model.push_rules import Action, PushRule, RuleKind, StoredRules
from homeserver.services.push.conditions import OWN_USER_ID

NOTIFY = "notify"
HIGHLIGHT: dict[str, Any] = {"set_tweak": "highlight"}
MASTER_ID = ".m.rule.master"


def _sound(name: str) -> dict[str, Any]:
    return {"set_tweak": "sound", "value": name}


def _match(key: str, pattern: str) -> dict[str, Any]:
    return {"kind": "event_match", "key": key, "pattern": pattern}


def _rule(rule_id: str, conditions: Sequence[dict[str, Any]], *actions: Action, enabled: bool = True) -> PushRule:
    return PushRule(rule_id, actions, tuple(conditions), enabled=enabled)


_TWO_MEMBERS: dict[str, Any] = {"kind": "room_member_count", "is": "2"}

MASTER = _rule(MASTER_ID, [], enabled=False)
OVERRIDES = (
    _rule(".m.rule.suppress_notices", [_match("content.msgtype", "m.notice")]),
    _rule(
        ".m.rule.invite_for_me",
        [
            _match("type", "m.room.member"),
            _match("content.membership", "invite"),
            _match("state_key", OWN_USER_ID),
        ],
        NOTIFY,
        _sound("default"),
    ),
    _rule(".m.rule.member_event", [_match("type", "m.room.member")]),
    _rule(
        ".m.rule.is_user_mention",
        [{"kind": "event_property_contains", "key": "content.m\\.mentions.user_ids", "value": OWN_USER_ID}],
        NOTIFY,
        _sound("default"),
        HIGHLIGHT,
    ),
    _rule(
        ".m.rule.is_room_mention",
        [
            {"kind": "event_property_is", "key": "content.m\\.mentions.room", "value": True},
            {"kind": "sender_notification_permission", "key": "room"},
        ],
        NOTIFY,
        HIGHLIGHT,
    ),
    _rule(
        ".m.rule.tombstone",
        [_match("type", "m.room.tombstone"), _match("state_key", "")],
        NOTIFY,
        HIGHLIGHT,
    ),
    _rule(".m.rule.reaction", [_match("type", "m.reaction")]),
    _rule(".m.rule.room.server_acl", [_match("type", "m.room.server_acl"), _match("state_key", "")]),
    _rule(
        ".m.rule.suppress_edits",
        [{"kind": "event_property_is", "key": "content.m\\.relates_to.rel_type", "value": "m.replace"}],
    ),
)
UNDERRIDES = (
    _rule(".m.rule.call", [_match("type", "m.call.invite")], NOTIFY, _sound("ring")),
    _rule(
        ".m.rule.encrypted_room_one_to_one",
        [_TWO_MEMBERS, _match("type", "m.room.encrypted")],
        NOTIFY,
        _sound("default"),
    ),
    _rule(
        ".m.rule.room_one_to_one",
        [_TWO_MEMBERS, _match("type", "m.room.message")],
        NOTIFY,
        _sound("default"),
    ),
    _rule(".m.rule.message", [_match("type", "m.room.message")], NOTIFY),
    _rule(".m.rule.encrypted", [_match("type", "m.room.encrypted")], NOTIFY),
)
PREDEFINED: Mapping[RuleKind, tuple[PushRule, ...]] = {
    RuleKind.OVERRIDE: (MASTER, *OVERRIDES),
    RuleKind.UNDERRIDE: UNDERRIDES,
}


def all_rules(stored: StoredRules, kind: RuleKind) -> list[PushRule]:
    """Return a user's rules of a kind in their order: the master rule, their own, the other predefined ones."""
    predefined = [_changed(rule, stored) for rule in PREDEFINED.get(kind, ())]
    first = predefined[:1] if kind is RuleKind.OVERRIDE else []
    return [*first, *stored.of(kind), *predefined[len(first) :]]


def _changed(rule: PushRule, stored: StoredRules) -> PushRule:
    change = stored.changes.get(rule.rule_id)
    if change is None:
        return rule
    return msgspec.structs.replace(
        rule,
        enabled=rule.enabled if change.enabled is None else change.enabled,
        actions=rule.actions if change.actions is None else change.actions,
    )
