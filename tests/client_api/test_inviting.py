"""https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidinvite."""

from typing import Any

import pytest

from federation.core.room_versions import ROOM_VERSIONS
from tests.support.footprint import footprint
from tests.support.state import content_of, member, membership
from tests.support.world import User, World, ok, q, refused


def invite(room: str) -> str:
    return f"/rooms/{q(room)}/invite"


@pytest.mark.parametrize("version", list(ROOM_VERSIONS))
async def test_a_member_invites_into_a_room_of_every_version(
    world: World, alice: User, bob: User, version: str
) -> None:
    room, carol = await alice.creates_room(bob, room_version=version), await world.user("carol")
    await bob.joins(room)

    ok(await bob.post(invite(room), {"user_id": carol.user_id, "reason": "come"}))

    assert await member(alice, room, carol) == {"membership": "invite", "reason": "come"}


async def test_an_invite_may_be_repeated(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob)

    ok(await alice.post(invite(room), {"user_id": bob.user_id}))
    ok(await alice.post(invite(room), {"user_id": bob.user_id, "reason": "please"}))

    assert await membership(alice, room, bob) == "invite"


async def test_who_is_in_the_room_or_banned_is_not_invited(world: World, alice: User, bob: User) -> None:
    room, carol = await alice.creates_room(bob), await world.user("carol")
    await bob.joins(room)
    ok(await alice.post(f"/rooms/{q(room)}/ban", {"user_id": carol.user_id}))
    before = await footprint(world)

    refused(await alice.post(invite(room), {"user_id": bob.user_id}), 403, "M_FORBIDDEN")
    refused(await alice.post(invite(room), {"user_id": carol.user_id}), 403, "M_FORBIDDEN")

    assert await footprint(world) == before


async def test_who_is_not_in_the_room_invites_nobody(world: World, alice: User, bob: User) -> None:
    room, carol = await alice.creates_room(bob), await world.user("carol")

    refused(await carol.post(invite(room), {"user_id": bob.user_id}), 403, "M_FORBIDDEN")
    refused(await bob.post(invite(room), {"user_id": carol.user_id}), 403, "M_FORBIDDEN")
    refused(await bob.post(invite("!none:hs1"), {"user_id": carol.user_id}), 403, "M_FORBIDDEN")


async def test_who_has_not_the_power_invites_nobody(world: World, alice: User, bob: User) -> None:
    room, carol = await alice.creates_room(bob, power_level_content_override={"invite": 50}), await world.user("carol")
    await bob.joins(room)

    refused(await bob.post(invite(room), {"user_id": carol.user_id}), 403, "M_FORBIDDEN")


async def test_an_invite_can_be_turned_down_and_taken_back(world: World, alice: User, bob: User) -> None:
    room, carol = await alice.creates_room(bob), await world.user("carol")
    ok(await alice.post(invite(room), {"user_id": carol.user_id}))

    ok(await bob.post(f"/rooms/{q(room)}/leave", {"reason": "busy"}))
    ok(await alice.post(f"/rooms/{q(room)}/kick", {"user_id": carol.user_id}))

    assert await member(alice, room, bob) == {"membership": "leave", "reason": "busy"}
    refused(await carol.post(f"/join/{q(room)}"), 403, "M_FORBIDDEN")


async def test_an_invite_bears_the_name_of_who_is_invited(alice: User, bob: User) -> None:
    ok(await bob.put(f"/profile/{bob.user_id}/displayname", {"displayname": "Bob"}))
    room = await alice.creates_room()

    ok(await alice.post(invite(room), {"user_id": bob.user_id}))

    assert await member(alice, room, bob) == {"membership": "invite", "displayname": "Bob"}


@pytest.mark.parametrize("by_state", [False, True])
async def test_who_takes_no_invites_gets_none(world: World, alice: User, bob: User, by_state: bool) -> None:
    room = await alice.creates_room()
    config = f"/user/{bob.user_id}/account_data/m.invite_permission_config"
    ok(await bob.put(config, {"default_action": "block"}))
    before = await footprint(world)

    async def invites() -> tuple[int, Any]:
        if by_state:
            path = f"/rooms/{q(room)}/state/m.room.member/{q(bob.user_id)}"
            return await alice.put(path, {"membership": "invite"})
        return await alice.post(invite(room), {"user_id": bob.user_id})

    refused(await invites(), 403, "M_INVITE_BLOCKED")
    assert await footprint(world) == before

    for harmless in ({}, {"default_action": "allow"}, {"default_action": ["block"]}):
        ok(await bob.put(config, harmless))
        ok(await invites())


@pytest.mark.parametrize("by_state", [False, True])
@pytest.mark.parametrize(
    ("user_id", "status", "errcode"),
    [("@nobody:hs1", 404, "M_NOT_FOUND"), ("@bob:127.0.0.1:9", 502, "M_UNKNOWN")],
)
async def test_only_users_who_can_hear_of_it_are_invited(
    world: World, alice: User, by_state: bool, user_id: str, status: int, errcode: str
) -> None:
    room = await alice.creates_room()
    before = await footprint(world)

    if by_state:
        answer = await alice.put(f"/rooms/{q(room)}/state/m.room.member/{q(user_id)}", {"membership": "invite"})
    else:
        answer = await alice.post(invite(room), {"user_id": user_id})

    refused(answer, status, errcode)
    assert await footprint(world) == before


async def test_an_invite_by_e_mail_is_refused_since_no_identity_server_is_trusted(world: World, alice: User) -> None:
    room = await alice.creates_room()
    before = await footprint(world)

    body = {"id_server": "vector.im", "id_access_token": "t", "medium": "email", "address": "a@b.c"}
    refused(await alice.post(invite(room), body), 403, "M_SERVER_NOT_TRUSTED")

    assert await footprint(world) == before


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        ({}, "M_MISSING_PARAM"),
        ({"user_id": 1}, "M_BAD_JSON"),
        ({"user_id": "bob"}, "M_INVALID_PARAM"),
        ({"user_id": "@bob"}, "M_INVALID_PARAM"),
        ({"user_id": "@" + "b" * 255 + ":hs1"}, "M_INVALID_PARAM"),
        ({"user_id": "@bob:hs1", "reason": []}, "M_BAD_JSON"),
        ({"address": "a@b.c"}, "M_MISSING_PARAM"),
    ],
)
async def test_a_bad_invite_changes_nothing(
    world: World, alice: User, bob: User, body: dict[str, Any], errcode: str
) -> None:
    room = await alice.creates_room()
    before = await footprint(world)

    refused(await alice.post(invite(room), body), 400, errcode)

    assert await footprint(world) == before


async def test_the_creator_of_a_room_counts_as_able_to_invite_whatever_the_level(alice: User, bob: User) -> None:
    room = await alice.creates_room(power_level_content_override={"invite": 1000}, room_version="12")

    ok(await alice.post(invite(room), {"user_id": bob.user_id}))

    assert (await content_of(alice, room, "m.room.power_levels"))["invite"] == 1000
