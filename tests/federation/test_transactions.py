"""A transaction is bounded before anything of it is looked at."""

from typing import Any

import pytest

from federation.core.errors import BadEvent, BadJson
from federation.core.ids import RoomID, ServerName
from federation.core.room_versions import ROOM_VERSIONS
from federation.matrix.edus import Edu
from federation.matrix.transactions import claimed_id, read_pdu, read_transaction, room_of
from tests.support.rooms import ALICE, VERSIONS, Room

ORIGIN = ServerName("b.example")
TYPING = {"room_id": "!room:a.example", "user_id": "@bob:b.example", "typing": True}


def test_a_transaction_holds_pdus_and_edus() -> None:
    body = {"pdus": [{"a": 1}, "no object"], "edus": [{"edu_type": "m.typing", "content": TYPING}, {}], "origin": "x"}
    transaction = read_transaction(ORIGIN, body)
    assert transaction.pdus == [{"a": 1}]
    assert transaction.edus == [Edu("m.typing", TYPING)]
    assert read_transaction(ORIGIN, {}).pdus == []


@pytest.mark.parametrize("body", [{"pdus": {}}, {"edus": "x"}, {"pdus": [{}] * 51}, {"pdus": [], "edus": [{}] * 101}])
def test_one_that_is_none_or_holds_too_much_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(BadJson):
        read_transaction(ORIGIN, body)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_event_is_known_by_its_id_whether_or_not_it_is_valid(version: str) -> None:
    room = Room.public(version)
    event = room.says(ALICE)
    assert room_of(event.fields) == room.create.room_id
    assert claimed_id(event.fields, ROOM_VERSIONS[version]) == event.event_id
    assert read_pdu(event.fields, event.version, event.room_id) == event
    assert claimed_id({**event.fields, "depth": -1}, ROOM_VERSIONS[version]) is not None


def test_the_id_of_an_event_of_an_unknown_room_is_guessed() -> None:
    for version in ("1", "11", "12"):
        event = Room.public(version).says(ALICE)
        assert claimed_id(event.fields, None) == event.event_id


@pytest.mark.parametrize("fields", [{}, {"event_id": 5}, {"event_id": "no"}, {"type": [], "content": 7}])
def test_what_has_no_id_has_none(fields: dict[str, Any]) -> None:
    assert claimed_id(fields, ROOM_VERSIONS["1"]) is None
    assert claimed_id(fields, ROOM_VERSIONS["11"]) is None
    assert claimed_id(fields, None) is None


@pytest.mark.parametrize("fields", [{}, {"room_id": 5}, {"room_id": "room"}])
def test_what_names_no_room_has_none(fields: dict[str, Any]) -> None:
    assert room_of(fields) is None


def test_an_event_of_another_room_and_one_with_ten_thousand_parents_are_refused() -> None:
    event = Room.public("11").says(ALICE)
    with pytest.raises(BadEvent):
        read_pdu(event.fields, event.version, RoomID("!other:a.example"))
    parents = [f"${number:043}" for number in range(10_000)]
    with pytest.raises(BadEvent):
        read_pdu({**event.fields, "prev_events": parents}, event.version, event.room_id)
