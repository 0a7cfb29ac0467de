"""Rule 1: https://spec.matrix.org/v1.19/rooms/v12/#authorisation-rules."""

from typing import Any

import pytest

from federation.core.auth.create import check_create
from federation.core.auth.rules import check, check_auth_events
from federation.core.errors import Rejected
from federation.core.events.pdu import Pdu
from federation.core.ids import EventID, RoomID
from federation.core.room_versions import ROOM_VERSIONS
from tests.support.rooms import ALICE, BOB, Room, versions


def create(version: str, content: dict[str, Any], **how: Any) -> Pdu:
    """Return a create event with exactly this content."""
    return Room(ROOM_VERSIONS[version]).send(ALICE, "m.room.create", content, "", **how)


def refused(event: Pdu) -> bool:
    """Return whether a room may not begin like this."""
    try:
        check_create(event)
    except Rejected:
        return True
    return False


@pytest.mark.parametrize("version", versions())
def test_a_room_of_each_version_can_begin(version: str) -> None:
    room = Room.begin(version)
    check(room.create, {})
    check_auth_events(room.create, [])


@pytest.mark.parametrize("version", versions())
def test_1_1_nothing_comes_before_it(version: str) -> None:
    content = {"room_version": version, "creator": ALICE}
    assert refused(create(version, content, prev=[EventID("$before:a.example")]))


@pytest.mark.parametrize("version", versions(last="11"))
@pytest.mark.parametrize(("room_id", "allowed"), [("!room:a.example", True), ("!room:b.example", False)])
def test_1_2_until_v11_the_room_id_is_of_the_senders_server(version: str, room_id: str, allowed: bool) -> None:
    event = create(version, {"room_version": version, "creator": ALICE}, room_id=RoomID(room_id))
    assert refused(event) is not allowed


def test_1_2_since_v12_it_has_no_room_id() -> None:
    assert refused(create("12", {"room_version": "12"}, room_id=RoomID("!" + "A" * 43)))
    assert not refused(create("12", {"room_version": "12"}))


@pytest.mark.parametrize("version", versions())
@pytest.mark.parametrize(
    ("room_version", "allowed"),
    [("1", True), ("12", True), ("13", False), ("", False), (1, False), (None, False), (["12"], False)],
)
def test_1_3_the_version_is_a_known_one(version: str, room_version: object, allowed: bool) -> None:
    assert refused(create(version, {"room_version": room_version, "creator": ALICE})) is not allowed


def test_1_3_a_room_without_a_version_is_allowed() -> None:
    assert not refused(create("1", {"creator": ALICE}))


@pytest.mark.parametrize(
    ("version", "needed"),
    [*((version, True) for version in versions(last="10")), *((version, False) for version in versions(first="11"))],
)
def test_1_4_until_v10_the_creator_is_named(version: str, needed: bool) -> None:
    assert refused(create(version, {"room_version": version})) is needed


@pytest.mark.parametrize(
    ("additional", "allowed"),
    [
        ([], True),
        ([BOB], True),
        ([BOB, BOB], True),
        (["bob"], False),
        ([BOB, 1], False),
        ([None], False),
        (["@" + "b" * 250 + ":b.example"], False),
        (BOB, False),
        (None, False),
        ({BOB: 1}, False),
    ],
)
def test_1_4_since_v12_additional_creators_are_user_ids(additional: object, allowed: bool) -> None:
    content = {"room_version": "12", "additional_creators": additional}
    assert refused(create("12", content)) is not allowed
    # Nobody looked at it before.
    assert not refused(create("11", {**content, "room_version": "11"}))
