"""An EDU says only what its origin may say, in the form of its type."""

from typing import Any

import pytest

from federation.core.ids import RoomID, ServerName
from federation.matrix.edus import MOST_ENTRIES, Edu, read

ORIGIN = ServerName("b.example")
ROOM, OTHER_ROOM = "!room:a.example", "!other:a.example"
RECEIPT = {"event_ids": ["$event:a.example"], "data": {"ts": 5}}
PRESENT = {"presence": "online", "last_active_ago": 5, "currently_active": True}
MESSAGE = {"sender": "@bob:b.example", "type": "m.test", "message_id": "1"}

GOOD: list[tuple[str, dict[str, Any]]] = [
    ("m.typing", {"room_id": ROOM, "user_id": "@bob:b.example", "typing": True}),
    ("m.presence", {"push": [{"user_id": "@bob:b.example", **PRESENT}]}),
    ("m.receipt", {ROOM: {"m.read": {"@bob:b.example": RECEIPT}}}),
    ("m.receipt", {ROOM: {"m.read": {"@bob:b.example": {**RECEIPT, "data": {"ts": 5, "thread_id": "main"}}}}}),
    ("m.device_list_update", {"user_id": "@bob:b.example", "device_id": "D", "stream_id": 3, "prev_id": [2]}),
    ("m.signing_key_update", {"user_id": "@bob:b.example", "master_key": {}, "self_signing_key": {}}),
    ("m.direct_to_device", {**MESSAGE, "messages": {"@alice:a.example": {"D": {"a": 1}, "*": {}}}}),
]


@pytest.mark.parametrize(("edu_type", "content"), GOOD)
def test_what_a_server_says_of_its_own_users_is_taken(edu_type: str, content: dict[str, Any]) -> None:
    assert read(ORIGIN, {"edu_type": edu_type, "content": content}) == Edu(edu_type, content)


@pytest.mark.parametrize(("edu_type", "content"), GOOD)
def test_what_it_says_of_the_users_of_others_is_not(edu_type: str, content: dict[str, Any]) -> None:
    for other in ("evil.example", "b.example:8448", "sub.b.example"):
        assert read(ServerName(other), {"edu_type": edu_type, "content": content}) is None


@pytest.mark.parametrize(
    ("edu_type", "content"),
    [
        ("m.typing", {"room_id": "room", "user_id": "@bob:b.example", "typing": True}),
        ("m.typing", {"room_id": ROOM, "user_id": "@bob:b.example", "typing": 1}),
        ("m.typing", {"room_id": ROOM, "typing": True}),
        ("m.presence", {"push": {"user_id": "@bob:b.example", **PRESENT}}),
        ("m.presence", {"push": [{"user_id": "@bob:b.example", **PRESENT, "presence": "bored"}]}),
        ("m.presence", {"push": [{"user_id": "@bob:b.example", **PRESENT, "last_active_ago": -1}]}),
        ("m.presence", {"push": [{"user_id": "@bob:b.example", **PRESENT, "status_msg": {}}]}),
        ("m.receipt", {ROOM: {"m.read": {"@bob:b.example": {"event_ids": [], "data": {"ts": 1}}}}}),
        ("m.receipt", {ROOM: {"m.read": {"@bob:b.example": {"event_ids": ["$a:b"] * 2, "data": {"ts": 1}}}}}),
        ("m.receipt", {ROOM: {"m.read": {"@bob:b.example": {**RECEIPT, "data": {"ts": True}}}}}),
        ("m.receipt", {ROOM: {"m.read": {"@bob:b.example": {**RECEIPT, "data": {"ts": 1, "thread_id": ""}}}}}),
        ("m.receipt", {ROOM: {"m.read.private": {"@bob:b.example": RECEIPT}}}),
        ("m.receipt", {"room": {"m.read": {"@bob:b.example": RECEIPT}}}),
        ("m.device_list_update", {"user_id": "@bob:b.example", "device_id": 5, "stream_id": 3}),
        ("m.device_list_update", {"user_id": "@bob:b.example", "device_id": "D", "stream_id": "3"}),
        ("m.device_list_update", {"user_id": "@bob:b.example", "device_id": "D", "stream_id": 3, "prev_id": ["2"]}),
        ("m.signing_key_update", {"user_id": "@bob:b.example", "master_key": []}),
        (
            "m.direct_to_device",
            {**MESSAGE, "messages": {"@alice:a.example": {"D": "text"}, "alice": {"D": {}}}, "x": 1},
        ),
        ("m.direct_to_device", {**MESSAGE, "message_id": "x" * 256, "messages": {"@alice:a.example": {"D": {}}}}),
        ("m.unheard_of", {"user_id": "@bob:b.example"}),
        ("m.typing", []),
    ],
)
def test_what_has_not_the_form_of_its_type_is_left_out(edu_type: str, content: Any) -> None:
    assert read(ORIGIN, {"edu_type": edu_type, "content": content}) is None


@pytest.mark.parametrize("edu", [None, 5, [], {}, {"edu_type": ["m.typing"], "content": {}}, {"edu_type": "m.typing"}])
def test_what_is_no_edu_is_left_out(edu: object) -> None:
    assert read(ORIGIN, edu) is None


def test_only_the_own_users_of_a_list_are_left() -> None:
    content = {
        ROOM: {"m.read": {"@bob:b.example": RECEIPT, "@alice:a.example": RECEIPT}},
        OTHER_ROOM: {"m.read": {"@alice:a.example": RECEIPT}},
    }
    edu = read(ORIGIN, {"edu_type": "m.receipt", "content": content})
    assert edu == Edu("m.receipt", {ROOM: {"m.read": {"@bob:b.example": RECEIPT}}})


def test_one_edu_speaks_of_a_bounded_number_of_things() -> None:
    push = [{"user_id": f"@u{number}:b.example", **PRESENT} for number in range(MOST_ENTRIES + 5)]
    edu = read(ORIGIN, {"edu_type": "m.presence", "content": {"push": push}})
    assert edu is not None
    assert len(edu.content["push"]) == MOST_ENTRIES


def test_rooms_that_refuse_the_server_are_taken_out() -> None:
    receipt = {"m.read": {"@bob:b.example": RECEIPT}}
    edu = Edu("m.receipt", {ROOM: receipt, OTHER_ROOM: receipt})
    assert edu.rooms() == {ROOM, OTHER_ROOM}
    assert edu.without_rooms({RoomID(ROOM)}) == Edu("m.receipt", {OTHER_ROOM: receipt})
    assert edu.without_rooms({RoomID(ROOM), RoomID(OTHER_ROOM)}) is None
    typing = Edu("m.typing", {"room_id": ROOM, "user_id": "@bob:b.example", "typing": True})
    assert typing.rooms() == {ROOM}
    assert typing.without_rooms({RoomID(ROOM)}) is None
    assert typing.without_rooms({RoomID(OTHER_ROOM)}) is typing
    presence = Edu("m.presence", {"push": []})
    assert presence.rooms() == set()
    assert presence.without_rooms({RoomID(ROOM)}) is presence
