"""Policy servers: https://spec.matrix.org/v1.19/server-server-api/#policy-servers."""

from typing import Any

import pytest

from federation.core import unpadded_base64
from federation.core.auth.receipt import Received, VerdictKind, keys_wanted, verify
from federation.core.canonical_json import encode
from federation.core.errors import BadSignature, EventTooLarge
from federation.core.events.format import MAX_EVENT_BYTES
from federation.core.events.pdu import Pdu
from federation.core.ids import ServerName
from federation.core.policy import (
    KEY_ID,
    KEY_NAME,
    PolicyServer,
    is_exempt,
    is_recommended,
    policy_server_of,
    recommend,
    recommended,
)
from federation.core.signing import SigningKey, sign_event
from tests.support.rooms import ALICE, BOB, Room, key_of, versions

A, POLICY = ServerName("a.example"), ServerName("policy.example")
KEY, OTHER_KEY = (SigningKey.from_seed(KEY_NAME, bytes([number]) * 32) for number in (1, 2))
PUBLIC = unpadded_base64.encode(KEY.public_key)
SERVER = PolicyServer(POLICY, KEY.public_key)
GOOD = {"via": POLICY, "public_keys": {"ed25519": PUBLIC}}


@pytest.fixture(params=versions())
def event(request: pytest.FixtureRequest) -> Pdu:
    """A message as its sender's server has signed it."""
    return Room.public(request.param).send(ALICE, "m.room.message", {"msgtype": "m.text", "body": "hi"})


def test_a_room_uses_the_policy_server_that_it_names() -> None:
    assert policy_server_of(GOOD, {A, POLICY}) == SERVER
    assert policy_server_of({**GOOD, "more": 1, "public_keys": {"ed25519": PUBLIC, "rot13": "x"}}, {POLICY}) == SERVER
    url_safe = PUBLIC.replace("+", "-").replace("/", "_")
    assert policy_server_of({"via": POLICY, "public_keys": {"ed25519": url_safe}}, {POLICY}) == SERVER


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"via": POLICY},
        {"public_keys": {"ed25519": PUBLIC}},
        {**GOOD, "via": None},
        {**GOOD, "via": [POLICY]},
        {**GOOD, "via": A},
        {**GOOD, "public_keys": PUBLIC},
        {**GOOD, "public_keys": [PUBLIC]},
        {**GOOD, "public_keys": {}},
        {**GOOD, "public_keys": {"ed25519": None}},
        {**GOOD, "public_keys": {"rot13": PUBLIC}},
        {"via": POLICY, "public_key": PUBLIC},
    ],
)
def test_a_room_that_names_none_properly_uses_none(content: dict[str, Any]) -> None:
    assert policy_server_of(content, {POLICY}) is None


def test_nobody_is_made_a_policy_server_without_a_part_in_the_room() -> None:
    assert policy_server_of(GOOD, {A}) is None


@pytest.mark.parametrize("text", ["", "not Base64!", PUBLIC[:-4]])
def test_with_a_key_that_is_none_nothing_is_recommended(text: str, event: Pdu) -> None:
    policy = policy_server_of({"via": POLICY, "public_keys": {"ed25519": text}}, {POLICY})
    assert policy is not None
    assert not is_recommended(recommended(event, SERVER, recommend(event, POLICY, KEY)), policy)


@pytest.mark.parametrize(
    ("kind", "state_key", "exempt"),
    [
        ("m.room.policy", "", True),
        ("m.room.policy", "x", False),
        ("m.room.policy", None, False),
        ("m.room.topic", "", False),
        ("m.room.message", None, False),
    ],
)
def test_only_the_naming_of_the_policy_server_needs_no_recommendation(
    kind: str, state_key: str | None, exempt: bool
) -> None:
    assert is_exempt(Room.public("12").send(ALICE, kind, {}, state_key)) is exempt


def test_what_it_has_signed_is_recommended(event: Pdu) -> None:
    answer = recommend(event, POLICY, KEY)
    assert answer.keys() == {POLICY}
    assert answer[POLICY].keys() == {KEY_ID}
    signed = recommended(event, SERVER, answer)
    assert is_recommended(signed, SERVER)
    assert not is_recommended(event, SERVER)
    assert signed.event_id == event.event_id
    # The server that has sent it is still seen to have.
    assert isinstance(verify(signed, key_of), Received)


def test_the_policy_servers_own_events_keep_their_signature() -> None:
    event = Room.public("12").send(ALICE, "m.room.topic", {"topic": "x"}, "")
    policy = PolicyServer(A, KEY.public_key)
    signed = recommended(event, policy, recommend(event, A, KEY))
    assert signed.fields["signatures"][A].keys() == {"ed25519:1", KEY_ID}
    assert isinstance(verify(signed, key_of), Received)
    assert keys_wanted(signed) == [(A, "ed25519:1")]


def test_its_word_is_no_proof_of_who_has_sent_an_event() -> None:
    event = Room.public("12").send(ALICE, "m.room.topic", {"topic": "x"}, "")
    unsigned = {**event.fields, "signatures": {}}
    signed = Pdu.from_wire({**unsigned, "signatures": recommend(event, A, KEY)}, event.version)
    outcome = verify(signed, lambda _server, _key_id: KEY.public_key)
    assert not isinstance(outcome, Received)
    assert outcome.kind is VerdictKind.DROPPED


def test_another_event_is_not_recommended_by_it(event: Pdu) -> None:
    signed = recommended(event, SERVER, recommend(event, POLICY, KEY))
    other = Pdu.from_wire({**signed.fields, "depth": 99}, event.version)
    assert not is_recommended(other, SERVER)
    # What a redaction leaves is the same event.
    redacted = Pdu.trusted({**signed.fields, "content": {}}, event.version, event.event_id)
    assert is_recommended(redacted, SERVER)


def test_another_key_or_server_recommends_nothing(event: Pdu) -> None:
    by_another = sign_event(event.fields, event.version, POLICY, OTHER_KEY)
    assert not is_recommended(Pdu.from_wire(by_another, event.version), SERVER)
    by_other_server = sign_event(event.fields, event.version, A, KEY)
    assert not is_recommended(Pdu.from_wire(by_other_server, event.version), SERVER)
    misnamed = sign_event(event.fields, event.version, POLICY, SigningKey.from_seed("a", bytes([1]) * 32))
    assert not is_recommended(Pdu.from_wire(misnamed, event.version), SERVER)


def test_of_an_answer_only_the_signature_counts(event: Pdu) -> None:
    answer: dict[str, Any] = recommend(event, POLICY, KEY)
    padded = {KEY_ID: answer[POLICY][KEY_ID] + "=" * 1000, "ed25519:a": "forged"}
    forged = {POLICY: padded, A: {"ed25519:1": "forged"}, "content": {}, "event_id": "$other"}
    assert recommended(event, SERVER, forged).fields == recommended(event, SERVER, answer).fields


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {POLICY: None},
        {POLICY: {}},
        {POLICY: {KEY_ID: 1}},
        {POLICY: {KEY_ID: "?"}},
        {POLICY: {KEY_ID: "AAAA"}},
        {A: {KEY_ID: "AAAA"}},
        {"signatures": {POLICY: {KEY_ID: "AAAA"}}},
    ],
)
def test_an_answer_without_its_signature_is_none(answer: dict[str, Any], event: Pdu) -> None:
    with pytest.raises(BadSignature):
        recommended(event, SERVER, answer)


def test_the_signature_of_something_else_is_none(event: Pdu) -> None:
    other = Room.public(event.version.id).send(BOB, "m.room.topic", {}, "")
    with pytest.raises(BadSignature):
        recommended(event, SERVER, recommend(other, POLICY, KEY))
    with pytest.raises(BadSignature):
        recommended(event, SERVER, recommend(event, POLICY, OTHER_KEY))


def test_an_event_may_be_too_large_with_it() -> None:
    def of_size(size: int) -> Pdu:
        return Room.public("12").send(ALICE, "m.room.message", {"body": "x" * size})

    small = of_size(MAX_EVENT_BYTES - 2000)
    just = of_size(MAX_EVENT_BYTES - 2000 + MAX_EVENT_BYTES - len(encode(small.fields)))
    assert recommended(small, SERVER, recommend(small, POLICY, KEY)).event_id == small.event_id
    with pytest.raises(EventTooLarge):
        recommended(just, SERVER, recommend(just, POLICY, KEY))
