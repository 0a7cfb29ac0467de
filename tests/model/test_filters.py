"""Filters: https://spec.matrix.org/v1.19/client-server-api/#filtering."""

from typing import Any

import msgspec
import pytest

from homeserver.model.events import Event
from homeserver.model.filters import EVERYTHING, EventFilter, Filter, RoomEventFilter, RoomFilter


class _Sent:
    """What a filter looks at of an event."""

    def __init__(self, **content: Any) -> None:
        self.type = "m.room.message"
        self.sender = "@alice:hs1"
        self.room_id = "!room:hs1"
        self.content = content


def passes(content: dict[str, Any] | None = None, **wanted: Any) -> bool:
    event: Any = _Sent(**(content or {}))
    sent: Event = event
    return msgspec.convert(wanted, RoomEventFilter).matches(sent)


@pytest.mark.parametrize(
    ("wanted", "passing"),
    [
        ({}, True),
        ({"types": ["m.room.message"]}, True),
        ({"types": ["m.room.topic"]}, False),
        ({"types": []}, False),
        ({"types": ["m.room.*"]}, True),
        ({"types": ["*"]}, True),
        ({"types": ["m.*.message"]}, True),
        ({"types": ["m.room.?essage"]}, False),
        ({"types": ["M.ROOM.*"]}, False),
        ({"not_types": ["m.room.message"]}, False),
        ({"not_types": ["m.room.*"]}, False),
        ({"not_types": ["m.reaction"]}, True),
        ({"types": ["m.room.message"], "not_types": ["*"]}, False),
        ({"senders": ["@alice:hs1"]}, True),
        ({"senders": ["@bob:hs1"]}, False),
        ({"senders": []}, False),
        ({"not_senders": ["@alice:hs1"]}, False),
        ({"senders": ["@alice:hs1"], "not_senders": ["@alice:hs1"]}, False),
        ({"rooms": ["!room:hs1"]}, True),
        ({"rooms": ["!other:hs1"]}, False),
        ({"rooms": []}, False),
        ({"not_rooms": ["!room:hs1"]}, False),
        ({"contains_url": True}, False),
        ({"contains_url": False}, True),
        ({"limit": 5, "lazy_load_members": True}, True),
    ],
)
def test_what_passes(wanted: dict[str, Any], passing: bool) -> None:
    assert passes(**wanted) is passing


def test_events_with_a_url_are_told_apart() -> None:
    assert passes({"url": "mxc://hs1/a"}, contains_url=True)
    assert not passes({"url": "mxc://hs1/a"}, contains_url=False)


def test_account_data_has_no_sender() -> None:
    assert EventFilter(types=("m.*",)).wants("m.direct")
    assert EventFilter(not_senders=("@alice:hs1",)).wants("m.direct")
    assert not EventFilter(senders=("@alice:hs1",)).wants("m.direct")
    assert not EventFilter(not_senders=("@alice:hs1",)).wants("m.presence", "@alice:hs1")


def test_rooms_are_chosen() -> None:
    assert RoomFilter().wants_room("!a:hs1")
    assert not RoomFilter(rooms=("!b:hs1",)).wants_room("!a:hs1")
    assert not RoomFilter(not_rooms=("!a:hs1",)).wants_room("!a:hs1")


@pytest.mark.parametrize(
    "wrong",
    [
        {"room": {"timeline": {"limit": -1}}},
        {"room": {"timeline": {"limit": "ten"}}},
        {"room": {"timeline": {"types": "m.room.message"}}},
        {"room": {"timeline": {"types": [1]}}},
        {"room": {"state": {"senders": ["alice"]}}},
        {"room": {"rooms": ["room"]}},
        {"room": {"ephemeral": {"not_rooms": ["#room:hs1"]}}},
        {"room": []},
        {"presence": {"not_senders": ["hs1"]}},
        {"event_format": "raw"},
        {"event_fields": "content.body"},
    ],
)
def test_what_is_no_filter_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, Filter)


def test_unknown_fields_are_left_alone() -> None:
    assert msgspec.convert({"room": {"org.example": 1}, "org.example": []}, Filter) == EVERYTHING


@pytest.mark.parametrize(
    ("fields", "picked"),
    [
        (["type"], {"type": "m.x"}),
        (["content.body"], {"content": {"body": "hi"}}),
        (["content.body", "content.m\\.relates_to.rel_type"],
         {"content": {"body": "hi", "m.relates_to": {"rel_type": "r"}}}),
        (["content", "content.body"], {"content": {"body": "hi", "m.relates_to": {"rel_type": "r", "event_id": "$e"}}}),
        (["content.body.inner", "nothing"], {}),
        ([], {}),
    ],
)  # fmt: skip
def test_fields_are_picked(fields: list[str], picked: dict[str, Any]) -> None:
    event = {"type": "m.x", "content": {"body": "hi", "m.relates_to": {"rel_type": "r", "event_id": "$e"}}}
    assert msgspec.convert({"event_fields": fields}, Filter).pick(event) == picked
    assert EVERYTHING.pick(event) == event
