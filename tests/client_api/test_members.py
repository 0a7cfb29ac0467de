"""Who is in a room: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidmembers."""

from typing import Any

import pytest

from tests.support.reading import history_visibility, messages
from tests.support.world import User, World, ok, q, refused


async def members(user: User, room: str, **query: Any) -> dict[str, str]:
    """Return the memberships in a room by localpart."""
    chunk = ok(await user.get(f"/rooms/{q(room)}/members", **query))["chunk"]
    assert {each["type"] for each in chunk} <= {"m.room.member"}
    return {each["state_key"][1:].split(":")[0]: each["content"]["membership"] for each in chunk}


@pytest.fixture
async def room(world: World, alice: User, bob: User) -> str:
    """A room with one user of each membership, in which Alice and Bob are joined."""
    others = [await world.user(name) for name in ("invited", "left", "banned")]
    room = await alice.creates_room(bob, *others)
    await bob.joins(room)
    await others[1].joins(room)
    ok(await others[1].post(f"/rooms/{q(room)}/leave"))
    ok(await alice.post(f"/rooms/{q(room)}/ban", {"user_id": others[2].user_id}))
    return room


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, {"alice", "bob", "invited", "left", "banned"}),
        ({"membership": "join"}, {"alice", "bob"}),
        ({"membership": "ban"}, {"banned"}),
        ({"membership": "knock"}, set()),
        ({"not_membership": "join"}, {"invited", "left", "banned"}),
        ({"membership": "invite", "not_membership": "join"}, {"invited", "left", "banned"}),
        ({"membership": "join", "not_membership": "ban"}, {"alice", "bob", "invited", "left"}),
    ],
)
async def test_members_are_chosen_by_membership(
    alice: User, room: str, query: dict[str, str], expected: set[str]
) -> None:
    assert set(await members(alice, room, **query)) == expected


async def test_an_unknown_membership_is_refused(alice: User, room: str) -> None:
    refused(await alice.get(f"/rooms/{q(room)}/members", membership="dance"), 400, "M_INVALID_PARAM")
    refused(await alice.get(f"/rooms/{q(room)}/members", at="x"), 400, "M_INVALID_PARAM")


async def test_members_at_a_place_are_those_of_that_moment(alice: User, bob: User, room: str) -> None:
    place = (await messages(alice, room, "b", limit=1))["start"]
    ok(await bob.post(f"/rooms/{q(room)}/leave"))

    assert (await members(alice, room, at=place))["bob"] == "join"
    assert (await members(alice, room))["bob"] == "leave"
    beginning = (await messages(alice, room, "f", limit=2))["end"]
    assert await members(alice, room, at=beginning) == {"alice": "join"}


async def test_a_place_before_one_may_see_anything_gives_the_present(alice: User, bob: User, world: World) -> None:
    room = await alice.creates_room(preset="public_chat")
    await history_visibility(alice, room, "joined")
    carol = await world.user("carol")
    await carol.joins(room)
    place = (await messages(alice, room, "b", limit=1))["start"]
    ok(await carol.post(f"/rooms/{q(room)}/leave"))
    await bob.joins(room)

    assert await members(bob, room, at=place) == {"alice": "join", "bob": "join", "carol": "leave"}
    assert (await members(alice, room, at=place))["carol"] == "join"


async def test_one_who_left_sees_who_was_there_then(alice: User, bob: User, room: str, world: World) -> None:
    ok(await bob.post(f"/rooms/{q(room)}/leave"))
    await alice.syncs()
    ok(await alice.post(f"/rooms/{q(room)}/invite", {"user_id": (await world.user("carol")).user_id}))

    assert "carol" not in await members(bob, room)
    assert "carol" not in await members(bob, room, at=alice.since)
    assert "carol" in await members(alice, room)


async def test_joined_members_have_names_and_avatars(alice: User, bob: User, room: str) -> None:
    join = {"membership": "join", "displayname": "Bobby", "avatar_url": "mxc://hs1/bob"}
    await bob.sets(room, "m.room.member", join, bob.user_id)

    joined = ok(await alice.get(f"/rooms/{q(room)}/joined_members"))["joined"]
    assert set(joined) == {alice.user_id, bob.user_id}
    assert joined[bob.user_id] == {"display_name": "Bobby", "avatar_url": "mxc://hs1/bob"}


async def test_only_who_is_in_a_room_is_told_who_else_is(alice: User, bob: User, room: str) -> None:
    ok(await bob.post(f"/rooms/{q(room)}/leave"))
    refused(await bob.get(f"/rooms/{q(room)}/joined_members"), 403, "M_FORBIDDEN")
