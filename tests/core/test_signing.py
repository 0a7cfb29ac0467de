"""Signing: https://spec.matrix.org/v1.19/appendices/#cryptographic-test-vectors."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.core import unpadded_base64
from federation.core.canonical_json import encode
from federation.core.errors import BadJson, BadSignature, InvalidIdentifier
from federation.core.hashing import content_hash
from federation.core.ids import ServerName
from federation.core.room_versions import ROOM_VERSIONS, RoomVersion
from federation.core.signing import (
    SigningKey,
    key_ids_of,
    parse_keys,
    sign_event,
    sign_json,
    signature_of,
    verify_bytes,
    verify_event,
    verify_json,
)
from tests.core.events.samples import ALICE, VERSIONS, message
from tests.core.test_canonical_json import strict_json

SEED = unpadded_base64.decode("YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1")
KEY = SigningKey.from_seed("1", SEED)
DOMAIN = ServerName("domain")
OTHER = ServerName("other.example")
V1 = ROOM_VERSIONS["1"]

objects = st.dictionaries(st.text(), strict_json, max_size=4).map(
    lambda obj: {key: value for key, value in obj.items() if key not in ("signatures", "unsigned")}
)


def test_an_empty_object_is_signed_as_in_the_specification() -> None:
    assert sign_json({}, DOMAIN, KEY) == {
        "signatures": {
            "domain": {
                "ed25519:1": "K8280/U9SSy9IVtjBuVeLr+HpOB4BQFWbg+UZaADMtTdGYI7Geitb76LTrr5QV/7Xg4ahLwYGYZzuHGZKM5ZAQ"
            }
        }
    }


def test_an_object_with_data_is_signed_as_in_the_specification() -> None:
    assert sign_json({"one": 1, "two": "Two"}, DOMAIN, KEY) == {
        "one": 1,
        "signatures": {
            "domain": {
                "ed25519:1": "KqmLSbO39/Bzb0QIYE82zqLwsA+PDzYIpIRA2sRQ4sL53+sN6/fpNSoqE7BP7vBZhG6kYdD13EIMJpvhJI+6Bw"
            }
        },
        "two": "Two",
    }


@pytest.mark.parametrize(
    ("event", "sha256", "signature"),
    [
        (
            {
                "room_id": "!x:domain",
                "sender": "@a:domain",
                "origin": "domain",
                "origin_server_ts": 1000000,
                "signatures": {},
                "hashes": {},
                "type": "X",
                "content": {},
                "prev_events": [],
                "auth_events": [],
                "depth": 3,
                "unsigned": {"age_ts": 1000000},
            },
            "5jM4wQpv6lnBo7CLIghJuHdW+s2CMBJPUOGOC89ncos",
            "KxwGjPSDEtvnFgU00fwFz+l6d2pJM6XBIaMEn81SXPTRl16AqLAYqfIReFGZlHi5KLjAWbOoMszkwsQma+lYAg",
        ),
        (
            {
                "content": {"body": "Here is the message content"},
                "event_id": "$0:domain",
                "origin": "domain",
                "origin_server_ts": 1000000,
                "type": "m.room.message",
                "room_id": "!r:domain",
                "sender": "@u:domain",
                "signatures": {},
                "unsigned": {"age_ts": 1000000},
            },
            "onLKD1bGljeBWQhWZ1kaP9SorVmRQNdN5aM2JYU2n/g",
            "Wm+VzmOUOz08Ds+0NTWb1d4CZrVsJSikkeRxh6aCcUwu6pNC78FunoD7KNWzqFn241eYHYMGCA5McEiVPdhzBA",
        ),
    ],
)
def test_events_are_hashed_and_signed_as_in_the_specification(
    event: dict[str, Any], sha256: str, signature: str
) -> None:
    assert content_hash(event) == sha256
    signed = sign_event(event | {"hashes": {"sha256": sha256}}, V1, DOMAIN, KEY)
    assert signed == event | {
        "hashes": {"sha256": sha256},
        "signatures": {"domain": {"ed25519:1": signature}},
    }
    verify_event(signed, V1, DOMAIN, "ed25519:1", KEY.public_key)


@given(objects, st.dictionaries(st.text(), strict_json))
def test_what_is_signed_verifies_whatever_is_unsigned(obj: dict[str, Any], unsigned: dict[str, Any]) -> None:
    signed = sign_json(obj, DOMAIN, KEY)
    verify_json(signed | {"unsigned": unsigned}, DOMAIN, KEY.key_id, KEY.public_key)


@given(st.data(), objects)
def test_any_changed_byte_breaks_the_signature(data: st.DataObject, obj: dict[str, Any]) -> None:
    signature = signature_of(sign_json(obj, DOMAIN, KEY), DOMAIN, KEY.key_id)
    parts = {"message": encode(obj), "signature": signature, "key": KEY.public_key}
    verify_bytes(parts["message"], parts["signature"], parts["key"])

    name = data.draw(st.sampled_from(sorted(parts)))
    changed = bytearray(parts[name])
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    parts[name] = bytes(changed)
    with pytest.raises(BadSignature):
        verify_bytes(parts["message"], parts["signature"], parts["key"])


def test_signing_keeps_the_signatures_of_others_and_leaves_the_original_alone() -> None:
    second = SigningKey.from_seed("2", bytes(32))
    first = sign_json({"a": 1, "unsigned": {"b": 2}}, DOMAIN, KEY)
    signed = sign_json(sign_json(first, OTHER, KEY), DOMAIN, second)

    assert list(first["signatures"]) == ["domain"]
    assert signed["unsigned"] == {"b": 2}
    verify_json(signed, DOMAIN, "ed25519:1", KEY.public_key)
    verify_json(signed, DOMAIN, "ed25519:2", second.public_key)
    verify_json(signed, OTHER, "ed25519:1", KEY.public_key)


def test_only_canonical_json_is_signed() -> None:
    with pytest.raises(BadJson):
        sign_json({"a": 1.5}, DOMAIN, KEY)


@pytest.mark.parametrize(
    "signatures",
    [
        None,
        [],
        {},
        {"domain": None},
        {"domain": {}},
        {"domain": {"ed25519:1": None}},
        {"domain": {"ed25519:2": "K8280/U9SSy9"}},
        {"domain": {"ed25519:1": "not base64!"}},
        {"domain": {"ed25519:1": ""}},
        {"domain": {"ed25519:1": "K8280/U9SSy9"}},
        {"domain": {"ed25519:1": "A" * 86}},
        {"other.example": {"ed25519:1": "A" * 86}},
    ],
)
def test_a_missing_unreadable_or_wrong_signature_is_bad(signatures: object) -> None:
    with pytest.raises(BadSignature):
        verify_json({"signatures": signatures}, DOMAIN, "ed25519:1", KEY.public_key)


def test_an_object_without_signatures_is_not_signed() -> None:
    with pytest.raises(BadSignature):
        verify_json({}, DOMAIN, "ed25519:1", KEY.public_key)


def test_a_key_of_the_wrong_length_verifies_nothing() -> None:
    with pytest.raises(BadSignature):
        verify_json(sign_json({}, DOMAIN, KEY), DOMAIN, KEY.key_id, KEY.public_key[:-1])


def test_what_is_not_json_is_not_signed() -> None:
    with pytest.raises(BadSignature):
        verify_json({"a": object()} | sign_json({}, DOMAIN, KEY), DOMAIN, KEY.key_id, KEY.public_key)


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.id)
def test_the_signature_of_an_event_survives_redaction_and_unsigned_data(version: RoomVersion) -> None:
    pdu = message(version)
    signed = sign_event(pdu.fields, version, OTHER, KEY)
    verify_event(signed, version, OTHER, KEY.key_id, KEY.public_key)
    verify_event(
        signed | {"content": {}, "unsigned": {"age": 1}, "anything": 1}, version, OTHER, KEY.key_id, KEY.public_key
    )


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.id)
def test_the_signature_of_an_event_covers_what_survives_redaction(version: RoomVersion) -> None:
    signed = sign_event(message(version).fields, version, OTHER, KEY)
    for change in ({"sender": "@b:domain"}, {"depth": 8}, {"hashes": {"sha256": "other"}}, {"state_key": ""}):
        with pytest.raises(BadSignature):
            verify_event(signed | change, version, OTHER, KEY.key_id, KEY.public_key)


def test_only_keys_of_a_known_algorithm_count() -> None:
    signatures = {"domain": {"ed25519:a": "x", "rsa:b": "y", "ed25519:c": "z"}, "other.example": []}
    assert key_ids_of({"signatures": signatures}, DOMAIN) == ("ed25519:a", "ed25519:c")
    assert key_ids_of({"signatures": signatures}, OTHER) == ()
    assert key_ids_of({"signatures": signatures}, ServerName("nobody")) == ()
    assert key_ids_of({"signatures": []}, DOMAIN) == ()
    assert key_ids_of({}, DOMAIN) == ()


def test_a_key_file_is_read_back_as_it_was_written() -> None:
    keys = (SigningKey.generate("a_1"), SigningKey.generate("B2"))
    text = "".join(key.serialise() for key in keys)
    assert [(key.key_id, key.public_key) for key in parse_keys(f"\n{text}\n  \n")] == [
        (key.key_id, key.public_key) for key in keys
    ]
    assert keys[0].public_key != keys[1].public_key


def test_a_key_file_line_has_algorithm_name_and_unpadded_seed() -> None:
    assert KEY.serialise() == "ed25519 1 YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA0\n"
    assert parse_keys("") == ()


@pytest.mark.parametrize(
    "line",
    ["ed25519 1", "ed25519 1 a b", "rsa 1 " + "A" * 43, "ed25519 1 AAAA", "ed25519 1 ***", "ed25519 1 " + "A" * 44],
)
def test_a_wrong_line_of_a_key_file_is_refused(line: str) -> None:
    with pytest.raises(BadJson):
        parse_keys(line)


@pytest.mark.parametrize("name", ["", "a-b", "a:b", "é"])
def test_a_key_needs_a_plain_name(name: str) -> None:
    with pytest.raises(InvalidIdentifier):
        SigningKey.from_seed(name, SEED)


def test_a_key_does_not_show_its_secret() -> None:
    assert repr(KEY) == "SigningKey('ed25519:1')"


def test_signatures_are_over_bytes_that_anyone_can_make() -> None:
    signed = sign_json({"b": ALICE, "a": 1}, DOMAIN, KEY)
    message_bytes = orjson.dumps({"a": 1, "b": "@alice:example.org"})
    verify_bytes(message_bytes, signature_of(signed, DOMAIN, KEY.key_id), KEY.public_key)
