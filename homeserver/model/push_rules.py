"""Push rules: https://spec.matrix.org/v1.19/client-server-api/#push-rules.

What is stored of a user is only their own rules and what they changed of the predefined ones.
"""

from enum import StrEnum
from typing import Any

import msgspec

Action = str | dict[str, Any]


class RuleKind(StrEnum):
    """The kinds of rules, in the order in which they are checked."""

    OVERRIDE = "override"
    CONTENT = "content"
    ROOM = "room"
    SENDER = "sender"
    UNDERRIDE = "underride"


class PushRule(msgspec.Struct, frozen=True, omit_defaults=True):
    """One rule. `conditions` belong to override and underride rules, `pattern` to content rules."""

    rule_id: str
    actions: tuple[Action, ...]
    conditions: tuple[dict[str, Any], ...] = ()
    pattern: str | None = None
    enabled: bool = True

    @property
    def is_predefined(self) -> bool:
        """Whether the specification made the rule, and not the user."""
        return self.rule_id.startswith(".")


class RuleChange(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a user changed of a predefined rule; None leaves it as it is defined."""

    enabled: bool | None = None
    actions: tuple[Action, ...] | None = None


class StoredRules(msgspec.Struct, frozen=True, omit_defaults=True):
    """The row of a user: their own rules by kind, most important first, and their changes by the rule's ID."""

    own: dict[RuleKind, tuple[PushRule, ...]] = {}
    changes: dict[str, RuleChange] = {}

    def of(self, kind: RuleKind) -> tuple[PushRule, ...]:
        """Return the user's own rules of a kind."""
        return self.own.get(kind, ())


NO_RULES = StoredRules()
