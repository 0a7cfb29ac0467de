"""Hashes and event IDs: https://spec.matrix.org/v1.19/server-server-api/#signing-events."""

import base64
import hashlib
import json
from typing import Any

import pytest

from federation.core.events.redaction import redact
from federation.core.hashing import (
    content_hash,
    essential_bytes,
    event_id_of,
    has_valid_content_hash,
    reference_hash,
    reference_hash_of,
)
from federation.core.ids import parse_event_id
from federation.core.room_versions import ROOM_VERSIONS, RoomVersion
from tests.core.events.samples import VERSIONS, message

every_version = pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.id)


def plain_digest(fields: dict[str, Any]) -> bytes:
    """Hash with the standard library alone, as the specification's sample code does."""
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(text.encode()).digest()


@every_version
def test_the_content_hash_covers_all_but_what_others_may_add(version: RoomVersion) -> None:
    fields = dict(message(version).fields) | {"unsigned": {"age": 1}}
    covered = {key: value for key, value in fields.items() if key not in ("unsigned", "signatures", "hashes")}
    assert content_hash(fields) == base64.b64encode(plain_digest(covered)).decode().rstrip("=")
    assert content_hash(fields | {"unsigned": {}, "signatures": {}, "hashes": {}}) == content_hash(fields)
    assert content_hash(fields | {"anything": 1}) != content_hash(fields)


@every_version
def test_a_changed_event_has_no_valid_content_hash(version: RoomVersion) -> None:
    fields = dict(message(version).fields)
    assert has_valid_content_hash(fields)
    assert has_valid_content_hash(fields | {"hashes": {"sha256": fields["hashes"]["sha256"] + "="}})
    assert not has_valid_content_hash(fields | {"content": {}})
    assert not has_valid_content_hash(fields | {"hashes": {"sha256": "***"}})


@every_version
def test_the_reference_hash_is_that_of_the_redacted_event(version: RoomVersion) -> None:
    fields = dict(message(version).fields)
    covered = {key: value for key, value in redact(fields, version).items() if key != "signatures"}
    standard = base64.b64encode(plain_digest(covered)).decode().rstrip("=")
    url_safe = standard.replace("+", "-").replace("/", "_")
    expected = standard if version.id in ("1", "2", "3") else url_safe

    assert reference_hash(fields, version) == expected
    assert reference_hash_of(essential_bytes(fields, version), version) == expected
    assert reference_hash(redact(fields, version), version) == expected
    assert reference_hash(fields | {"signatures": {}, "unsigned": {}}, version) == expected


@every_version
def test_the_event_id_is_a_field_until_version_2_and_the_reference_hash_since(version: RoomVersion) -> None:
    fields = dict(message(version).fields)
    if version.id in ("1", "2"):
        assert event_id_of(fields, version) == "$unique:example.org"
    else:
        assert event_id_of(fields, version) == "$" + reference_hash(fields, version)
    assert parse_event_id(event_id_of(fields, version))


def test_floats_of_old_rooms_are_hashed_as_the_network_writes_them() -> None:
    fields = {"type": "m.room.power_levels", "content": {"ban": 1e16}, "hashes": {}, "signatures": {}}
    text = b'{"content":{"ban":1e+16},"type":"m.room.power_levels"}'
    assert content_hash(fields) == base64.b64encode(hashlib.sha256(text).digest()).decode().rstrip("=")
    essential = b'{"content":{"ban":1e+16},"hashes":{},"type":"m.room.power_levels"}'
    assert essential_bytes(fields, ROOM_VERSIONS["5"]) == essential
