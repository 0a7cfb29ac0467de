"""Events from the wire: https://spec.matrix.org/v1.19/server-server-api/#pdus."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.core.errors import BadEvent
from federation.core.events.draft import Draft
from federation.core.events.pdu import Pdu
from federation.core.ids import EventID
from federation.core.room_versions import ROOM_VERSIONS, RoomVersion
from tests.core.events.samples import ALICE, VERSIONS, built, event_id, message, room_id

every_version = pytest.mark.parametrize("version", VERSIONS, ids=lambda version: f"v{version.id}")

# Everything that a JSON reader could ever give, and more: lone surrogates, NaN, integers of any size.
texts = st.text(st.characters(exclude_categories=()))
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts | st.sampled_from(["$a:b", "@a:b", "!a:b"])
anything = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=10)


def redaction(version: RoomVersion, **changes: Any) -> Pdu:
    fields = dict(message(version, {}, type="m.room.redaction").fields)
    return Pdu.from_wire(fields | changes, version)


@every_version
def test_an_event_from_the_wire_has_its_fields_typed(version: RoomVersion) -> None:
    fields = orjson.loads(orjson.dumps(dict(message(version, state_key="key").fields)))
    pdu = Pdu.from_wire(fields, version)
    assert pdu == Pdu(
        version=version,
        event_id=pdu.event_id,
        room_id=room_id(version),
        type="m.room.message",
        sender=ALICE,
        state_key="key",
        content={"msgtype": "m.text", "body": "hi"},
        origin_server_ts=1_700_000_000_000,
        depth=7,
        auth_events=(event_id(version, "a"), event_id(version, "b")),
        prev_events=(event_id(version, "p"),),
        redacts=None,
        fields=fields,
    )


@every_version
def test_unsigned_data_is_no_part_of_an_event(version: RoomVersion) -> None:
    sent = message(version)
    for unsigned in ({"age": 1}, None, {"a": "x" * 70_000}, {"a": 1.5}):
        fields = dict(sent.fields) | {"unsigned": unsigned}
        assert Pdu.from_wire(fields, version) == sent
        assert fields["unsigned"] is unsigned


@every_version
def test_a_state_event_has_a_slot_and_others_have_none(version: RoomVersion) -> None:
    state, other = message(version, state_key=""), message(version)
    assert state.is_state
    assert state.slot == ("m.room.message", "")
    assert not other.is_state
    with pytest.raises(ValueError, match="not a state event"):
        _ = other.slot


def test_the_room_of_a_create_event_since_version_12_is_named_by_the_event() -> None:
    draft = Draft(room_id=None, type="m.room.create", sender=ALICE, content={"room_version": "12"}, state_key="")
    create = built(draft, ROOM_VERSIONS["12"], prev_events=[], auth_events=[])
    assert "room_id" not in create.fields
    assert create.room_id == "!" + create.event_id[1:]
    assert Pdu.from_wire(create.fields, create.version) == create


def test_a_room_id_that_a_create_event_claims_is_not_believed_since_version_12() -> None:
    version = ROOM_VERSIONS["12"]
    create = message(version, {}, type="m.room.create", state_key="")
    assert create.fields["room_id"] == room_id(version)
    assert create.room_id == "!" + create.event_id[1:]


@every_version
def test_a_redaction_says_what_it_redacts_where_the_version_puts_it(version: RoomVersion) -> None:
    target = event_id(version, "t")
    if version.id in ("11", "12"):
        assert redaction(version, content={"redacts": target}).redacts == target
        assert redaction(version, redacts=target).redacts is None
        assert redaction(version, content={"redacts": 1}).redacts is None
    else:
        assert redaction(version, redacts=target).redacts == target
        assert redaction(version, content={"redacts": target}).redacts is None
    assert redaction(version).redacts is None


@every_version
def test_only_a_redaction_redacts(version: RoomVersion) -> None:
    target = event_id(version, "t")
    fields = dict(message(version, {"redacts": target}).fields) | {"redacts": target}
    assert Pdu.from_wire(fields, version).redacts is None


def test_events_can_be_members_of_a_set() -> None:
    first, again, second = (message(ROOM_VERSIONS["12"], {"body": body}) for body in "aab")
    assert {first, again, second} == {first, second}


@every_version
def test_an_event_from_our_own_store_is_as_it_was(version: RoomVersion) -> None:
    sent = message(version, state_key="")
    assert Pdu.trusted(sent.fields, version, sent.event_id) == sent
    assert Pdu.trusted(sent.fields, version, EventID("$other")).event_id == "$other"


@given(st.sampled_from(VERSIONS), anything)
def test_any_json_is_an_event_or_a_bad_one(version: RoomVersion, value: object) -> None:
    with pytest.raises(BadEvent):
        Pdu.from_wire(value, version)


@given(st.data())
def test_an_event_with_anything_in_it_is_an_event_or_a_bad_one(data: st.DataObject) -> None:
    version = data.draw(st.sampled_from(VERSIONS))
    fields = dict(message(version, state_key="").fields)
    for name in data.draw(st.lists(st.sampled_from([*sorted(fields), "redacts", "unsigned"]), max_size=3)):
        fields[name] = data.draw(anything)
    for name in data.draw(st.lists(st.sampled_from(sorted(fields)), max_size=1)):
        del fields[name]
    try:
        pdu = Pdu.from_wire(fields, version)
    except BadEvent:
        return
    assert pdu.fields == {name: value for name, value in fields.items() if name != "unsigned"}
