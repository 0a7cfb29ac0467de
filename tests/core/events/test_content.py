"""What the content of events says, sensible or not."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.core.errors import Rejected
from federation.core.events.content import (
    INFINITE_LEVEL,
    HistoryVisibility,
    JoinRule,
    Membership,
    PowerLevels,
    allowed_rooms,
    creators_of,
    history_visibility_of,
    join_rule_of,
    level_of,
    membership_of,
)
from federation.core.room_versions import ROOM_VERSIONS, RoomVersion
from tests.core.events.samples import ALICE, VERSIONS, message

V5, V6, V9, V10, V11, V12 = (ROOM_VERSIONS[number] for number in ("5", "6", "9", "10", "11", "12"))
BOB = "@bob:example.org"
NONSENSE: list[object] = [None, 1, 1.5, True, "", "x", [], {}, [1], {"a": 1}]

every_version = pytest.mark.parametrize("version", VERSIONS, ids=lambda version: f"v{version.id}")


def levels(content: dict[str, Any] | None, version: RoomVersion = V11, creator: str = ALICE) -> PowerLevels:
    return PowerLevels.of(content, version, frozenset({creator}))  # type: ignore[arg-type]


@pytest.mark.parametrize("word", ["invite", "join", "knock", "leave", "ban"])
def test_a_membership_event_says_one_of_five_words(word: str) -> None:
    event = message(V12, {"membership": word}, type="m.room.member", state_key=ALICE)
    assert membership_of(event) is Membership(word)


@pytest.mark.parametrize("content", [{}, *({"membership": value} for value in NONSENSE if value != 1.5)])
def test_any_other_membership_is_rejected(content: dict[str, Any]) -> None:
    with pytest.raises(Rejected):
        membership_of(message(V12, content, type="m.room.member", state_key=ALICE))


@pytest.mark.parametrize("rule", list(JoinRule))
def test_a_join_rule_is_one_of_six(rule: JoinRule) -> None:
    assert join_rule_of({"join_rule": str(rule)}) is rule


def test_a_room_without_join_rule_is_for_the_invited_and_an_unknown_rule_for_no_one() -> None:
    assert join_rule_of(None) is JoinRule.INVITE
    assert join_rule_of({}) is JoinRule.INVITE
    assert {join_rule_of({"join_rule": value}) for value in NONSENSE} == {JoinRule.PRIVATE}


def test_the_rooms_whose_members_may_join_are_read_one_by_one() -> None:
    room = "m.room_membership"
    conditions = [
        {"type": room, "room_id": "!b:example.org"},
        {"type": "other", "room_id": "!c:example.org"},
        {"type": room, "room_id": "nonsense"},
        {"type": room, "room_id": 1},
        {"type": room},
        "nonsense",
        {"type": room, "room_id": "!" + "a" * 43},
    ]
    assert allowed_rooms({"allow": conditions}) == ("!b:example.org", "!" + "a" * 43)
    assert allowed_rooms({}) == ()
    assert all(allowed_rooms({"allow": value}) == () for value in NONSENSE)


@pytest.mark.parametrize("visibility", list(HistoryVisibility))
def test_history_visibility_is_one_of_four(visibility: HistoryVisibility) -> None:
    assert history_visibility_of({"history_visibility": str(visibility)}) is visibility


def test_history_is_shared_where_the_room_does_not_say() -> None:
    said = [None, {}, *({"history_visibility": value} for value in NONSENSE)]
    assert {history_visibility_of(content) for content in said} == {HistoryVisibility.SHARED}


@every_version
def test_the_creators_are_named_where_the_version_names_them(version: RoomVersion) -> None:
    content = {"creator": "@carol:example.org", "additional_creators": [BOB, 1, ALICE]}
    create = message(version, content, type="m.room.create", state_key="")
    if version.id == "12":
        assert creators_of(create) == {ALICE, BOB}
    elif version.id == "11":
        assert creators_of(create) == {ALICE}
    else:
        assert creators_of(create) == {"@carol:example.org"}


@every_version
def test_the_sender_is_the_creator_where_the_content_is_silent_or_nonsense(version: RoomVersion) -> None:
    said: list[dict[str, Any]] = [{}, {"creator": 1, "additional_creators": "x"}, {"additional_creators": []}]
    for content in said:
        assert creators_of(message(version, content, type="m.room.create", state_key="")) == {ALICE}


# value, its level until v5, from v6 to v9, since v10
@pytest.mark.parametrize(
    ("value", "floats", "strings", "integers"),
    [
        (50, 50, 50, 50),
        (-50, -50, -50, -50),
        (2**60, 2**60, 2**60, 2**60),
        ("100", 100, 100, None),
        ("000100", 100, 100, None),
        ("+100", 100, 100, None),
        ("-100", -100, -100, None),
        (" 100 ", 100, 100, None),
        (" 00100 ", 100, 100, None),
        (" +100 ", 100, 100, None),
        ("\t-100\n", -100, -100, None),
        ("", None, None, None),
        (" ", None, None, None),
        ("1.0", None, None, None),
        ("1e2", None, None, None),
        ("+-1", None, None, None),
        ("- 1", None, None, None),
        ("1_000", None, None, None),
        ("0x10", None, None, None),
        ("\u0661", None, None, None),
        ("9" * 5000, None, None, None),
        (50.57, 50, None, None),
        (-50.57, -50, None, None),
        (5.114698e4, 51146, None, None),
        (float("nan"), None, None, None),
        (float("inf"), None, None, None),
        (True, None, None, None),
        (None, None, None, None),
        ([1], None, None, None),
        ({}, None, None, None),
    ],
)
def test_a_power_level_is_what_the_version_lets_it_be(
    value: object, floats: int | None, strings: int | None, integers: int | None
) -> None:
    for number, version in ROOM_VERSIONS.items():
        expected = floats if int(number) <= 5 else strings if int(number) <= 9 else integers
        assert level_of(value, version) == expected


@every_version
@pytest.mark.parametrize("content", [None, {}])
def test_levels_have_defaults(version: RoomVersion, content: dict[str, Any] | None) -> None:
    power = levels(content, version)
    assert (power.users_default, power.events_default, power.state_default) == (0, 0, 50)
    assert (power.invite, power.kick, power.ban, power.redact) == (0, 50, 50, 50)
    assert power.notification_level("room") == 50
    assert power.event_level("m.room.message", is_state=False) == 0
    assert power.event_level("m.room.name", is_state=True) == 50
    assert power.user_level(BOB) == 0


@every_version
def test_a_creator_has_100_before_there_are_levels_and_all_power_since_version_12(version: RoomVersion) -> None:
    before, after = levels(None, version), levels({"users": {BOB: 7}}, version)
    if version.id == "12":
        assert before.user_level(ALICE) == after.user_level(ALICE) == INFINITE_LEVEL > 2**53 - 1
    else:
        assert before.user_level(ALICE) == 100
        assert after.user_level(ALICE) == 0
    assert before.user_level(BOB) == 0
    assert after.user_level(BOB) == 7


def test_levels_are_read_from_the_content() -> None:
    power = levels(
        {
            "users_default": 1,
            "events_default": 2,
            "state_default": 3,
            "invite": 4,
            "kick": 5,
            "ban": 6,
            "redact": 7,
            "users": {BOB: 8},
            "events": {"m.room.name": 9, "m.room.message": 0},
            "notifications": {"room": 10},
        }
    )
    assert (power.users_default, power.events_default, power.state_default) == (1, 2, 3)
    assert (power.invite, power.kick, power.ban, power.redact) == (4, 5, 6, 7)
    assert (power.user_level(BOB), power.user_level(ALICE)) == (8, 1)
    assert power.event_level("m.room.name", is_state=True) == 9
    assert power.event_level("m.room.message", is_state=False) == 0
    assert power.event_level("m.room.topic", is_state=True) == 3
    assert power.event_level("m.reaction", is_state=False) == 2
    assert (power.notification_level("room"), power.notification_level("other")) == (10, 50)


def test_levels_that_are_nonsense_count_as_missing() -> None:
    for nonsense in NONSENSE:
        if nonsense == 1 and nonsense is not True:
            continue
        power = levels({"users_default": 1, "ban": nonsense, "users": {BOB: nonsense}, "events": {"a": nonsense}})
        assert power.ban == 50
        assert power.user_level(BOB) == 1
        assert power.event_level("a", is_state=True) == 50
    for nonsense in NONSENSE:
        power = levels({"users": nonsense, "events": nonsense, "notifications": nonsense})
        assert (power.user_level(BOB), power.event_level("x", is_state=False)) == (0, 0)


def test_levels_follow_the_tolerance_of_the_version() -> None:
    content = {"ban": "60", "kick": 70.9, "users": {BOB: "8"}}
    read = [
        (power.ban, power.kick, power.user_level(BOB))
        for power in (levels(content, version) for version in (V5, V6, V9, V10))
    ]
    assert read == [(60, 70, 8), (60, 50, 8), (60, 50, 8), (50, 50, 0)]


@given(st.integers(-(2**53) + 1, 2**53 - 1))
def test_creators_outrank_every_level_that_can_be_written(level: int) -> None:
    power = levels({"users": {BOB: level}}, V12)
    assert power.user_level(ALICE) > power.user_level(BOB)
