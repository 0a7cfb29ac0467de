"""Changes to a user's push rules, and their form for clients. Pure: each takes the stored rules and returns new ones.

Source: https://spec.matrix.org/v1.19/client-server-api/#push-rules-api
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from homeserver.errors import InvalidParam, MatrixError, MissingParam, NotFound, TooLarge
from homeserver.model.globs import has_wildcards
from homeserver.model.push_rules import Action, PushRule, RuleChange, RuleKind, StoredRules
from homeserver.services.push.conditions import OWN_USER_ID
from homeserver.services.push.defaults import all_rules

MOST_RULES = 5000
LONGEST_ID = 512
"""Bytes of a rule's ID; a room ID or a user ID has at most 255."""
LONGEST_PATTERN = 1024
MOST_TO_SEARCH = 16 * 1024
"""Characters of all patterns of a user that must be searched for in texts; this bounds what one event can cost."""
LARGEST = 512 * 1024
"""Bytes of all rules of a user."""
HISTORICAL_ACTIONS = ("dont_notify", "coalesce")


def find(stored: StoredRules, kind: RuleKind, rule_id: str) -> PushRule:
    """Return a rule, own or predefined. Raises `NotFound`."""
    for rule in all_rules(stored, kind):
        if rule.rule_id == rule_id:
            return rule
    raise NotFound("The push rule was not found")


def put(
    stored: StoredRules, kind: RuleKind, rule: PushRule, *, before: str | None = None, after: str | None = None
) -> StoredRules:
    """Return the rules with a new or changed rule of the user, right before or after another if that is asked for.

    Raises `InvalidParam`, `MissingParam` or `TooLarge` for a rule that cannot be, and 400 where there is no such other.
    """
    _check(kind, rule)
    standing = stored.of(kind)
    known = next((old for old in standing if old.rule_id == rule.rule_id), None)
    if known is not None:
        rule = msgspec.structs.replace(rule, enabled=known.enabled)
    if known is not None and before is None and after is None:
        changed = tuple(rule if old is known else old for old in standing)
    else:
        others = [old for old in standing if old is not known]
        others.insert(_place(others, before, after), rule)
        changed = tuple(others)
    return _checked(_with(stored, kind, changed))


def delete(stored: StoredRules, kind: RuleKind, rule_id: str) -> StoredRules:
    """Return the rules without one of the user's own. Raises `NotFound`, or `InvalidParam` for a predefined one."""
    rule = find(stored, kind, rule_id)
    if rule.is_predefined:
        raise InvalidParam("ruleId: predefined rules cannot be deleted, only turned off")
    return _with(stored, kind, tuple(old for old in stored.of(kind) if old.rule_id != rule_id))


def enable(stored: StoredRules, kind: RuleKind, rule_id: str, enabled: bool) -> StoredRules:
    """Return the rules with one turned on or off. Raises `NotFound`."""
    rule = find(stored, kind, rule_id)
    if rule.is_predefined:
        return _change(stored, rule_id, enabled=enabled)
    return _replace(stored, kind, msgspec.structs.replace(rule, enabled=enabled))


def set_actions(stored: StoredRules, kind: RuleKind, rule_id: str, actions: Iterable[Action]) -> StoredRules:
    """Return the rules with other actions for one. Raises `NotFound` or `TooLarge`."""
    rule = find(stored, kind, rule_id)
    actions = known_actions(actions)
    if rule.is_predefined:
        return _checked(_change(stored, rule_id, actions=actions))
    return _checked(_replace(stored, kind, msgspec.structs.replace(rule, actions=actions)))


def known_actions(actions: Iterable[Action]) -> tuple[Action, ...]:
    """Return actions without the historical ones, which mean nothing."""
    return tuple(action for action in actions if action not in HISTORICAL_ACTIONS)


def ruleset(stored: StoredRules, user_id: str) -> dict[str, list[dict[str, Any]]]:
    """Return all rules of a user by kind, as clients get them."""
    return {str(kind): [as_json(rule, kind, user_id) for rule in all_rules(stored, kind)] for kind in RuleKind}


def as_json(rule: PushRule, kind: RuleKind, user_id: str) -> dict[str, Any]:
    """Return a rule as clients get it; in predefined ones the owner's user ID is filled in."""
    shown: dict[str, Any] = {
        "rule_id": rule.rule_id,
        "default": rule.is_predefined,
        "enabled": rule.enabled,
        "actions": list(rule.actions),
    }
    if kind is RuleKind.CONTENT:
        shown["pattern"] = rule.pattern
    if kind in (RuleKind.OVERRIDE, RuleKind.UNDERRIDE):
        shown["conditions"] = [
            {name: user_id if value == OWN_USER_ID else value for name, value in condition.items()}
            for condition in rule.conditions
        ]
    return shown


def _check(kind: RuleKind, rule: PushRule) -> None:
    rule_id = rule.rule_id
    if rule.is_predefined:
        raise InvalidParam("ruleId: may not start with a dot, as predefined rules do")
    if not rule_id or "/" in rule_id or "\\" in rule_id or len(rule_id.encode()) > LONGEST_ID:
        raise InvalidParam(f"ruleId: must have 1 to {LONGEST_ID} bytes and no slash or backslash")
    if kind is RuleKind.CONTENT and not rule.pattern:
        raise MissingParam("Missing pattern")
    for number, condition in enumerate(rule.conditions):
        if not isinstance(condition.get("kind"), str):
            raise MissingParam(f"Missing conditions[{number}].kind")
    if any(len(pattern) > LONGEST_PATTERN for pattern, _ in _patterns([rule])):
        raise InvalidParam(f"pattern: has more than {LONGEST_PATTERN} characters")


def _checked(stored: StoredRules) -> StoredRules:
    """Return the rules if they are within the bounds of one user. Raises `TooLarge`."""
    own = [rule for rules in stored.own.values() for rule in rules]
    if len(own) > MOST_RULES:
        raise TooLarge(f"You have {MOST_RULES} push rules already")
    if sum(len(pattern) for pattern, searched in _patterns(own) if searched) > MOST_TO_SEARCH:
        raise TooLarge(f"The patterns of your push rules have more than {MOST_TO_SEARCH} characters together")
    if len(msgspec.json.encode(stored)) > LARGEST:
        raise TooLarge(f"Your push rules have more than {LARGEST} bytes")
    return stored


def _patterns(rules: Iterable[PushRule]) -> Iterable[tuple[str, bool]]:
    """Yield the patterns of rules, and whether finding them means to search a text."""
    for rule in rules:
        if rule.pattern is not None:
            yield rule.pattern, True
        for condition in rule.conditions:
            pattern = condition.get("pattern")
            if isinstance(pattern, str):
                yield pattern, condition.get("key") == "content.body" or has_wildcards(pattern)


def _place(rules: Sequence[PushRule], before: str | None, after: str | None) -> int:
    """Return where a rule goes among others: "the next most important rule with respect to" `before`, first of all."""
    wanted = before if before is not None else after
    if wanted is None:
        return 0
    for place, rule in enumerate(rules):
        if rule.rule_id == wanted:
            return place if before is not None else place + 1
    raise MatrixError(f"before/after rule not found: {wanted}")


def _with(stored: StoredRules, kind: RuleKind, rules: tuple[PushRule, ...]) -> StoredRules:
    return StoredRules({**stored.own, kind: rules}, stored.changes)


def _replace(stored: StoredRules, kind: RuleKind, rule: PushRule) -> StoredRules:
    return _with(stored, kind, tuple(rule if old.rule_id == rule.rule_id else old for old in stored.of(kind)))


def _change(
    stored: StoredRules, rule_id: str, *, enabled: bool | None = None, actions: tuple[Action, ...] | None = None
) -> StoredRules:
    old = stored.changes.get(rule_id, RuleChange())
    change = RuleChange(
        old.enabled if enabled is None else enabled,
        old.actions if actions is None else actions,
    )
    return StoredRules(stored.own, {**stored.changes, rule_id: change})
