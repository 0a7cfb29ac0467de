"""Decides which events notify whom: https://spec.matrix.org/v1.19/client-server-api/#push-rules. Pure, and fast.

Nearly all users share one rule set, the predefined one. What its rules ask of an event is worked out once; what is left
to ask of each reader is seldom more than nothing. So two hundred readers of a message cost little more than one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import msgspec

from homeserver.model.globs import has_wildcards
from homeserver.model.property_paths import Path
from homeserver.model.push_rules import NO_RULES, Action, PushRule, RuleKind, StoredRules
from homeserver.services.push.conditions import Check, ReaderTest, compile_condition, event_match
from homeserver.services.push.defaults import all_rules
from homeserver.services.push.facts import BODY, EventFacts, ReaderContext

_ROOM: Path = ("room_id",)
_SENDER: Path = ("sender",)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the rules say of one event for one reader, and which rule said it (None if none matched)."""

    notify: bool
    highlight: bool
    sound: str | None
    rule_id: str | None
    kind: RuleKind | None
    tweaks: Mapping[str, Any] = field(default_factory=dict)


SILENCE = Verdict(False, False, None, None, None)
"""No rule matched: nobody is notified."""


@dataclass(frozen=True, slots=True)
class _Compiled:
    verdict: Verdict
    tests: tuple[Check, ...]


Candidates = tuple[tuple[Verdict, tuple[ReaderTest, ...]], ...]
"""The rules that may match an event, in order, with what they still ask of the reader."""


@dataclass(frozen=True, slots=True, eq=False)
class RuleSet:
    """A user's rules, compiled; those that are turned off are left out.

    Rules for one room are found by its ID: people silence rooms by the hundred.
    """

    everywhere: tuple[tuple[int, _Compiled], ...]
    in_room: Mapping[str, tuple[tuple[int, _Compiled], ...]]

    def candidates(self, facts: EventFacts) -> Candidates:
        """Return the rules that may match an event; the last one does unless each has something to ask."""
        rules = self.everywhere
        special = self.in_room.get(facts.text(_ROOM) or "")
        if special is not None:
            rules = tuple(sorted((*rules, *special), key=lambda pair: pair[0]))
        found = []
        for _, rule in rules:
            for test in rule.tests:
                if not test.event(facts):
                    break
            else:
                asked = tuple(test.reader for test in rule.tests if test.reader is not None)
                found.append((rule.verdict, asked))
                if not asked:
                    break
        return tuple(found)


def evaluate(rules: RuleSet, facts: EventFacts, reader: ReaderContext) -> Verdict:
    """Return what a reader's rules say of an event. The caller leaves out the event's sender, who is never notified."""
    candidates: Candidates | None = facts.answers.get(rules)
    if candidates is None:
        candidates = facts.answers[rules] = rules.candidates(facts)
    for verdict, tests in candidates:
        for test in tests:
            if not test(facts, reader):
                break
        else:
            return verdict
    return SILENCE


@lru_cache(2048)
def compile_rules(stored: bytes | None) -> RuleSet:
    """Return the compiled rules of a stored row; None is the row of a user who changed nothing."""
    return compile_stored(decode(stored))


def compile_stored(stored: StoredRules) -> RuleSet:
    """Return the compiled form of a user's rules."""
    everywhere: list[tuple[int, _Compiled]] = []
    in_room: dict[str, list[tuple[int, _Compiled]]] = {}
    number = 0
    for kind in RuleKind:
        for rule in all_rules(stored, kind):
            if not rule.enabled:
                continue
            number += 1
            compiled = (number, _Compiled(_verdict(rule, kind), _tests(rule, kind)))
            room = _only_room(rule, kind)
            (everywhere if room is None else in_room.setdefault(room, [])).append(compiled)
    return RuleSet(tuple(everywhere), {room: tuple(rules) for room, rules in in_room.items()})


def decode(stored: bytes | None) -> StoredRules:
    """Return a stored row of a user; None for one who has none."""
    return NO_RULES if stored is None else _DECODER.decode(stored)


_DECODER = msgspec.json.Decoder(StoredRules)


def _tests(rule: PushRule, kind: RuleKind) -> tuple[Check, ...]:
    match kind:
        case RuleKind.OVERRIDE | RuleKind.UNDERRIDE:
            return tuple(compile_condition(condition) for condition in rule.conditions)
        case RuleKind.CONTENT:
            return (event_match(BODY, rule.pattern or ""),)
        case RuleKind.ROOM:
            return (_equals(_ROOM, rule.rule_id),)
        case RuleKind.SENDER:
            return (_equals(_SENDER, rule.rule_id),)


def _equals(path: Path, wanted: str) -> Check:
    return Check(lambda facts: bool(facts.value(path) == wanted))


def _only_room(rule: PushRule, kind: RuleKind) -> str | None:
    """Return the one room (in lower case) in which a rule can match, or None if it may elsewhere too."""
    if kind is RuleKind.ROOM:
        return rule.rule_id.lower()
    for condition in rule.conditions:
        pattern = condition.get("pattern")
        is_room = condition.get("kind") == "event_match" and condition.get("key") == "room_id"
        if is_room and isinstance(pattern, str) and not has_wildcards(pattern):
            return pattern.lower()
    return None


def _verdict(rule: PushRule, kind: RuleKind) -> Verdict:
    """Return what a matching rule says: https://spec.matrix.org/v1.19/client-server-api/#actions."""
    tweaks = _tweaks(rule.actions)
    notify = "notify" in rule.actions
    sound = tweaks.get("sound")
    return Verdict(
        notify=notify,
        # The counts are of notifications that are highlighted; without one there is nothing to highlight.
        highlight=notify and tweaks.get("highlight") is True,
        sound=sound if isinstance(sound, str) else None,
        rule_id=rule.rule_id,
        kind=kind,
        tweaks=tweaks,
    )


def _tweaks(actions: tuple[Action, ...]) -> dict[str, Any]:
    tweaks: dict[str, Any] = {}
    for action in actions:
        if isinstance(action, dict) and isinstance(name := action.get("set_tweak"), str):
            # "If a `highlight` tweak is given with no value, its value is defined to be `true`."
            tweaks[name] = action.get("value", True if name == "highlight" else None)
    return tweaks


DEFAULT_RULES = compile_rules(None)
