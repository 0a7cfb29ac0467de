"""Push rules as tables: https://spec.matrix.org/v1.19/client-server-api/#push-rules."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import pytest

from homeserver.model.property_paths import path_of
from homeserver.model.push_rules import PushRule, RuleChange, RuleKind, StoredRules
from homeserver.services.push.facts import ABSENT, EventFacts, ReaderContext
from homeserver.services.push.rules import DEFAULT_RULES, Verdict, compile_rules, compile_stored, evaluate

ALICE, BOB = ReaderContext("@alice:hs1", "Alice"), ReaderContext("@bob:hs1", "Bob Builder")
ROOM = "!Room:hs1"


def facts(event_type: str = "m.room.message", content: Mapping[str, Any] | None = None, **fields: Any) -> EventFacts:
    """An event of Carol's."""
    return EventFacts({"type": event_type, "sender": "@carol:hs1", "room_id": ROOM, "content": content or {}, **fields})


def reading(members: int = 3, may_notify: bool = True) -> ReaderContext:
    """Alice, reading in a room with so many members, in which Carol may notify all or not."""
    return ALICE._replace(
        member_count=members, may_notify=lambda sender, key: may_notify and (sender, key) == ("@carol:hs1", "room")
    )


def text(body: str, **content: Any) -> EventFacts:
    return facts(content={"msgtype": "m.text", "body": body, **content})


def own(kind: RuleKind, *rules: PushRule, **changes: RuleChange) -> StoredRules:
    return StoredRules({kind: rules}, {"." + name: change for name, change in changes.items()})


def rule(rule_id: str, *conditions: dict[str, Any], actions: tuple[Any, ...] = ("notify",), **more: Any) -> PushRule:
    return PushRule(rule_id, actions, conditions, **more)


def matches(event: EventFacts, *conditions: dict[str, Any], reader: ReaderContext | None = None) -> bool:
    """Whether an override rule with these conditions is the one that decides."""
    rules = compile_stored(own(RuleKind.OVERRIDE, rule("mine", *conditions)))
    return evaluate(rules, event, reader or reading()).rule_id == "mine"


MENTION = {"m.mentions": {"user_ids": ["@alice:hs1"]}}
EVERYONE = {"m.mentions": {"room": True}}
THREE, TWO, WEAK = reading(3), reading(2), reading(may_notify=False)
PREDEFINED: list[tuple[str, EventFacts, ReaderContext, str | None, bool, bool, str | None]] = [
    # what happens, the event, the reader, the rule that decides, notify, highlight, sound
    ("a message in a group", text("hi"), THREE, ".m.rule.message", True, False, None),
    ("a message between two", text("hi"), TWO, ".m.rule.room_one_to_one", True, False, "default"),
    ("an encrypted one in a group", facts("m.room.encrypted"), THREE, ".m.rule.encrypted", True, False, None),
    (
        "an encrypted one between two", facts("m.room.encrypted"), TWO, ".m.rule.encrypted_room_one_to_one",
        True, False, "default",
    ),
    ("a notice", facts(content={"msgtype": "m.notice"}), TWO, ".m.rule.suppress_notices", False, False, None),
    (
        "an invite for her", facts("m.room.member", {"membership": "invite"}, state_key="@alice:hs1"), THREE,
        ".m.rule.invite_for_me", True, False, "default",
    ),
    (
        "an invite for another", facts("m.room.member", {"membership": "invite"}, state_key="@bob:hs1"), THREE,
        ".m.rule.member_event", False, False, None,
    ),
    (
        "her being kicked", facts("m.room.member", {"membership": "leave"}, state_key="@alice:hs1"), THREE,
        ".m.rule.member_event", False, False, None,
    ),
    ("a mention", facts(content=MENTION), THREE, ".m.rule.is_user_mention", True, True, "default"),
    ("her name without a mention", text("Alice, @alice:hs1"), THREE, ".m.rule.message", True, False, None),
    ("a mention of all", facts(content=EVERYONE), THREE, ".m.rule.is_room_mention", True, True, None),
    ("a mention of all by one who may not", facts(content=EVERYONE), WEAK, ".m.rule.message", True, False, None),
    ("a tombstone", facts("m.room.tombstone", state_key=""), THREE, ".m.rule.tombstone", True, True, None),
    ("a tombstone that is no state", facts("m.room.tombstone"), THREE, None, False, False, None),
    ("a reaction", facts("m.reaction", {"m.relates_to": {}}), TWO, ".m.rule.reaction", False, False, None),
    ("a server ACL", facts("m.room.server_acl", state_key=""), TWO, ".m.rule.room.server_acl", False, False, None),
    (
        "an edit", text("* hi", **{"m.relates_to": {"rel_type": "m.replace", "event_id": "$x"}}), TWO,
        ".m.rule.suppress_edits", False, False, None,
    ),
    ("a call", facts("m.call.invite"), TWO, ".m.rule.call", True, False, "ring"),
    ("a topic", facts("m.room.topic", state_key=""), TWO, None, False, False, None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("event", "reader", "rule_id", "notify", "highlight", "sound"),
    [row[1:] for row in PREDEFINED],
    ids=[row[0] for row in PREDEFINED],
)
def test_the_predefined_rules(
    event: EventFacts, reader: ReaderContext, rule_id: str | None, notify: bool, highlight: bool, sound: str | None
) -> None:
    verdict = evaluate(DEFAULT_RULES, event, reader)
    assert (verdict.rule_id, verdict.notify, verdict.highlight, verdict.sound) == (rule_id, notify, highlight, sound)


def test_one_event_is_judged_for_each_of_its_readers() -> None:
    event = facts(content=MENTION)
    assert evaluate(DEFAULT_RULES, event, ALICE).highlight
    assert not evaluate(DEFAULT_RULES, event, BOB).highlight
    assert evaluate(DEFAULT_RULES, event, BOB).rule_id == ".m.rule.message"


def test_users_who_changed_nothing_share_one_rule_set() -> None:
    assert compile_rules(None) is DEFAULT_RULES
    stored = msgspec.json.encode(own(RuleKind.ROOM, rule(ROOM)))
    assert compile_rules(stored) is compile_rules(bytes(stored))


def match(key: str, pattern: str) -> dict[str, Any]:
    return {"kind": "event_match", "key": key, "pattern": pattern}


def is_(key: str, value: Any) -> dict[str, Any]:
    return {"kind": "event_property_is", "key": key, "value": value}


def contains(key: str, value: Any) -> dict[str, Any]:
    return {"kind": "event_property_contains", "key": key, "value": value}


FEDERATE = facts("m.room.create", {"m.federate": True, "one": 1, "nil": None, "list": [1], "half": 0.5}, state_key="")
ALIASES = facts(content={"alt_aliases": ["#somewhere:example.org", "#myroom:example.com", 1, None, {}, [1]]})


@pytest.mark.parametrize(
    ("event", "condition", "holds"),
    [
        (facts(content={"topic": "Lunch plans"}), match("content.topic", "lunc?*"), True),
        (facts(content={"topic": None}), match("content.topic", "*"), False),
        (facts(content={"topic": 5}), match("content.topic", "*"), False),
        (facts(), match("content.topic", "*"), False),
        (facts(), match("content", "*"), False),
        (facts(), match("state_key", "*"), False),
        (facts(state_key=""), match("state_key", ""), True),
        (text("An Example event"), match("content.body", "ex*ple"), True),
        (text("inexplicable"), match("content.body", "ex*ple"), False),
        (facts(), match("room_id", "!room:HS1"), True),
        (facts(), match("room_id", "!other:hs1"), False),
        (facts(), match("room_id", "!r*"), True),
        (facts(content={"a.b": {"c\\d": "x"}}), match("content.a\\.b.c\\\\d", "x"), True),
        (facts(content={"a.b": "x"}), match("content.a.b", "x"), False),
        (facts(), {"kind": "event_match", "key": "type"}, False),
        (facts(), {"kind": "event_match", "pattern": "*"}, False),
        (FEDERATE, is_("content.m\\.federate", True), True),
        (FEDERATE, is_("content.m\\.federate", "true"), False),
        (FEDERATE, is_("content.m\\.federate", 1), False),
        (FEDERATE, is_("content.one", 1), True),
        (FEDERATE, is_("content.one", True), False),
        (FEDERATE, is_("content.nil", None), True),
        (FEDERATE, is_("content.absent", None), False),
        (FEDERATE, is_("content.list", [1]), False),
        (FEDERATE, is_("content.half", 0.5), False),
        (FEDERATE, {"kind": "event_property_is", "key": "content.nil"}, False),
        (ALIASES, contains("content.alt_aliases", "#myroom:example.com"), True),
        (ALIASES, contains("content.alt_aliases", ":example.com"), False),
        (ALIASES, contains("content.alt_aliases", 1), True),
        (ALIASES, contains("content.alt_aliases", True), False),
        (ALIASES, contains("content.alt_aliases", None), True),
        (ALIASES, contains("content.absent", None), False),
        (facts(content={"alt_aliases": "#a:b"}), contains("content.alt_aliases", "#a:b"), False),
        (text("Hello ALICE!"), {"kind": "contains_display_name"}, True),
        (text("malice, alices and alice"), {"kind": "contains_display_name"}, True),
        (text("malice"), {"kind": "contains_display_name"}, False),
        (facts(), {"kind": "contains_display_name"}, False),
        (facts(), {"kind": "sender_notification_permission"}, False),
        (facts(), {"kind": "of the future"}, False),
        (facts(), {}, False),
    ],
)
def test_conditions(event: EventFacts, condition: dict[str, Any], holds: bool) -> None:
    assert matches(event, condition) is holds


@pytest.mark.parametrize(
    ("wanted", "holds"),
    [("2", True), ("==2", True), ("<2", False), ("<=2", True), (">1", True), (">=3", False), ("=2", False), (2, False)],
)
def test_the_count_of_members_is_compared(wanted: object, holds: bool) -> None:
    assert matches(facts(), {"kind": "room_member_count", "is": wanted}, reader=reading(members=2)) is holds


@pytest.mark.parametrize(
    ("key", "may", "holds"), [("room", True, True), ("other", True, False), ("room", False, False)]
)
def test_the_sender_needs_the_level_for_the_notification(key: str, may: bool, holds: bool) -> None:
    condition = {"kind": "sender_notification_permission", "key": key}
    assert matches(facts(), condition, reader=reading(may_notify=may)) is holds


def test_all_conditions_must_hold_and_no_condition_always_holds() -> None:
    assert matches(facts())
    assert matches(facts(), match("type", "m.*"), match("sender", "@carol:hs1"))
    assert not matches(facts(), match("type", "m.*"), match("sender", "@dave:hs1"))


def test_a_display_name_is_no_pattern() -> None:
    star = ReaderContext("@star:hs1", "*")
    assert not matches(text("anything"), {"kind": "contains_display_name"}, reader=star)
    assert matches(text("a * b"), {"kind": "contains_display_name"}, reader=star)
    assert not matches(text("anything"), {"kind": "contains_display_name"}, reader=ReaderContext("@x:hs1", None))


def decided(stored: StoredRules, event: EventFacts) -> Verdict:
    return evaluate(compile_stored(stored), event, ALICE)


def test_kinds_are_asked_in_their_order() -> None:
    quiet: tuple[Any, ...] = ()
    layers = {
        RuleKind.OVERRIDE: rule("o", match("type", "m.room.message"), actions=quiet),
        RuleKind.CONTENT: PushRule("c", quiet, pattern="hi"),
        RuleKind.ROOM: rule(ROOM, actions=quiet),
        RuleKind.SENDER: rule("@carol:hs1", actions=quiet),
        RuleKind.UNDERRIDE: rule("u", actions=quiet),
    }
    for kind in RuleKind:
        stored = StoredRules({later: (layers[later],) for later in list(RuleKind)[list(RuleKind).index(kind) :]})
        assert decided(stored, text("hi there")).kind is kind


def test_own_rules_come_before_predefined_ones_but_after_the_master_rule() -> None:
    stored = own(RuleKind.OVERRIDE, rule("mine"))
    assert decided(stored, facts(content={"msgtype": "m.notice"})).rule_id == "mine"
    stored = StoredRules(stored.own, {".m.rule.master": RuleChange(enabled=True)})
    verdict = decided(stored, text("hi"))
    assert (verdict.rule_id, verdict.notify) == (".m.rule.master", False)


def test_a_rule_for_a_room_keeps_its_place_among_the_others() -> None:
    first = rule("first", match("room_id", ROOM))
    second = rule("second", match("type", "m.room.message"))
    assert decided(own(RuleKind.OVERRIDE, first, second), text("x")).rule_id == "first"
    assert decided(own(RuleKind.OVERRIDE, second, first), text("x")).rule_id == "second"


def test_rules_that_are_off_never_match() -> None:
    assert decided(own(RuleKind.ROOM, rule(ROOM, enabled=False)), text("x")).rule_id == ".m.rule.message"
    stored = StoredRules({}, {".m.rule.message": RuleChange(enabled=False)})
    assert decided(stored, text("x")).rule_id is None


def test_changed_actions_of_a_predefined_rule_are_used() -> None:
    stored = StoredRules({}, {".m.rule.message": RuleChange(actions=("notify", {"set_tweak": "sound", "value": "x"}))})
    assert decided(stored, text("x")).sound == "x"


@pytest.mark.parametrize(
    ("actions", "notify", "highlight"),
    [
        ((), False, False),
        (("dont_notify",), False, False),
        (("coalesce",), False, False),
        (("notify",), True, False),
        (("notify", {"set_tweak": "highlight"}), True, True),
        (("notify", {"set_tweak": "highlight", "value": True}), True, True),
        (("notify", {"set_tweak": "highlight", "value": False}), True, False),
        (("notify", {"unknown": 1}), True, False),
    ],
)
def test_actions(actions: tuple[Any, ...], notify: bool, highlight: bool) -> None:
    verdict = decided(own(RuleKind.UNDERRIDE, rule("mine", actions=actions)), facts("m.x"))
    assert (verdict.rule_id, verdict.notify, verdict.highlight) == ("mine", notify, highlight)


def test_room_and_sender_rules_match_exactly_their_room_and_sender() -> None:
    assert decided(own(RuleKind.ROOM, rule(ROOM, actions=())), text("x")).kind is RuleKind.ROOM
    assert decided(own(RuleKind.ROOM, rule("!room:hs1", actions=())), text("x")).rule_id == ".m.rule.message"
    assert decided(own(RuleKind.SENDER, rule("@carol:hs1", actions=())), text("x")).kind is RuleKind.SENDER
    assert decided(own(RuleKind.SENDER, rule("@dave:hs1", actions=())), text("x")).rule_id == ".m.rule.message"


def test_content_rules_look_for_words_of_the_body() -> None:
    stored = own(RuleKind.CONTENT, PushRule("k", ("notify", {"set_tweak": "highlight"}), pattern="cake*lie"))
    assert decided(stored, text("The CAKE is a lie")).highlight
    assert not decided(stored, text("pancakes")).highlight
    assert not decided(stored, facts("m.room.encrypted")).highlight


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("content.body", ("content", "body")),
        ("content.m\\.relates_to.rel_type", ("content", "m.relates_to", "rel_type")),
        ("content.m\\\\foo", ("content", "m\\foo")),
        ("content.\\x", ("content", "\\x")),
        ("content.", ("content", "")),
        ("type", ("type",)),
        ("", ("",)),
    ],
)
def test_dotted_paths(key: str, path: tuple[str, ...]) -> None:
    assert path_of(key) == path


def test_what_is_not_there_is_absent_and_null_is_not() -> None:
    event = facts(content={"a": None, "b": "text"})
    assert event.value(("content", "a")) is None
    assert event.value(("content", "b", "c")) is ABSENT


def test_the_event_is_asked_once_for_all_readers() -> None:
    asked: list[str] = []

    class Counting(dict[str, Any]):
        def __contains__(self, name: object) -> bool:
            asked.append(str(name))
            return super().__contains__(name)

    event = EventFacts({"type": "m.room.message", "room_id": ROOM, "sender": "@c:hs1", "content": Counting(body="hi")})
    evaluate(DEFAULT_RULES, event, ALICE)
    before = len(asked)

    def readers() -> Iterator[ReaderContext]:
        return (ReaderContext(f"@u{number}:hs1", None) for number in range(200))

    assert all(evaluate(DEFAULT_RULES, event, reader).notify for reader in readers())
    assert len(asked) == before
