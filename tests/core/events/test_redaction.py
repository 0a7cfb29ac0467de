"""What each room version keeps of a redacted event, written out from the texts of the versions.

https://spec.matrix.org/v1.19/rooms/v1/#redactions, and v6, v8, v9, v11.
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.core.events.redaction import redact
from federation.core.hashing import reference_hash
from federation.core.room_versions import ROOM_VERSIONS, RoomVersion
from tests.core.events.samples import VERSIONS
from tests.core.test_canonical_json import strict_json

TOP = "event_id type room_id sender state_key content hashes signatures depth prev_events auth_events origin_server_ts"
OLD_TOP = TOP + " prev_state origin membership"
POWER = "ban events events_default kick redact state_default users users_default"

# From version, to version, event type, keys of the content that are kept.
CONTENT = [
    (1, 8, "m.room.member", "membership"),
    (9, 12, "m.room.member", "membership join_authorised_via_users_server"),
    (1, 10, "m.room.create", "creator"),
    (1, 7, "m.room.join_rules", "join_rule"),
    (8, 12, "m.room.join_rules", "join_rule allow"),
    (1, 10, "m.room.power_levels", POWER),
    (11, 12, "m.room.power_levels", POWER + " invite"),
    (1, 5, "m.room.aliases", "aliases"),
    (6, 12, "m.room.aliases", ""),
    (1, 12, "m.room.history_visibility", "history_visibility"),
    (1, 10, "m.room.redaction", ""),
    (11, 12, "m.room.redaction", "redacts"),
    (1, 12, "m.room.message", ""),
    (1, 12, "m.room.name", ""),
    (1, 12, "m.room.third_party_invite", ""),
]
EVERY_KEY = (
    "membership join_authorised_via_users_server creator room_version m.federate join_rule allow aliases "
    f"{POWER} invite notifications history_visibility redacts body msgtype name displayname avatar_url reason"
).split()

keys = st.sampled_from([*OLD_TOP.split(), "redacts", "unsigned", "age", "anything"])
types = st.sampled_from(sorted({row[2] for row in CONTENT}))


def versions(first: int, last: int) -> list[RoomVersion]:
    return [ROOM_VERSIONS[str(number)] for number in range(first, last + 1)]


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.id)
def test_the_fields_of_an_event_that_survive(version: RoomVersion) -> None:
    fields: dict[str, Any] = dict.fromkeys([*OLD_TOP.split(), "unsigned", "redacts", "age_ts", "anything"], "x")
    fields |= {"type": "m.room.message", "content": {}}
    kept = OLD_TOP if version in versions(1, 10) else TOP
    assert set(redact(fields, version)) == set(kept.split())
    assert redact(fields, version)["sender"] == "x"


@pytest.mark.parametrize(("first", "last", "event_type", "kept"), CONTENT)
def test_the_content_that_survives(first: int, last: int, event_type: str, kept: str) -> None:
    fields = {"type": event_type, "content": dict.fromkeys(EVERY_KEY, 1)}
    for version in versions(first, last):
        assert redact(fields, version)["content"] == dict.fromkeys(kept.split(), 1)


def test_the_content_of_a_create_event_survives_whole_since_version_11() -> None:
    fields = {"type": "m.room.create", "content": {"room_version": "11", "m.federate": False, "any.thing": [1]}}
    for version in versions(11, 12):
        assert redact(fields, version)["content"] == fields["content"]


@pytest.mark.parametrize(
    ("invite", "kept"),
    [
        ({"signed": {"token": "t"}, "display_name": "Bob"}, {"third_party_invite": {"signed": {"token": "t"}}}),
        ({"display_name": "Bob"}, {"third_party_invite": {}}),
        ("nonsense", {}),
    ],
)
def test_of_a_third_party_invite_the_signed_part_survives_since_version_11(
    invite: object, kept: dict[str, Any]
) -> None:
    fields = {"type": "m.room.member", "content": {"membership": "invite", "third_party_invite": invite}}
    for version in versions(1, 10):
        assert redact(fields, version)["content"] == {"membership": "invite"}
    for version in versions(11, 12):
        assert redact(fields, version)["content"] == {"membership": "invite"} | kept


def test_redaction_leaves_the_original_alone() -> None:
    content = {"membership": "join", "displayname": "Alice"}
    fields = {"type": "m.room.member", "content": content, "unsigned": {}}
    for version in VERSIONS:
        redact(fields, version)["content"].clear()
    assert fields == {"type": "m.room.member", "content": content, "unsigned": {}}
    assert content == {"membership": "join", "displayname": "Alice"}


@given(
    st.sampled_from(VERSIONS),
    types,
    st.dictionaries(keys, strict_json),
    st.dictionaries(st.sampled_from([*EVERY_KEY, "third_party_invite"]), strict_json),
)
def test_redacting_twice_changes_nothing_and_keeps_the_reference_hash(
    version: RoomVersion, event_type: str, fields: dict[str, Any], content: dict[str, Any]
) -> None:
    fields |= {"type": event_type, "content": content}
    redacted = redact(fields, version)
    assert redact(redacted, version) == redacted
    assert reference_hash(redacted, version) == reference_hash(fields, version)
