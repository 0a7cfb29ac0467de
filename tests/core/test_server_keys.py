"""Key documents: https://spec.matrix.org/v1.19/server-server-api/#retrieving-server-keys."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.core import unpadded_base64
from federation.core.errors import BadJson, BadSignature, ProtocolError
from federation.core.ids import ServerName
from federation.core.server_keys import (
    LONGEST_MS,
    MOST_KEYS,
    KeyDocument,
    RetiredKey,
    ServerKey,
    make,
    merge,
    read,
)
from federation.core.signing import SigningKey, sign_json, verify_json
from tests.core.test_canonical_json import strict_json

US = ServerName("domain")
OTHER = ServerName("other.example")
KEY, NEXT, OLD = (SigningKey.from_seed(name, bytes([number]) * 32) for number, name in enumerate(("a", "b", "old")))
NOW = 1_700_000_000_000
DAY = 24 * 60 * 60 * 1000


def document(*keys: SigningKey, retired: tuple[RetiredKey, ...] = (), until: int = NOW + DAY) -> dict[str, Any]:
    return make(US, keys or (KEY,), retired, until)


def changed(**fields: Any) -> dict[str, Any]:
    """A document with other fields, signed as it should be."""
    unsigned = {key: value for key, value in {**document(), **fields}.items() if key != "signatures"}
    return sign_json(unsigned, US, KEY)


def known(*keys: ServerKey) -> dict[str, ServerKey]:
    return {key.key_id: key for key in keys}


def key(of: SigningKey, until: int, *, current: bool = True) -> ServerKey:
    return ServerKey(of.key_id, of.public_key, until, current)


def learnt(*keys: ServerKey, until: int) -> KeyDocument:
    return KeyDocument(US, known(*keys), until, {})


def test_a_document_has_the_form_of_the_specification() -> None:
    old = RetiredKey(OLD.key_id, OLD.public_key, NOW - DAY)
    made = document(KEY, NEXT, retired=(old,))
    assert set(made) == {"server_name", "verify_keys", "old_verify_keys", "valid_until_ts", "signatures"}
    assert made["verify_keys"] == {one.key_id: {"key": unpadded_base64.encode(one.public_key)} for one in (KEY, NEXT)}
    assert made["old_verify_keys"] == {
        "ed25519:old": {"key": unpadded_base64.encode(OLD.public_key), "expired_ts": NOW - DAY}
    }
    for signer in (KEY, NEXT):
        verify_json(made, US, signer.key_id, signer.public_key)


def test_what_is_made_can_be_read() -> None:
    old = RetiredKey(OLD.key_id, OLD.public_key, NOW - DAY)
    made = document(KEY, retired=(old,))
    assert read(made, US, NOW) == KeyDocument(
        US, known(key(KEY, NOW + DAY), key(OLD, NOW - DAY, current=False)), NOW + DAY, made
    )


def test_nothing_is_believed_for_more_than_a_week() -> None:
    found = read(document(until=NOW + 1000 * DAY), US, NOW)
    assert found.valid_until_ts == NOW + LONGEST_MS == found.keys[KEY.key_id].valid_until_ts


def test_a_key_that_will_be_retired_some_day_is_retired_now() -> None:
    found = read(document(retired=(RetiredKey(OLD.key_id, OLD.public_key, NOW + DAY),)), US, NOW)
    assert found.keys[OLD.key_id] == key(OLD, NOW, current=False)


def test_a_key_that_is_old_and_in_use_is_in_use() -> None:
    found = read(document(retired=(RetiredKey(KEY.key_id, KEY.public_key, NOW - DAY),)), US, NOW)
    assert found.keys[KEY.key_id] == key(KEY, NOW + DAY)


def test_keys_of_algorithms_that_nobody_knows_are_no_fault() -> None:
    entry = {KEY.key_id: {"key": unpadded_base64.encode(KEY.public_key)}, "falcon:1": {"key": "?"}, "rsa": 5}
    found = read(changed(verify_keys=entry, old_verify_keys={"falcon:0": None}), US, NOW)
    assert set(found.keys) == {KEY.key_id}


def test_a_document_may_do_without_old_keys() -> None:
    fields = {name: value for name, value in document().items() if name not in ("old_verify_keys", "signatures")}
    assert set(read(sign_json(fields, US, KEY), US, NOW).keys) == {KEY.key_id}


PUBLIC = unpadded_base64.encode(KEY.public_key)


@pytest.mark.parametrize(
    "fields",
    [
        {"server_name": "other.example"},
        {"server_name": None},
        {"valid_until_ts": None},
        {"valid_until_ts": "1700000000000"},
        {"valid_until_ts": True},
        {"valid_until_ts": -1},
        {"verify_keys": []},
        {"verify_keys": {KEY.key_id: PUBLIC}},
        {"verify_keys": {KEY.key_id: {}}},
        {"verify_keys": {KEY.key_id: {"key": 5}}},
        {"verify_keys": {KEY.key_id: {"key": "!"}}},
        {"verify_keys": {KEY.key_id: {"key": "AAAA"}}},
        {"verify_keys": {KEY.key_id: {"key": PUBLIC}, "ed25519:" + 300 * "x": {"key": PUBLIC}}},
        {"verify_keys": {KEY.key_id: {"key": PUBLIC}, "ed25519:\0": {"key": PUBLIC}}},
        {"verify_keys": {f"ed25519:{number}": {"key": PUBLIC} for number in range(MOST_KEYS + 1)}},
        {"old_verify_keys": None},
        {"old_verify_keys": {"ed25519:old": {"key": PUBLIC}}},
        {"old_verify_keys": {"ed25519:old": {"expired_ts": 5}}},
    ],
)
def test_another_form_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(BadJson):
        read(changed(**fields), US, NOW)


def test_what_is_no_canonical_json_is_refused() -> None:
    with pytest.raises(BadJson):
        read({**document(), "valid_until_ts": 1.5}, US, NOW)


def test_a_document_must_be_signed_with_a_key_of_its_own() -> None:
    unsigned = {name: value for name, value in document().items() if name != "signatures"}
    for fields in (unsigned, sign_json(unsigned, US, NEXT), sign_json(unsigned, OTHER, KEY)):
        with pytest.raises(BadSignature):
            read(fields, US, NOW)


def test_a_document_must_not_be_signed_wrongly() -> None:
    with pytest.raises(BadSignature):
        read({**document(), "valid_until_ts": NOW + 1}, US, NOW)
    # One good signature does not make up for a wrong one.
    two = document(KEY, NEXT)
    two["signatures"][US][NEXT.key_id] = two["signatures"][US][KEY.key_id]
    with pytest.raises(BadSignature):
        read(two, US, NOW)


def test_a_key_that_has_not_signed_the_document_may_be_in_it() -> None:
    both = {one.key_id: {"key": unpadded_base64.encode(one.public_key)} for one in (KEY, NEXT)}
    assert set(read(changed(verify_keys=both), US, NOW).keys) == {KEY.key_id, NEXT.key_id}


@given(strict_json)
def test_anything_at_all_is_read_or_refused(value: Any) -> None:
    fields = value if isinstance(value, dict) else {"verify_keys": value}
    with pytest.raises(ProtocolError):
        read(fields, US, NOW)


@given(st.sampled_from(["verify_keys", "old_verify_keys", "valid_until_ts", "server_name", "extra"]), strict_json)
def test_a_document_with_anything_in_it_is_read_or_refused(name: str, value: Any) -> None:
    try:
        read(changed(**{name: value}), US, NOW)
    except ProtocolError:
        return
    assert name in ("extra", "valid_until_ts", "old_verify_keys")


# A key, valid until, in use; the time of an event; may it have signed that?
@pytest.mark.parametrize(
    ("until", "current", "at", "good"),
    [
        (NOW, True, NOW - 1, True),
        (NOW, True, NOW, True),
        (NOW, True, NOW + 1, False),
        (NOW, False, NOW, True),
        (NOW, False, NOW + 1, False),
        (NOW, True, None, True),  # before room version 5 the time does not matter
        (NOW, False, None, True),
    ],
)
def test_an_event_needs_a_key_that_was_good_when_it_was_sent(
    until: int, current: bool, at: int | None, good: bool
) -> None:
    assert key(KEY, until, current=current).signs_events_at(at) is good


def test_a_request_needs_a_key_that_is_in_use() -> None:
    assert key(KEY, NOW).signs_requests_at(NOW)
    assert not key(KEY, NOW).signs_requests_at(NOW + 1)
    assert not key(KEY, NOW + DAY, current=False).signs_requests_at(NOW)


def test_what_a_server_itself_says_is_what_holds() -> None:
    before = known(key(KEY, NOW + DAY), key(OLD, NOW + DAY))
    says = learnt(key(NEXT, NOW + 2 * DAY), key(OLD, NOW, current=False), until=NOW + 2 * DAY)
    assert merge(before, says, first_hand=True) == known(
        key(NEXT, NOW + 2 * DAY), key(OLD, NOW, current=False), key(KEY, NOW + DAY, current=False)
    )


def test_a_server_may_give_its_key_another_value() -> None:
    other = ServerKey(KEY.key_id, NEXT.public_key, NOW + DAY, current=True)
    assert merge(known(key(KEY, NOW)), learnt(other, until=NOW + DAY), first_hand=True) == known(other)


def test_a_notary_adds_keys_and_prolongs_them() -> None:
    assert merge({}, learnt(key(KEY, NOW), until=NOW), first_hand=False) == known(key(KEY, NOW))
    for says, becomes in ((NOW - 1, NOW), (NOW + 1, NOW + 1)):
        after = merge(known(key(KEY, NOW)), learnt(key(KEY, says), until=says), first_hand=False)
        assert after == known(key(KEY, becomes))


def test_a_notary_cannot_bring_a_key_back_or_change_it() -> None:
    retired = known(key(KEY, NOW, current=False))
    assert merge(retired, learnt(key(KEY, NOW + DAY), until=NOW + DAY), first_hand=False) == retired
    for mine in (True, False):
        other = ServerKey(KEY.key_id, NEXT.public_key, NOW + DAY, current=mine)
        before = known(key(KEY, NOW))
        assert merge(before, learnt(other, until=NOW + DAY), first_hand=False) == before


def test_an_old_document_from_a_notary_brings_no_key_into_use() -> None:
    after = merge(known(key(NEXT, NOW)), learnt(key(KEY, NOW - DAY), until=NOW - DAY), first_hand=False)
    assert after == known(key(NEXT, NOW), key(KEY, NOW - DAY, current=False))


def test_a_notary_does_not_retire_a_key() -> None:
    says = learnt(key(KEY, NOW - DAY, current=False), until=NOW + DAY)
    assert merge(known(key(KEY, NOW)), says, first_hand=False) == known(key(KEY, NOW))
