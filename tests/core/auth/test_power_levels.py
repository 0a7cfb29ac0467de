"""Rule 10, row by row: https://spec.matrix.org/v1.19/rooms/v12/#authorisation-rules."""

from typing import Any

import pytest

from federation.core.ids import UserID
from tests.support.rooms import ALICE, BOB, CAROL, DAVE, Room, versions

NAMED = ("users_default", "events_default", "state_default", "ban", "redact", "kick", "invite")
ANYONE = {"m.room.power_levels": 0}
"""Lets anyone try: whoever may send the event is then judged by what it changes."""


def begun(version: str, joined: tuple[UserID, ...] = ()) -> Room:
    """Return a room that has no power levels yet."""
    room = Room.begin(version)
    for user in (ALICE, *joined):
        room.joins(user)
    return room


def room_with(version: str, own: int, **content: Any) -> Room:
    """Return a room with these power levels, in which Bob has level `own` and may send power levels.

    Its creator is Dave, whom no row is about.
    """
    room = Room.begin(version, creator=DAVE)
    for user in (DAVE, BOB, CAROL):
        room.joins(user)
    content = {"events": ANYONE, **content, "users": {BOB: own, **content.get("users", {})}}
    room.sets(DAVE, "m.room.power_levels", content)
    return room


def current(room: Room) -> dict[str, Any]:
    """Return the power levels of a room."""
    return dict(room.pdus()["m.room.power_levels", ""].content)


def may_set(room: Room, **content: Any) -> bool:
    """Return whether Bob may set the levels as they are but for `content`; None takes a property away."""
    changed = {key: value for key, value in {**current(room), **content}.items() if value is not None}
    return room.allows(room.fork().sets(BOB, "m.room.power_levels", changed))


# A value, and the last version in which it is a level.
VALUES: list[tuple[object, int]] = [
    (0, 12),
    (-50, 12),
    (2**53 - 1, 12),
    ("50", 9),
    (" +0050 ", 9),
    ("-50", 9),
    ("fifty", 0),
    ("", 0),
    ("5.0", 0),
    ("9" * 5000, 0),
    (50.57, 5),
    (5.114698e4, 5),
    (True, 0),
    (None, 0),
    ([50], 0),
    ({"level": 50}, 0),
]


def holds(version: str, value: object) -> bool:
    """Return whether an event of the version can have `value` in it at all."""
    return not isinstance(value, float) or int(version) < 6


@pytest.mark.parametrize("version", versions())
@pytest.mark.parametrize(("value", "last"), VALUES)
def test_10_3_the_level_of_a_user_is_an_integer(version: str, value: object, last: int) -> None:
    if holds(version, value):
        room = begun(version)
        event = room.fork().sets(ALICE, "m.room.power_levels", {"users": {BOB: value}})
        assert room.allows(event) is (int(version) <= last)


@pytest.mark.parametrize("version", versions())
@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize(("value", "last"), VALUES)
def test_10_1_named_levels_are_integers(version: str, name: str, value: object, last: int) -> None:
    if not holds(version, value):
        return
    room = begun(version)
    # Until v9 no rule looks at these in the first power levels.
    event = room.fork().sets(ALICE, "m.room.power_levels", {name: value})
    assert room.allows(event) is (int(version) <= max(last, 9))
    room = room_with(version, own=2**53 - 1)
    assert may_set(room, **{name: value}) is (int(version) <= last or value is None)


@pytest.mark.parametrize("version", versions())
@pytest.mark.parametrize("table", ["events", "notifications"])
@pytest.mark.parametrize(("value", "last"), VALUES)
def test_10_2_tables_hold_integers(version: str, table: str, value: object, last: int) -> None:
    if not holds(version, value):
        return
    room = room_with(version, own=2**53 - 1)
    unread = table == "notifications" and int(version) < 6
    assert may_set(room, **{table: {**ANYONE, "x": value}}) is (int(version) <= last or unread)
    # Until v9 no rule looks at these in the first power levels.
    room = begun(version)
    event = room.fork().sets(ALICE, "m.room.power_levels", {table: {"x": value}})
    assert room.allows(event) is (int(version) <= max(last, 9))


@pytest.mark.parametrize("version", versions())
@pytest.mark.parametrize("table", ["users", "events", "notifications"])
@pytest.mark.parametrize("value", [1, "x", [], True])
def test_10_2_and_10_3_tables_are_objects(version: str, table: str, value: object) -> None:
    room = room_with(version, own=100)
    unread = table == "notifications" and int(version) < 6
    assert may_set(room, **{table: value}) is unread
    # In the first power levels, until v9 only `users` are looked at.
    room = begun(version)
    event = room.fork().sets(ALICE, "m.room.power_levels", {table: value})
    assert room.allows(event) is (table != "users" and int(version) < 10)


@pytest.mark.parametrize("version", versions())
@pytest.mark.parametrize("user_id", ["bob", "@bob", "bob:b.example", "", "@" + "b" * 250 + ":b.example"])
def test_10_3_users_are_user_ids(version: str, user_id: str) -> None:
    room = begun(version)
    event = room.fork().sets(ALICE, "m.room.power_levels", {"users": {user_id: 50}})
    assert not room.allows(event)


@pytest.mark.parametrize("version", versions())
@pytest.mark.parametrize("listed", [ALICE, BOB])
def test_10_4_since_v12_creators_are_not_listed(version: str, listed: UserID) -> None:
    room = Room.begin(version, additional_creators=[BOB])
    room.joins(ALICE)
    for _ in range(2):  # with and without previous power levels
        event = room.fork().sets(ALICE, "m.room.power_levels", {"users": {listed: 100}})
        assert room.allows(event) is (int(version) < 12)
        room.levels(ALICE, {CAROL: 50})


@pytest.mark.parametrize("version", versions())
def test_10_5_the_first_power_levels_may_be_any(version: str) -> None:
    room = begun(version)
    event = room.fork().sets(ALICE, "m.room.power_levels", {"users": {BOB: 1000}, "ban": 1000, "events": {"x": 1000}})
    assert room.allows(event)


# Bob's level, the value now, the value he sets: may he? None is no value.
CHANGES: list[tuple[int, int | None, int | None, bool]] = [
    (50, 50, 50, True),
    (50, 50, 0, True),
    (50, 0, 50, True),
    (50, 0, 51, False),
    (50, 51, 50, False),
    (50, 51, 51, True),  # left alone
    (50, None, 50, True),
    (50, None, 51, False),
    (50, 50, None, True),
    (50, 51, None, False),
    (50, None, None, True),
]


@pytest.mark.parametrize("version", versions())
@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize(("own", "old", "new", "allowed"), CHANGES)
def test_10_6_named_levels_change_up_to_ones_own(
    version: str, name: str, own: int, old: int | None, new: int | None, allowed: bool
) -> None:
    room = room_with(version, own, **({} if old is None else {name: old}))
    assert may_set(room, **{name: new}) is allowed


@pytest.mark.parametrize("version", versions())
@pytest.mark.parametrize("table", ["events", "notifications"])
@pytest.mark.parametrize(("own", "old", "new", "allowed"), CHANGES)
def test_10_7_and_10_8_entries_change_up_to_ones_own(
    version: str, table: str, own: int, old: int | None, new: int | None, allowed: bool
) -> None:
    def entries(value: int | None) -> dict[str, int]:
        return {**(ANYONE if table == "events" else {}), **({} if value is None else {"x": value})}

    room = room_with(version, own, **{table: entries(old)})
    unread = table == "notifications" and int(version) < 6
    assert may_set(room, **{table: entries(new)}) is (allowed or unread)


# Bob's level, Carol's level now, the level he gives her: may he?
OTHERS: list[tuple[int, int | None, int | None, bool]] = [
    (50, 49, 0, True),
    (50, 49, 50, True),
    (50, 49, 51, False),
    (50, 50, 49, False),  # not of equals
    (50, 50, None, False),
    (50, 51, 0, False),
    (50, 51, 51, True),
    (50, 49, None, True),
    (50, None, 50, True),
    (50, None, 51, False),
]


@pytest.mark.parametrize("version", versions())
@pytest.mark.parametrize(("own", "old", "new", "allowed"), OTHERS)
def test_10_9_and_10_10_levels_of_others(
    version: str, own: int, old: int | None, new: int | None, allowed: bool
) -> None:
    room = room_with(version, own, users={} if old is None else {CAROL: old})
    users = {BOB: own} if new is None else {BOB: own, CAROL: new}
    assert may_set(room, users=users) is allowed


@pytest.mark.parametrize("version", versions())
@pytest.mark.parametrize(("new", "allowed"), [(50, True), (0, True), (None, True), (51, False)])
def test_10_9_ones_own_level_may_only_sink(version: str, new: int | None, allowed: bool) -> None:
    room = room_with(version, own=50)
    assert may_set(room, users={} if new is None else {BOB: new}) is allowed


@pytest.mark.parametrize("version", versions(last="9"))
def test_a_level_is_the_same_however_it_is_written(version: str) -> None:
    room = room_with(version, own=50, ban="60", events={**ANYONE, "x": "60"}, users={CAROL: "60"})
    assert may_set(room, ban=60, events={**ANYONE, "x": " 060 "}, users={BOB: "50", CAROL: 60})


@pytest.mark.parametrize("version", versions(last="9"))
def test_nobody_is_bound_by_what_is_no_level(version: str) -> None:
    room = begun(version, joined=(BOB,))
    room.sets(ALICE, "m.room.power_levels", {"users": {BOB: 50}, "ban": "many", "events": [], "kick": 60})
    assert may_set(room, ban=50, events={"x": 50})
    assert not may_set(room, ban=50, events={"x": 51})
    assert not may_set(room, ban="many", events={})


@pytest.mark.parametrize("version", versions())
def test_without_power_levels_only_the_creator_has_any(version: str) -> None:
    room = begun(version, joined=(BOB,))
    for user, allowed in ((ALICE, True), (BOB, False)):
        assert room.allows(room.fork().sets(user, "m.room.power_levels", {})) is allowed


def test_a_creator_has_every_level_since_v12() -> None:
    room = Room.begin("12", additional_creators=[BOB])
    room.joins(ALICE)
    room.joins(BOB)
    room.sets(ALICE, "m.room.power_levels", {"ban": 2**53 - 1, "events": {"m.room.power_levels": 2**53 - 1}})
    assert may_set(room, ban=0, events={})
