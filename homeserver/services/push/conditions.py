"""The conditions of push rules: https://spec.matrix.org/v1.19/client-server-api/#conditions-1.

A condition is compiled into what it asks of the event, once for all readers, and what it asks of each reader.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from homeserver.model.globs import whole, words
from homeserver.model.property_paths import Path, path_of
from homeserver.services.push.facts import ABSENT, BODY, EventFacts, ReaderContext

OWN_USER_ID = "[the user's Matrix ID]"
"""Stands in the predefined rules for the ID of the rules' owner."""

EventTest = Callable[[EventFacts], bool]
ReaderTest = Callable[[EventFacts, ReaderContext], bool]


@dataclass(frozen=True, slots=True)
class Check:
    """A compiled condition: it holds if both do.

    Where it is about the reader or the room they read in, `event` says whether anyone can meet it.
    """

    event: EventTest
    reader: ReaderTest | None = None


def _never(_facts: EventFacts) -> bool:
    return False


def _always(_facts: EventFacts) -> bool:
    return True


NEVER = Check(_never)


def compile_condition(condition: Mapping[str, Any]) -> Check:
    """Return the test for a condition; one that is unknown or malformed never holds."""
    kind = condition.get("kind")
    compiler = _COMPILERS.get(kind) if isinstance(kind, str) else None
    return compiler(condition) if compiler is not None else NEVER


def event_match(path: Path, pattern: str) -> Check:
    """Return the test for a text property that must match a glob; parts of `content.body` may, at word boundaries."""
    if pattern == OWN_USER_ID:
        return Check(
            lambda facts: facts.text(path) is not None,
            lambda facts, reader: bool(facts.value(path) == reader.user_id),
        )
    matches = (words if path == BODY else whole)(pattern)

    def test(facts: EventFacts) -> bool:
        text = facts.text(path)
        return text is not None and matches(text)

    return Check(test)


def _event_match(condition: Mapping[str, Any]) -> Check:
    key, pattern = condition.get("key"), condition.get("pattern")
    if not isinstance(key, str) or not isinstance(pattern, str):
        return NEVER
    return event_match(path_of(key), pattern)


def _event_property_is(condition: Mapping[str, Any]) -> Check:
    key, value = condition.get("key"), condition.get("value", ABSENT)
    if not isinstance(key, str) or not isinstance(value, str | int | None):
        return NEVER
    path, kind = path_of(key), type(value)

    def test(facts: EventFacts) -> bool:
        found = facts.value(path)
        return type(found) is kind and found == value

    return Check(test)


def _event_property_contains(condition: Mapping[str, Any]) -> Check:
    key, value = condition.get("key"), condition.get("value", ABSENT)
    if not isinstance(key, str) or not isinstance(value, str | int | None):
        return NEVER
    path = path_of(key)
    if value == OWN_USER_ID:
        return Check(
            lambda facts: bool(facts.list(path)),
            lambda facts, reader: (str, reader.user_id) in facts.list(path),
        )
    wanted = (type(value), value)
    return Check(lambda facts: wanted in facts.list(path))


def _contains_display_name(_condition: Mapping[str, Any]) -> Check:
    def test(facts: EventFacts, reader: ReaderContext) -> bool:
        body, name = facts.text(BODY), reader.display_name
        # A display name is no pattern: what would be wildcards stand for themselves.
        return bool(name) and body is not None and _contains_name(body, str(name).lower())

    return Check(lambda facts: facts.text(BODY) is not None, test)


def _contains_name(body: str, name: str) -> bool:
    place = body.find(name)
    while place >= 0:
        end = place + len(name)
        before, after = body[place - 1 : place] if place else "", body[end : end + 1]
        if not _INSIDE_WORD(before) and not _INSIDE_WORD(after):
            return True
        place = body.find(name, place + 1)
    return False


_INSIDE_WORD = re.compile("[a-z0-9_]").match
_COUNT = re.compile(r"(==|<=|>=|<|>)?([0-9]{1,15})")
_COMPARISONS: Mapping[str, Callable[[int, int], bool]] = {
    "==": int.__eq__,
    "<": int.__lt__,
    ">": int.__gt__,
    "<=": int.__le__,
    ">=": int.__ge__,
}


def _room_member_count(condition: Mapping[str, Any]) -> Check:
    wanted = condition.get("is")
    found = _COUNT.fullmatch(wanted) if isinstance(wanted, str) else None
    if found is None:
        return NEVER
    compare, number = _COMPARISONS[found[1] or "=="], int(found[2])
    return Check(_always, lambda _facts, reader: compare(reader.member_count, number))


def _sender_notification_permission(condition: Mapping[str, Any]) -> Check:
    key = condition.get("key")
    if not isinstance(key, str):
        return NEVER
    return Check(_always, lambda facts, reader: reader.may_notify(facts.fields["sender"], key))


_COMPILERS: Mapping[str, Callable[[Mapping[str, Any]], Check]] = {
    "event_match": _event_match,
    "event_property_is": _event_property_is,
    "event_property_contains": _event_property_contains,
    "contains_display_name": _contains_display_name,
    "room_member_count": _room_member_count,
    "sender_notification_permission": _sender_notification_permission,
}
