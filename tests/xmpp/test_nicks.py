"""Nicks and affiliations, as tables."""

import pytest
import slixmpp
from hypothesis import given
from hypothesis import strategies as st

from federation.core.events.content import Membership, PowerLevels
from federation.core.ids import UserID
from federation.core.room_versions import ROOM_VERSIONS
from federation.core.xmpp.jid import Jid
from homeserver.xmpp.affiliations import Affiliation, Role, level_for, level_for_role, standing_of, with_level
from homeserver.xmpp.nicks import Nicks, distinct_nick, usual_nick

ALICE, BOB = UserID("@alice:hs"), UserID("@bob:hs")


@pytest.mark.parametrize(
    ("display_name", "nick"),
    [
        ("Alice", "Alice"),
        ("  Alice\tB.\n", "Alice B."),
        (None, "alice"),
        ("", "alice"),
        ("Alice 🎉", "Alice"),
        ("🎉", "alice"),
        ("a/b@c", "a/b@c"),
        ("\uff21\uff4c\uff49ce", "Alice"),
        ("\u202eecila", "ecila"),
        ("דוד", "דוד"),
        ("דוד x", "alice"),
        ("x" * 200, "x" * 80),
    ],
)
def test_a_display_name_becomes_a_nick(display_name: str | None, nick: str) -> None:
    assert usual_nick(display_name, ALICE) == nick


@given(st.text(), st.text(max_size=30))
def test_any_name_gives_an_address_that_everybody_takes(display_name: str, localpart: str) -> None:
    user_id = UserID(f"@{localpart}:hs")
    for nick in (usual_nick(display_name, user_id), distinct_nick(display_name, user_id)):
        assert Jid.parse(f"room@rooms.hs/{nick}").resource == nick
        assert slixmpp.JID(f"room@rooms.hs/{nick}").resource == nick


def test_who_comes_second_is_told_apart() -> None:
    nicks = Nicks([(ALICE, "Al"), (BOB, "Al")])
    assert (nicks.of(ALICE), nicks.of(BOB)) == ("Al", "Al (@bob:hs)")
    nicks.drop(ALICE)
    assert nicks.give(BOB, "Al") == "Al"
    assert nicks.user("Al") == BOB
    assert nicks.addressed("Al: hello") == [BOB]
    assert nicks.addressed("All: hello") == []


@given(st.lists(st.tuples(st.sampled_from(["@a:hs", "@b:hs", "@c:hs"]), st.sampled_from(["a", "a (@b:hs)", "c 2"]))))
def test_no_two_users_have_one_nick(names: list[tuple[str, str]]) -> None:
    nicks = Nicks((UserID(user_id), name) for user_id, name in names)
    given = [nicks.of(UserID(user_id)) for user_id in {user_id for user_id, _ in names}]
    assert len(set(given)) == len(given)


V11, V12 = ROOM_VERSIONS["11"], ROOM_VERSIONS["12"]


@pytest.mark.parametrize(
    ("level", "affiliation", "role"),
    [
        (100, Affiliation.OWNER, Role.MODERATOR),
        (99, Affiliation.ADMIN, Role.MODERATOR),
        (50, Affiliation.ADMIN, Role.MODERATOR),
        (49, Affiliation.MEMBER, Role.PARTICIPANT),
        (0, Affiliation.MEMBER, Role.PARTICIPANT),
        (-1, Affiliation.MEMBER, Role.VISITOR),
    ],
)
def test_a_level_is_an_affiliation_and_a_role(level: int, affiliation: Affiliation, role: Role) -> None:
    levels = PowerLevels.of({"users": {ALICE: level}}, V11, [])
    standing = standing_of(levels, ALICE, Membership.JOIN)
    assert (standing.affiliation, standing.role) == (affiliation, role)


def test_creators_own_their_room() -> None:
    levels = PowerLevels.of({"users": {}}, V12, [ALICE])
    assert standing_of(levels, ALICE, Membership.JOIN).affiliation is Affiliation.OWNER


def test_the_banned_are_outcasts_and_the_gone_are_nothing() -> None:
    levels = PowerLevels.of({"users": {ALICE: 100}}, V11, [])
    assert standing_of(levels, ALICE, Membership.BAN).affiliation is Affiliation.OUTCAST
    assert standing_of(levels, ALICE, Membership.LEAVE).affiliation is Affiliation.NONE


@pytest.mark.parametrize("wanted", [Affiliation.OWNER, Affiliation.ADMIN, Affiliation.MEMBER])
@pytest.mark.parametrize("content", [{}, {"ban": 10, "kick": 20}, {"users_default": 5, "ban": 0, "kick": 0}])
def test_an_affiliation_that_is_set_is_there(wanted: Affiliation, content: dict[str, int]) -> None:
    before = PowerLevels.of(content, V11, [])
    after = PowerLevels.of(with_level(content, BOB, level_for(wanted, before)), V11, [])
    assert standing_of(after, BOB, Membership.JOIN).affiliation is wanted


@pytest.mark.parametrize("wanted", [Role.MODERATOR, Role.PARTICIPANT, Role.VISITOR])
@pytest.mark.parametrize("content", [{}, {"events_default": 10}, {"users_default": 10, "events_default": 10}])
def test_a_role_that_is_set_is_there(wanted: Role, content: dict[str, int]) -> None:
    before = PowerLevels.of(content, V11, [])
    after = PowerLevels.of(with_level(content, BOB, level_for_role(wanted, before)), V11, [])
    assert standing_of(after, BOB, Membership.JOIN).role is wanted
