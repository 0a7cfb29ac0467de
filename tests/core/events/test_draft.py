"""Events of our own: https://spec.matrix.org/v1.19/server-server-api/#signing-events."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.core.errors import BadEvent, BadJson, EventTooLarge
from federation.core.events.draft import Draft, template
from federation.core.events.pdu import Pdu
from federation.core.hashing import event_id_of, has_valid_content_hash
from federation.core.ids import UserID
from federation.core.room_versions import ROOM_VERSIONS, RoomVersion
from federation.core.signing import verify_event
from tests.core.events.samples import ALICE, KEY, SERVER, VERSIONS, built, event_id, message, room_id
from tests.core.test_canonical_json import strict_json

every_version = pytest.mark.parametrize("version", VERSIONS, ids=lambda version: f"v{version.id}")


def draft(version: RoomVersion, **changes: Any) -> Draft:
    return replace(Draft(room_id(version), "m.room.message", ALICE, {"body": "hi"}), **changes)


@given(
    st.sampled_from(VERSIONS),
    st.sampled_from(["m.room.message", "m.room.member", "m.room.power_levels", "m.room.create", "x"]),
    st.dictionaries(st.text(), strict_json, max_size=4),
    st.none() | st.text(max_size=60),
    st.integers(0, 2**70),
)
def test_every_event_that_we_build_is_one_that_others_accept(
    version: RoomVersion, event_type: str, content: dict[str, Any], state_key: str | None, depth: int
) -> None:
    pdu = built(draft(version, type=event_type, content=content, state_key=state_key), version, depth=depth)

    assert Pdu.from_wire(dict(pdu.fields), version) == pdu
    assert pdu.event_id == event_id_of(pdu.fields, version)
    assert has_valid_content_hash(pdu.fields)
    verify_event(pdu.fields, version, SERVER, KEY.key_id, KEY.public_key)
    assert (pdu.type, pdu.state_key, pdu.content) == (event_type, state_key, content)


@every_version
def test_the_wire_form_holds_these_fields_and_no_others(version: RoomVersion) -> None:
    expected = "auth_events content depth hashes origin_server_ts prev_events room_id sender signatures type"
    if not version.event_id_is_hash:
        expected += " event_id"
    assert set(message(version).fields) == set(expected.split())


@every_version
def test_a_redaction_names_its_target_where_the_version_puts_it(version: RoomVersion) -> None:
    content = {"reason": "spam"}
    target = event_id(version, "t")
    pdu = built(draft(version, type="m.room.redaction", content=content, redacts=target), version)
    assert pdu.redacts == target
    if version.id in ("11", "12"):
        assert pdu.content == {"reason": "spam", "redacts": target}
        assert "redacts" not in pdu.fields
    else:
        assert pdu.content == {"reason": "spam"}
        assert pdu.fields["redacts"] == target
    assert content == {"reason": "spam"}


@every_version
def test_other_events_are_cited_in_the_form_of_the_version(version: RoomVersion) -> None:
    known, unknown = event_id(version, "k"), event_id(version, "u")
    pdu = built(
        draft(version),
        version,
        prev_events=[known],
        auth_events=[known, unknown],
        reference_hashes={known: "hash"},
    )
    assert (pdu.prev_events, pdu.auth_events) == ((known,), (known, unknown))
    if version.id in ("1", "2"):
        assert pdu.fields["auth_events"] == [[known, {"sha256": "hash"}], [unknown, {}]]
    else:
        assert pdu.fields["auth_events"] == [known, unknown]


@pytest.mark.parametrize("number", ["1", "2"])
def test_until_version_2_we_choose_the_event_id(number: str) -> None:
    version = ROOM_VERSIONS[number]
    assert message(version).event_id == "$unique:example.org"
    with pytest.raises(ValueError, match="opaque_id"):
        built(draft(version), version, opaque_id="")


@every_version
def test_depth_stays_at_the_greatest_that_the_version_allows(version: RoomVersion) -> None:
    assert built(draft(version), version, depth=2**63).depth == version.max_depth
    assert built(draft(version), version, depth=version.max_depth - 1).depth == version.max_depth - 1


@every_version
def test_content_that_the_version_cannot_express_is_bad_json(version: RoomVersion) -> None:
    if version.strict_canonical_json:
        with pytest.raises(BadJson):
            built(draft(version, content={"a": 1.5}), version)
    else:
        assert built(draft(version, content={"a": 1.5}), version).content == {"a": 1.5}
    with pytest.raises(BadJson):
        built(draft(version, content={"a": "\ud800"}), version)


@every_version
def test_an_event_that_is_too_large_is_not_built(version: RoomVersion) -> None:
    for changes in ({"content": {"body": "x" * 65536}}, {"type": "x" * 256}, {"state_key": "x" * 256}):
        with pytest.raises(EventTooLarge):
            built(draft(version, **changes), version)


def test_an_event_that_others_would_drop_is_not_built() -> None:
    version = ROOM_VERSIONS["12"]
    for changes in ({"sender": UserID("alice")}, {"room_id": None}, {"room_id": "!room:example.org"}):
        with pytest.raises(BadEvent):
            built(draft(version, **changes), version)


@every_version
def test_a_template_has_neither_id_nor_proofs(version: RoomVersion) -> None:
    fields = template(
        draft(version, state_key=ALICE),
        version=version,
        prev_events=[event_id(version, "p")],
        auth_events=[],
        depth=3,
        now_ms=5,
    )
    assert fields == {
        "auth_events": [],
        "content": {"body": "hi"},
        "depth": 3,
        "origin_server_ts": 5,
        "prev_events": [[event_id(version, "p"), {}] if version.id in ("1", "2") else event_id(version, "p")],
        "room_id": room_id(version),
        "sender": ALICE,
        "state_key": ALICE,
        "type": "m.room.message",
    }
