"""Rule 5, row by row: https://spec.matrix.org/v1.19/rooms/v12/#authorisation-rules."""

from typing import Any

import pytest

from federation.core import unpadded_base64
from federation.core.auth.membership import MAX_SIGNATURES_TRIED
from federation.core.events.content import Membership
from federation.core.events.pdu import Pdu
from federation.core.ids import ServerName, UserID
from federation.core.signing import sign_json
from tests.support.rooms import ALICE, AMY, BOB, CAROL, DAVE, Room, signing_key, versions

NONE = None
"""The membership of one whom the room has never heard of."""


def room_where(version: str, rule: str | None, memberships: dict[UserID, str | None], **levels: Any) -> Room:
    """Return a room of Alice's with a join rule, memberships that fell from the sky, and power levels."""
    room = Room.begin(version)
    room.joins(ALICE)
    room.levels(ALICE, levels.pop("users", {}), **levels)
    if rule is not None:
        room.sets(ALICE, "m.room.join_rules", {"join_rule": rule})
    for user, membership in memberships.items():
        if membership is not None:
            room.member(user, user, membership)
    return room


# 5.1


@pytest.mark.parametrize("version", versions())
def test_5_1_a_membership_event_says_whose_and_what(version: str) -> None:
    room = room_where(version, "public", {})
    assert room.allows(room.fork().joins(BOB))
    for membership in Membership:
        assert not room.allows(room.fork().send(ALICE, "m.room.member", {"membership": membership}))
    assert not room.allows(room.fork().send(BOB, "m.room.member", {}, BOB))


# 5.3: joins


@pytest.mark.parametrize("version", versions())
def test_5_3_1_the_creator_is_the_first_to_join(version: str) -> None:
    room = Room.begin(version)
    assert room.allows(room.fork().joins(ALICE))
    assert not room.allows(room.fork().joins(BOB))
    # Only right after the create event.
    room.says(ALICE)
    assert not room.allows(room.fork().joins(ALICE))


@pytest.mark.parametrize(
    ("version", "first"),
    [*((version, BOB) for version in versions(last="10")), *((version, ALICE) for version in versions(first="11"))],
)
def test_5_3_1_until_v10_the_content_says_who_the_creator_is(version: str, first: UserID) -> None:
    room = Room.begin(version, creator=ALICE)
    room = Room(room.version)
    content = {"room_version": version, "creator": BOB}
    room.create = room.send(ALICE, "m.room.create", content, "")
    assert [user for user in (ALICE, BOB) if room.allows(room.fork().joins(user))] == [first]


def test_5_3_1_an_additional_creator_is_not_the_first_to_join() -> None:
    room = Room.begin("12", additional_creators=[BOB])
    assert not room.allows(room.fork().joins(BOB))


@pytest.mark.parametrize("version", versions())
def test_5_3_2_nobody_makes_others_join(version: str) -> None:
    room = room_where(version, "public", {})
    assert not room.allows(room.fork().member(ALICE, BOB, "join"))


# Join rule, since which version it has a meaning, and whether one with each membership may join:
#                  none   invite  join   knock  leave  ban
JOINS: list[tuple[str | None, str, tuple[bool, ...]]] = [
    (None, "1", (False, True, True, False, False, False)),
    ("public", "1", (True, True, True, True, True, False)),
    ("invite", "1", (False, True, True, False, False, False)),
    ("knock", "7", (False, True, True, False, False, False)),
    ("restricted", "8", (False, True, True, False, False, False)),
    ("knock_restricted", "10", (False, True, True, False, False, False)),
    ("private", "13", ()),
    ("what", "13", ()),
]
MEMBERSHIPS = (NONE, "invite", "join", "knock", "leave", "ban")


@pytest.mark.parametrize("version", versions())
@pytest.mark.parametrize(("rule", "since", "allowed"), JOINS)
def test_5_3_who_may_join_by_which_rule(version: str, rule: str | None, since: str, allowed: tuple[bool, ...]) -> None:
    if int(version) < int(since):
        allowed = (False,) * len(MEMBERSHIPS)  # 5.3.7: a rule without a meaning lets nobody in.
    may = []
    for membership in MEMBERSHIPS:
        room = room_where(version, rule, {BOB: membership})
        may.append(room.allows(room.fork().joins(BOB)))
    assert tuple(may) == allowed


# Who let Bob in, Carol's membership, Carol's level, the invite level, may Bob join?
VOUCHERS: list[tuple[object, str | None, int, int, bool]] = [
    (CAROL, "join", 0, 0, True),
    (CAROL, "join", 50, 50, True),
    (CAROL, "join", 49, 50, False),
    (CAROL, "invite", 50, 50, False),
    (CAROL, "leave", 50, 50, False),
    (CAROL, NONE, 50, 50, False),
    (ALICE, NONE, 0, 50, True),
    (BOB, NONE, 0, 0, False),
    (NONE, "join", 50, 50, False),
    ([CAROL], "join", 50, 50, False),
]


@pytest.mark.parametrize(("rule", "since"), [("restricted", "8"), ("knock_restricted", "10")])
@pytest.mark.parametrize(("voucher", "membership", "level", "invite", "allowed"), VOUCHERS)
def test_5_3_5_2_a_member_who_may_invite_lets_others_in(
    rule: str, since: str, voucher: object, membership: str | None, level: int, invite: int, allowed: bool
) -> None:
    for version in versions():
        room = room_where(version, rule, {CAROL: membership}, users={CAROL: level}, invite=invite)
        event = room.fork().joins(BOB, join_authorised_via_users_server=voucher)
        assert room.allows(event) is (allowed and int(version) >= int(since))


# 5.4: invites

# Alice's membership, Bob's, Alice's level, the invite level, may Alice invite Bob?
INVITES: list[tuple[str, str | None, int, int, bool]] = [
    ("join", NONE, 0, 0, True),
    ("join", "invite", 0, 0, True),
    ("join", "leave", 0, 0, True),
    ("join", "knock", 0, 0, True),
    ("join", "join", 0, 0, False),
    ("join", "ban", 0, 0, False),
    ("invite", NONE, 0, 0, False),
    ("leave", NONE, 0, 0, False),
    ("join", NONE, 50, 50, True),
    ("join", NONE, 49, 50, False),
]


@pytest.mark.parametrize("version", versions())
@pytest.mark.parametrize(("own", "others", "level", "invite", "allowed"), INVITES)
def test_5_4_who_may_invite_whom(
    version: str, own: str, others: str | None, level: int, invite: int, allowed: bool
) -> None:
    room = room_where(version, "invite", {CAROL: own, BOB: others}, users={CAROL: level}, invite=invite)
    assert room.allows(room.fork().member(CAROL, BOB, "invite")) is allowed


def identity_server(signed: dict[str, Any], by: str = "id.example") -> dict[str, Any]:
    """Return what an identity server, or another, has signed."""
    return sign_json(signed, ServerName(by), signing_key(by))


def public(server: str) -> str:
    """Return the public key of a server, as events have it."""
    return unpadded_base64.encode(signing_key(server).public_key)


OURS = {"public_key": public("id.example")}
SIGNED = identity_server({"mxid": BOB, "token": "t"})

# The keys in m.room.third_party_invite, Bob's membership, third_party_invite of the invite, who sends it: allowed?
THIRD_PARTY: dict[str, tuple[dict[str, Any], str | None, Any, UserID, bool]] = {
    "well": (OURS, NONE, {"signed": SIGNED}, ALICE, True),
    "a member even": (OURS, "join", {"signed": SIGNED}, ALICE, True),
    "1: banned": (OURS, "ban", {"signed": SIGNED}, ALICE, False),
    "2: not signed": (OURS, NONE, {}, ALICE, False),
    "2: signed is text": (OURS, NONE, {"signed": "yes"}, ALICE, False),
    "2: no object": (OURS, NONE, None, ALICE, False),
    "3: no mxid": (OURS, NONE, {"signed": identity_server({"token": "t"})}, ALICE, False),
    "3: no token": (OURS, NONE, {"signed": identity_server({"mxid": BOB})}, ALICE, False),
    "3: no text": (OURS, NONE, {"signed": identity_server({"mxid": BOB, "token": ["t"]})}, ALICE, False),
    "4: for another": (OURS, NONE, {"signed": identity_server({"mxid": CAROL, "token": "t"})}, ALICE, False),
    "5: no such token": (OURS, NONE, {"signed": identity_server({"mxid": BOB, "token": "u"})}, ALICE, False),
    "6: another sender": (OURS, NONE, {"signed": SIGNED}, AMY, False),
    "7.1: another key": ({"public_key": public("e.example")}, NONE, {"signed": SIGNED}, ALICE, False),
    "7.1: no key": ({}, NONE, {"signed": SIGNED}, ALICE, False),
    "7.1: not Base64": ({"public_key": "*"}, NONE, {"signed": SIGNED}, ALICE, False),
    "7.1: not a key": ({"public_key": "AAAA"}, NONE, {"signed": SIGNED}, ALICE, False),
    "7.2: the last of many keys": (
        {"public_key": 1, "public_keys": ["x", {}, {"public_key": public("e.example")}, OURS]},
        NONE,
        {"signed": SIGNED},
        ALICE,
        True,
    ),
    "7.2: no list": ({"public_keys": OURS}, NONE, {"signed": SIGNED}, ALICE, False),
    "8: no signatures": (OURS, NONE, {"signed": {"mxid": BOB, "token": "t"}}, ALICE, False),
    "8: signatures of nobody": (OURS, NONE, {"signed": {**SIGNED, "signatures": {}}}, ALICE, False),
    "8: signatures are text": (OURS, NONE, {"signed": {**SIGNED, "signatures": "x"}}, ALICE, False),
    "8: changed after": (OURS, NONE, {"signed": {**SIGNED, "more": 1}}, ALICE, False),
}


@pytest.mark.parametrize("version", ["1", "6", "11", "12"])
@pytest.mark.parametrize("case", THIRD_PARTY)
def test_5_4_1_an_identity_server_vouches_for_an_invite(version: str, case: str) -> None:
    keys, membership, third_party_invite, sender, allowed = THIRD_PARTY[case]
    room = room_where(version, "invite", {BOB: membership, AMY: "join"})
    room.sets(ALICE, "m.room.third_party_invite", keys, "t")
    event = room.fork().member(sender, BOB, "invite", third_party_invite=third_party_invite)
    assert room.allows(event) is allowed


def test_5_4_1_the_inviter_may_have_left() -> None:
    room = room_where("11", "invite", {})
    room.sets(ALICE, "m.room.third_party_invite", OURS, "t")
    room.member(ALICE, ALICE, "leave")
    assert room.allows(room.fork().member(ALICE, BOB, "invite", third_party_invite={"signed": SIGNED}))


def test_5_4_1_trying_keys_has_an_end() -> None:
    wrong = [{"public_key": public("e.example")}] * 40
    signatures = {f"s{n}.example": {"ed25519:1": "A" * 86} for n in range(MAX_SIGNATURES_TRIED // 40)}
    signed = {**SIGNED, "signatures": signatures}
    room = room_where("11", "invite", {})
    room.sets(ALICE, "m.room.third_party_invite", {"public_keys": [*wrong, OURS]}, "t")
    hidden = {**signed, "signatures": {**signatures, **SIGNED["signatures"]}}
    assert not room.allows(room.fork().member(ALICE, BOB, "invite", third_party_invite={"signed": hidden}))


# 5.5: leaving, removing, lifting bans

# Bob's membership, and since which version he may leave with it.
LEAVES: list[tuple[str | None, int]] = [
    ("join", 1),
    ("invite", 1),
    ("knock", 7),
    ("leave", 99),
    ("ban", 99),
    (NONE, 99),
]


@pytest.mark.parametrize("version", versions())
@pytest.mark.parametrize(("membership", "since"), LEAVES)
def test_5_5_1_who_may_leave(version: str, membership: str | None, since: int) -> None:
    room = room_where(version, "public", {BOB: membership})
    assert room.allows(room.fork().member(BOB, BOB, "leave")) is (int(version) >= since)


# Carol's membership and level, Bob's, the kick and ban levels: may Carol remove Bob, or lift his ban?
KICKS: list[tuple[str, int, str | None, int, int, int, bool]] = [
    ("join", 50, "join", 0, 50, 50, True),
    ("join", 49, "join", 0, 50, 50, False),
    ("join", 99, "join", 98, 50, 50, True),
    ("join", 50, "join", 50, 50, 50, False),  # equals cannot remove each other
    ("join", 50, "join", 60, 50, 50, False),
    ("join", 50, "invite", 0, 50, 50, True),
    ("join", 50, "knock", 0, 50, 50, True),
    ("join", 50, NONE, 0, 50, 50, True),
    ("invite", 50, "join", 0, 50, 50, False),
    ("leave", 50, "join", 0, 50, 50, False),
    ("ban", 50, "join", 0, 50, 50, False),
    ("join", 50, "ban", 0, 50, 50, True),
    ("join", 50, "join", 0, 50, 60, True),
    ("join", 50, "ban", 0, 50, 60, False),  # kick is not enough to lift a ban
    ("join", 60, "ban", 0, 70, 60, False),  # nor is ban alone
    ("join", 50, "ban", 50, 50, 50, False),
]


@pytest.mark.parametrize("version", versions())
@pytest.mark.parametrize(("own", "level", "others", "their_level", "kick", "ban", "allowed"), KICKS)
def test_5_5_who_may_remove_whom(
    version: str, own: str, level: int, others: str | None, their_level: int, kick: int, ban: int, allowed: bool
) -> None:
    users = {CAROL: level, BOB: their_level}
    room = room_where(version, "public", {CAROL: own, BOB: others}, users=users, kick=kick, ban=ban)
    assert room.allows(room.fork().member(CAROL, BOB, "leave")) is allowed


# 5.6: bans

# Carol's membership and level, Bob's, the ban level: may Carol ban Bob?
BANS: list[tuple[str, int, str | None, int, int, bool]] = [
    ("join", 50, "join", 0, 50, True),
    ("join", 50, NONE, 0, 50, True),
    ("join", 50, "ban", 0, 50, True),
    ("join", 50, "leave", 49, 50, True),
    ("join", 49, "join", 0, 50, False),
    ("join", 50, "join", 50, 50, False),
    ("join", 50, "join", 51, 50, False),
    ("invite", 50, "join", 0, 50, False),
    ("leave", 50, "join", 0, 50, False),
]


@pytest.mark.parametrize("version", versions())
@pytest.mark.parametrize(("own", "level", "others", "their_level", "ban", "allowed"), BANS)
def test_5_6_who_may_ban_whom(
    version: str, own: str, level: int, others: str | None, their_level: int, ban: int, allowed: bool
) -> None:
    users = {CAROL: level, BOB: their_level}
    room = room_where(version, "public", {CAROL: own, BOB: others}, users=users, ban=ban)
    assert room.allows(room.fork().member(CAROL, BOB, "ban")) is allowed


@pytest.mark.parametrize("what", ["leave", "ban"])
def test_nobody_removes_a_creator_since_v12(what: str) -> None:
    for version, allowed in (("11", True), ("12", False)):
        room = Room.begin(version, additional_creators=[BOB])
        room.joins(ALICE)
        room.levels(ALICE, {CAROL: 100}, users_default=0)
        for user in (BOB, CAROL):
            room.joins(user)
        assert room.allows(room.fork().member(CAROL, BOB, what)) is allowed
        # Not even another creator does.
        assert room.allows(room.fork().member(ALICE, BOB, what)) is allowed


# 5.7: knocks

# Join rule, and since which version one may knock by it.
KNOCK_RULES: list[tuple[str | None, int]] = [
    ("knock", 7),
    ("knock_restricted", 10),
    ("restricted", 99),
    ("invite", 99),
    ("public", 99),
    (None, 99),
]


@pytest.mark.parametrize("version", versions())
@pytest.mark.parametrize(("rule", "since"), KNOCK_RULES)
def test_5_7_1_where_one_may_knock(version: str, rule: str | None, since: int) -> None:
    room = room_where(version, rule, {})
    assert room.allows(room.fork().member(BOB, BOB, "knock")) is (int(version) >= since)


@pytest.mark.parametrize("version", versions(first="7"))
@pytest.mark.parametrize(
    ("membership", "allowed"),
    [(NONE, True), ("leave", True), ("knock", True), ("invite", False), ("join", False), ("ban", False)],
)
def test_5_7_3_who_may_knock(version: str, membership: str | None, allowed: bool) -> None:
    room = room_where(version, "knock", {BOB: membership})
    assert room.allows(room.fork().member(BOB, BOB, "knock")) is allowed


@pytest.mark.parametrize("version", versions(first="7"))
def test_5_7_2_nobody_knocks_for_others(version: str) -> None:
    room = room_where(version, "knock", {})
    assert not room.allows(room.fork().member(DAVE, BOB, "knock"))


# 5.8


@pytest.mark.parametrize("version", versions())
@pytest.mark.parametrize("membership", ["", "joined", None, 1, ["join"], {"join": 1}])
def test_5_8_no_other_membership_is_known(version: str, membership: Any) -> None:
    room = room_where(version, "public", {BOB: Membership.JOIN})
    event: Pdu = room.fork().member(BOB, BOB, membership)
    assert not room.allows(event)
