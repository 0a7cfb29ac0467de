"""Shape and size of events: https://spec.matrix.org/v1.19/client-server-api/#size-limits and the versions' formats."""

from typing import Any

import pytest

from federation.core.canonical_json import encode_lenient
from federation.core.errors import BadEvent, EventTooLarge
from federation.core.events.format import MAX_EVENT_BYTES, check
from federation.core.room_versions import ROOM_VERSIONS, RoomVersion
from tests.core.events.samples import VERSIONS, event_id, message, room_id

HASH_IDS = [version for version in VERSIONS if not version.references_carry_hashes]
PAIRS = [version for version in VERSIONS if version.references_carry_hashes]
STRICT = [version for version in VERSIONS if version.strict_canonical_json]
LENIENT = [version for version in VERSIONS if not version.strict_canonical_json]


def each(versions: list[RoomVersion]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("version", versions, ids=lambda version: f"v{version.id}")


def event(version: RoomVersion, **changes: Any) -> dict[str, Any]:
    return dict(message(version, state_key="").fields) | changes


def references(version: RoomVersion, count: int) -> list[Any]:
    ids = [event_id(version, "a")] * count
    return [[each_id, {"sha256": "x"}] for each_id in ids] if version.references_carry_hashes else list(ids)


def refused(version: RoomVersion, **changes: Any) -> bool:
    try:
        check(event(version, **changes), version)
    except BadEvent:
        return True
    return False


@each(VERSIONS)
def test_an_event_of_the_version_is_accepted(version: RoomVersion) -> None:
    check(event(version), version)
    check(event(version, anything={"else": None}, origin="example.org"), version)


@each(VERSIONS)
@pytest.mark.parametrize(
    "name",
    [
        "type",
        "sender",
        "room_id",
        "content",
        "origin_server_ts",
        "depth",
        "auth_events",
        "prev_events",
        "hashes",
        "signatures",
    ],
)
def test_every_field_is_required(version: RoomVersion, name: str) -> None:
    fields = event(version)
    del fields[name]
    with pytest.raises(BadEvent):
        check(fields, version)


@each(VERSIONS)
@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("type", [None, 1, [], {}]),
        ("sender", [None, 1, "", "alice", "@alice", "@a:b c", "!alice:example.org"]),
        ("room_id", [None, 1, "", "room", "!", "#room:example.org"]),
        ("state_key", [None, 1, [], {}]),
        ("content", [None, 1, "", [], True]),
        ("origin_server_ts", [None, "1", 1.5, True, {}]),
        ("depth", [None, "1", 1.5, True, -1]),
        ("auth_events", [None, "", {}, [1], [None], ["a"], [""], [[]], [{}], [["$a:b"]], [[1, {}]]]),
        ("prev_events", [None, "", {}, [1], [None], ["a"], [""], [[]], [{}], [["$a:b", {}, 1]], [["$a:b", 1]]]),
        ("hashes", [None, 1, [], {}, {"sha256": 1}, {"sha1": "x"}]),
        ("signatures", [None, 1, [], {"a": 1}, {"a": None}, {"a": {"ed25519:1": 1}}]),
    ],
)
def test_every_field_has_its_type(version: RoomVersion, name: str, wrong: list[object]) -> None:
    for value in wrong:
        assert refused(version, **{name: value}), value


@each(PAIRS)
def test_events_are_cited_with_their_hashes_until_version_2(version: RoomVersion) -> None:
    assert not refused(version, prev_events=[["$a:b", {"sha256": "x"}]], auth_events=[["$a:b", {}]])
    assert refused(version, prev_events=["$a:b"])
    assert refused(version, auth_events=["$a:b"])


@each(HASH_IDS)
def test_events_are_cited_by_their_ids_alone_since_version_3(version: RoomVersion) -> None:
    assert not refused(version, prev_events=["$" + "a" * 43])
    assert refused(version, prev_events=[["$" + "a" * 43, {"sha256": "x"}]])


@each(VERSIONS)
def test_there_are_at_most_10_auth_events_and_20_prev_events(version: RoomVersion) -> None:
    assert not refused(version, auth_events=references(version, 10), prev_events=references(version, 20))
    assert refused(version, auth_events=references(version, 11))
    assert refused(version, prev_events=references(version, 21))


@each(PAIRS)
def test_the_event_id_is_a_field_until_version_2(version: RoomVersion) -> None:
    for wrong in (None, 1, "", "$", "abc:example.org", "$" + "a" * 43):
        assert refused(version, event_id=wrong)


@each(VERSIONS)
def test_redacts_is_text_where_it_is_a_field(version: RoomVersion) -> None:
    assert refused(version, redacts=1) is (version.id not in ("11", "12"))
    assert not refused(version, redacts="$a")


@each(VERSIONS)
def test_the_room_id_has_the_form_of_the_version(version: RoomVersion) -> None:
    other = ROOM_VERSIONS["11" if version.id == "12" else "12"]
    assert not refused(version, room_id=room_id(version))
    assert refused(version, room_id=room_id(other))


@each(VERSIONS)
def test_only_the_create_event_since_version_12_has_no_room_id(version: RoomVersion) -> None:
    fields = event(version, type="m.room.create")
    check(fields, version)  # one that has a room ID is for the authorisation rules to reject
    del fields["room_id"]
    if version.id == "12":
        check(fields, version)
    else:
        with pytest.raises(BadEvent):
            check(fields, version)


@each(VERSIONS)
def test_depth_ends_at_the_greatest_integer_of_the_version(version: RoomVersion) -> None:
    greatest = 2**53 - 1 if version.strict_canonical_json else 2**63 - 1
    assert not refused(version, depth=0)
    assert not refused(version, depth=greatest)
    assert refused(version, depth=greatest + 1)


@each(STRICT)
@pytest.mark.parametrize("value", [1.5, 1.0, 2**53, -(2**53)])
def test_since_version_6_no_number_is_outside_canonical_json(version: RoomVersion, value: float) -> None:
    assert refused(version, content={"a": [value]})
    assert refused(version, anything=value)


@each(LENIENT)
@pytest.mark.parametrize("value", [1.5, 1.0, 2**53, 2**70])
def test_until_version_5_any_number_goes(version: RoomVersion, value: float) -> None:
    assert not refused(version, content={"a": [value]})


@each(VERSIONS)
@pytest.mark.parametrize("value", ["\ud800", float("nan"), float("inf"), object()])
def test_what_is_not_json_is_no_event(version: RoomVersion, value: object) -> None:
    assert refused(version, content={"a": value})


@each(VERSIONS)
def test_texts_have_at_most_255_bytes(version: RoomVersion) -> None:
    domain = len(":example.org")
    longest: dict[str, Any] = {
        "type": "é" * 127 + "x",
        "state_key": "s" * 255,
        "sender": "@" + "a" * (254 - domain) + ":example.org",
    }
    if not version.room_id_is_create_hash:
        longest["room_id"] = "!" + "a" * (254 - domain) + ":example.org"
    if not version.event_id_is_hash:
        longest["event_id"] = "$" + "a" * (254 - domain) + ":example.org"
    check(event(version, **longest), version)
    for name, text in longest.items():
        with pytest.raises(EventTooLarge):
            check(event(version, **{name: text[0] + text}), version)
    cited = "$" + "a" * 255
    with pytest.raises(EventTooLarge):
        check(event(version, prev_events=[[cited, {}] if version.references_carry_hashes else cited]), version)


@each(VERSIONS)
def test_an_event_has_at_most_65536_bytes(version: RoomVersion) -> None:
    room = MAX_EVENT_BYTES - len(encode_lenient(event(version, content={"body": ""})))
    check(event(version, content={"body": "x" * room}), version)
    with pytest.raises(EventTooLarge):
        check(event(version, content={"body": "x" * (room + 1)}), version)
    with pytest.raises(EventTooLarge):
        check(event(version, content={"body": "é" * (room // 2 + 1)}), version)
