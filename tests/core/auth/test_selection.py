"""Which state authorises an event: the list in the specification, version by version.

https://spec.matrix.org/v1.19/server-server-api/#auth-events-selection
"""

from typing import Any

import pytest

from federation.core.auth.selection import auth_slots
from federation.core.room_versions import ROOM_VERSIONS
from tests.support.rooms import ALICE, BOB, CAROL, versions

CREATE = ("m.room.create", "")
LEVELS = ("m.room.power_levels", "")
RULES = ("m.room.join_rules", "")


def of(user: str) -> tuple[str, str]:
    """Return where the membership of a user stands."""
    return "m.room.member", user


def invite_with(third_party_invite: Any) -> dict[str, Any]:
    """Return the content of an invite by way of a third party."""
    return {"membership": "invite", "third_party_invite": third_party_invite}


def test_the_create_event_is_authorised_by_nothing() -> None:
    for version in ROOM_VERSIONS.values():
        assert auth_slots("m.room.create", ALICE, "", {}, version) == []


@pytest.mark.parametrize("version", versions(last="11"))
def test_until_v11_the_create_event_is_cited(version: str) -> None:
    assert set(auth_slots("m.room.message", ALICE, None, {}, ROOM_VERSIONS[version])) == {CREATE, LEVELS, of(ALICE)}


def test_since_v12_the_create_event_is_not_cited() -> None:
    assert set(auth_slots("m.room.message", ALICE, None, {}, ROOM_VERSIONS["12"])) == {LEVELS, of(ALICE)}


# Sender, target, content, and what is cited besides the power levels.
MEMBERSHIPS: list[tuple[str, str | None, dict[str, Any], set[tuple[str, str]]]] = [
    (ALICE, ALICE, {"membership": "join"}, {of(ALICE), RULES}),
    (ALICE, BOB, {"membership": "invite"}, {of(ALICE), of(BOB), RULES}),
    (ALICE, ALICE, {"membership": "knock"}, {of(ALICE), RULES}),
    (ALICE, ALICE, {"membership": "leave"}, {of(ALICE)}),
    (ALICE, BOB, {"membership": "leave"}, {of(ALICE), of(BOB)}),
    (ALICE, BOB, {"membership": "ban"}, {of(ALICE), of(BOB)}),
    (ALICE, BOB, {}, {of(ALICE), of(BOB)}),
    (ALICE, BOB, {"membership": ["join"]}, {of(ALICE), of(BOB)}),
    (ALICE, None, {"membership": "join"}, {of(ALICE)}),
    (
        ALICE,
        BOB,
        invite_with({"signed": {"token": "t"}}),
        {of(ALICE), of(BOB), RULES, ("m.room.third_party_invite", "t")},
    ),
    (ALICE, BOB, invite_with({"signed": {"token": 1}}), {of(ALICE), of(BOB), RULES}),
    (ALICE, BOB, invite_with({"signed": "t"}), {of(ALICE), of(BOB), RULES}),
    (ALICE, BOB, invite_with("t"), {of(ALICE), of(BOB), RULES}),
    # Only an invite may cite a third-party invite.
    (ALICE, BOB, {**invite_with({"signed": {"token": "t"}}), "membership": "ban"}, {of(ALICE), of(BOB)}),
]


@pytest.mark.parametrize(("sender", "target", "content", "cited"), MEMBERSHIPS)
def test_a_membership_event_also_cites_what_it_is_about(
    sender: str, target: str | None, content: dict[str, Any], cited: set[tuple[str, str]]
) -> None:
    slots = auth_slots("m.room.member", sender, target, content, ROOM_VERSIONS["12"])
    assert len(slots) == len(set(slots))
    assert set(slots) == cited | {LEVELS}


@pytest.mark.parametrize(
    ("version", "membership", "voucher", "cited"),
    [
        *((version, "join", CAROL, False) for version in versions(last="7")),
        *((version, "join", CAROL, True) for version in versions(first="8")),
        ("8", "invite", CAROL, False),
        ("8", "join", None, False),
        ("8", "join", [CAROL], False),
    ],
)
def test_since_v8_a_join_cites_the_member_who_let_the_user_in(
    version: str, membership: str, voucher: object, cited: bool
) -> None:
    content = {"membership": membership, "join_authorised_via_users_server": voucher}
    slots = auth_slots("m.room.member", BOB, BOB, content, ROOM_VERSIONS[version])
    assert (of(CAROL) in slots) is cited


def test_who_lets_themselves_in_is_cited_once() -> None:
    content = {"membership": "join", "join_authorised_via_users_server": BOB}
    slots = auth_slots("m.room.member", BOB, BOB, content, ROOM_VERSIONS["11"])
    assert slots.count(of(BOB)) == 1
