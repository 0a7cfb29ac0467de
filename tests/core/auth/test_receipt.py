"""The checks on receipt of a PDU.

https://spec.matrix.org/v1.19/server-server-api/#checks-performed-on-receipt-of-a-pdu
"""

from collections.abc import Callable
from typing import Any

import pytest

from federation.core.auth.receipt import (
    ACCEPTED,
    KeyOf,
    Received,
    Verdict,
    VerdictKind,
    judge,
    keys_wanted,
    verify,
)
from federation.core.events.pdu import Pdu
from federation.core.hashing import content_hash
from federation.core.ids import EventID, ServerName, UserID
from federation.core.room_versions import RoomVersion
from federation.core.signing import sign_event
from tests.support.rooms import ALICE, BOB, CAROL, DAVE, Room, key_of, signing_key, versions

A, B, C = ServerName("a.example"), ServerName("b.example"), ServerName("c.example")


def signed(fields: dict[str, Any], version: RoomVersion, *servers: str, hashed: bool = True) -> Pdu:
    """Return an event with these fields, signed by these servers and no others, received from the wire."""
    fields = {key: value for key, value in fields.items() if key not in ("hashes", "signatures")}
    fields["hashes"] = {"sha256": content_hash(fields) if hashed else "A" * 43}
    fields["signatures"] = {}
    for server in servers:
        fields = sign_event(fields, version, ServerName(server), signing_key(server))
    return Pdu.from_wire(fields, version)


def with_signature(event: Pdu, server: str, key_id: str, signature: str) -> Pdu:
    """Return the event with a signature more, good or not."""
    signatures = {name: dict(keys) for name, keys in event.fields["signatures"].items()}
    signatures.setdefault(server, {})[key_id] = signature
    return Pdu.from_wire({**event.fields, "signatures": signatures}, event.version)


def outcome(event: Pdu, keys: KeyOf = key_of) -> VerdictKind | str:
    """Return what `verify` makes of an event, in a word."""
    received = verify(event, keys)
    if isinstance(received, Verdict):
        assert received.reason
        return received.kind
    if received.fault is not None:
        return "fault"
    return "redacted" if received.redacted else "whole"


def receive(room: Room, event: Pdu, before: Room, current: Room) -> Verdict:
    """Do all the checks on an event from the wire."""
    received = verify(Pdu.from_wire(dict(event.fields), event.version), key_of)
    assert isinstance(received, Received)
    return judge(
        received,
        auth_events=room.cited(event),
        create=room.create,
        before=before.pdus(),
        current=current.pdus(),
    )


# 2: signatures


@pytest.mark.parametrize("version", versions())
def test_the_server_of_the_sender_signs(version: str) -> None:
    room = Room.public(version, joined=[BOB])
    message = room.says(BOB)
    assert outcome(message) == "whole"
    assert keys_wanted(message) == [(B, "ed25519:1")]
    # Nobody else can do it instead.
    assert outcome(signed(dict(message.fields), room.version, "a.example")) is VerdictKind.DROPPED
    assert outcome(signed(dict(message.fields), room.version)) is VerdictKind.DROPPED


def test_keys_that_nobody_knows_do_not_count() -> None:
    message = Room.public("12").says(ALICE)
    assert outcome(message, lambda _server, _key_id: None) is VerdictKind.DROPPED
    assert outcome(with_signature(message, A, "ed25519:other", "A" * 86)) == "whole"
    assert outcome(with_signature(message, A, "rsa:1", "A" * 86)) == "whole"
    assert keys_wanted(with_signature(message, A, "ed25519:other", "A" * 86)) == [
        (A, "ed25519:1"),
        (A, "ed25519:other"),
    ]


def test_one_wrong_signature_of_a_known_key_is_too_many() -> None:
    message = Room.public("12").says(ALICE)

    def knows_two(server: ServerName, key_id: str) -> bytes | None:
        return signing_key(server).public_key

    assert outcome(with_signature(message, A, "ed25519:2", "A" * 86), knows_two) is VerdictKind.DROPPED
    assert outcome(with_signature(message, A, "ed25519:1", "A" * 86)) is VerdictKind.DROPPED
    assert outcome(with_signature(message, A, "ed25519:1", "?")) is VerdictKind.DROPPED


def test_what_other_servers_sign_is_not_looked_at() -> None:
    message = Room.public("12").says(ALICE)
    assert outcome(with_signature(message, C, "ed25519:1", "A" * 86)) == "whole"


@pytest.mark.parametrize("version", versions())
def test_until_v2_the_domain_of_the_event_id_signs_too(version: str) -> None:
    room = Room.public(version, joined=[BOB])
    fields = dict(room.says(BOB).fields)
    if int(version) > 2:
        assert outcome(signed(fields, room.version, B)) == "whole"
        return
    fields["event_id"] = "$other:c.example"
    assert outcome(signed(fields, room.version, B)) is VerdictKind.DROPPED
    assert outcome(signed(fields, room.version, C)) is VerdictKind.DROPPED
    both = signed(fields, room.version, B, C)
    assert outcome(both) == "whole"
    assert keys_wanted(both) == [(B, "ed25519:1"), (C, "ed25519:1")]


@pytest.mark.parametrize("version", versions(first="3"))
def test_an_invite_by_way_of_a_third_party_may_be_sent_by_any_server(version: str) -> None:
    room = Room.public(version)
    invite = room.member(ALICE, BOB, "invite", third_party_invite={"signed": {}})
    assert outcome(signed(dict(invite.fields), room.version, B)) == "whole"
    # Only an invite, and only with the key.
    for event in (
        room.member(ALICE, BOB, "invite"),
        room.member(ALICE, BOB, "ban", third_party_invite={"signed": {}}),
        room.sets(ALICE, "x", {"membership": "invite", "third_party_invite": {"signed": {}}}),
    ):
        assert outcome(signed(dict(event.fields), room.version, B)) is VerdictKind.DROPPED


@pytest.mark.parametrize("version", versions(first="3"))
@pytest.mark.parametrize("third_party_invite", [{"display_name": "x"}, None, "x"])
def test_nobody_forges_an_invite_whose_proof_a_redaction_takes_away(version: str, third_party_invite: Any) -> None:
    room = Room.public(version)
    invite = room.member(ALICE, BOB, "invite", third_party_invite=third_party_invite)
    forged = signed(dict(invite.fields), room.version, B, hashed=False)
    received = verify(forged, key_of)
    if isinstance(received, Received):
        # Since v11 the key survives, so that the rules ask for the proof.
        assert "third_party_invite" in received.event.content
        verdict = judge(received, auth_events=room.cited(invite), create=room.create)
        assert verdict.kind is VerdictKind.REJECTED
    else:
        assert received.kind is VerdictKind.DROPPED


@pytest.mark.parametrize("version", versions())
def test_5_2_since_v8_the_server_that_lets_someone_in_signs_too(version: str) -> None:
    restricted = int(version) >= 8
    room = Room.public(version)
    join = room.joins(BOB, join_authorised_via_users_server=ALICE)
    assert outcome(join) == ("fault" if restricted else "whole")

    both = signed(dict(join.fields), room.version, B, A)
    assert outcome(both) == "whole"
    assert ((A, "ed25519:1") in keys_wanted(both)) is restricted

    wrong = with_signature(join, A, "ed25519:1", "A" * 86)
    assert outcome(wrong) == ("fault" if restricted else "whole")

    def knows_only_bobs(server: ServerName, key_id: str) -> bytes | None:
        return key_of(server, key_id) if server == B else None

    assert outcome(both, knows_only_bobs) == (VerdictKind.DROPPED if restricted else "whole")


@pytest.mark.parametrize("voucher", [None, 1, "alice", [ALICE]])
def test_5_2_someone_lets_the_user_in(voucher: object) -> None:
    room = Room.public("11")
    join = room.joins(BOB, join_authorised_via_users_server=voucher)
    assert outcome(join) == "fault"
    assert keys_wanted(join) == [(B, "ed25519:1")]


def test_5_2_a_fault_is_a_rejection() -> None:
    room = Room.public("11")
    join = room.joins(BOB, join_authorised_via_users_server=ALICE)
    received = verify(join, key_of)
    assert isinstance(received, Received)
    verdict = judge(received, auth_events=room.cited(join), before=room.pdus(), current=room.pdus())
    assert verdict.kind is VerdictKind.REJECTED


# 3: hash


@pytest.mark.parametrize("version", versions())
def test_3_an_event_with_another_hash_is_redacted(version: str) -> None:
    room = Room.public(version)
    message = signed(dict(room.says(ALICE, "secret").fields), room.version, A, hashed=False)
    received = verify(message, key_of)
    assert isinstance(received, Received)
    assert received.redacted
    assert received.event.event_id == message.event_id
    assert received.event.content == {}
    assert keys_wanted(message) == [(A, "ed25519:1")]


@pytest.mark.parametrize("version", versions())
def test_3_a_redacted_join_is_still_a_join(version: str) -> None:
    room = Room.public(version)
    before = room.fork()
    join = room.joins(BOB, displayname="Bob")
    forged = signed(dict(join.fields), room.version, B, hashed=False)
    received = verify(forged, key_of)
    assert isinstance(received, Received)
    assert received.event.content == {"membership": "join"}
    verdict = judge(received, auth_events=room.cited(join), create=room.create, before=before.pdus())
    assert verdict == ACCEPTED


# 4, 5, 6: authorisation


@pytest.mark.parametrize("version", versions())
def test_each_event_of_a_room_is_accepted(version: str) -> None:
    room = Room.begin(version)
    story: list[Callable[[], Pdu]] = [
        lambda: room.joins(ALICE),
        lambda: room.levels(ALICE, {BOB: 50}),
        lambda: room.sets(ALICE, "m.room.join_rules", {"join_rule": "public"}),
        lambda: room.joins(BOB),
        lambda: room.says(BOB, "hello"),
        lambda: room.joins(CAROL),
        lambda: room.member(BOB, CAROL, "ban"),
        lambda: room.member(BOB, CAROL, "leave"),
        lambda: room.sets(ALICE, "m.room.join_rules", {"join_rule": "invite"}),
        lambda: room.member(BOB, DAVE, "invite"),
        lambda: room.joins(DAVE),
        lambda: room.send(DAVE, "m.room.redaction", {}, redacts=EventID("$x:d.example")),
        lambda: room.member(DAVE, DAVE, "leave"),
        lambda: room.sets(BOB, "m.room.topic", {"topic": "x"}),
        lambda: room.levels(ALICE, {BOB: 100}),
    ]
    assert receive(room, room.create, Room(room.version), Room(room.version)) == ACCEPTED
    for make in story:
        before = room.fork()
        event = make()
        assert receive(room, event, before, before) == ACCEPTED


@pytest.fixture
def room() -> Room:
    """A room of version 12 with Alice and Bob, where Bob may set the topic."""
    return Room.public("12", {BOB: 50}, joined=[BOB])


def topic(room: Room, sender: UserID = BOB, **how: Any) -> Pdu:
    """Set the topic on a branch of the room."""
    return room.fork().sets(sender, "m.room.topic", {"topic": "x"}, **how)


def test_4_what_its_auth_events_refuse_is_rejected(room: Room) -> None:
    joined = room.pdus()["m.room.member", BOB].event_id
    without_levels = topic(room, auth=[joined])
    verdict = receive(room, without_levels, room, room)
    assert verdict.kind is VerdictKind.REJECTED
    assert "auth events" in verdict.reason


def test_4_what_cites_a_rejected_event_is_rejected(room: Room) -> None:
    event = topic(room)
    received = Received(event)
    levels = room.state["m.room.power_levels", ""]
    verdict = judge(received, auth_events=room.cited(event), create=room.create, rejected={levels})
    assert verdict.kind is VerdictKind.REJECTED


def test_5_what_the_state_before_it_refuses_is_rejected(room: Room) -> None:
    event = topic(room)
    before = room.fork()
    before.member(ALICE, BOB, "ban")
    verdict = receive(room, event, before, room)
    assert verdict.kind is VerdictKind.REJECTED
    assert "state before" in verdict.reason


def test_6_what_the_current_state_refuses_is_soft_failed(room: Room) -> None:
    event = topic(room)
    current = room.fork()
    current.member(ALICE, BOB, "ban")
    verdict = receive(room, event, room, current)
    assert verdict.kind is VerdictKind.SOFT_FAILED
    assert "current state" in verdict.reason


def test_what_has_no_place_in_the_room_yet_is_judged_by_its_auth_events(room: Room) -> None:
    event = topic(room)
    assert judge(Received(event), auth_events=room.cited(event), create=room.create) == ACCEPTED
    # Since v12 they do not name the create event.
    assert judge(Received(event), auth_events=room.cited(event)).kind is VerdictKind.REJECTED
