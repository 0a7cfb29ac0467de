"""https://spec.matrix.org/v1.19/client-server-api/#leaving-rooms, #banning-users-in-a-room."""

from typing import Any

import pytest

from federation.core.room_versions import ROOM_VERSIONS
from tests.support.footprint import footprint
from tests.support.state import member, membership, timeline
from tests.support.world import User, World, ok, q, refused


async def does(user: User, verb: str, room: str, target: User, **body: Any) -> tuple[int, Any]:
    return await user.post(f"/rooms/{q(room)}/{verb}", {"user_id": target.user_id, **body})


async def together(alice: User, *others: User, **body: Any) -> str:
    """Return a room of Alice's that all have joined."""
    room = await alice.creates_room(*others, **body)
    for other in others:
        await other.joins(room)
    return room


@pytest.mark.parametrize("version", list(ROOM_VERSIONS))
async def test_a_moderator_kicks_bans_and_lifts_the_ban_in_every_version(alice: User, bob: User, version: str) -> None:
    room = await together(alice, bob, room_version=version, preset="public_chat")

    ok(await does(alice, "kick", room, bob, reason="noise"))
    assert await member(alice, room, bob) == {"membership": "leave", "reason": "noise"}
    await bob.joins(room)

    ok(await does(alice, "ban", room, bob, reason="spam"))
    assert await member(alice, room, bob) == {"membership": "ban", "reason": "spam"}
    refused(await bob.post(f"/join/{q(room)}"), 403, "M_FORBIDDEN")

    ok(await does(alice, "unban", room, bob, reason="peace"))
    assert await member(alice, room, bob) == {"membership": "leave", "reason": "peace"}
    await bob.joins(room)


async def test_leaving_is_said_once(alice: User, bob: User) -> None:
    room = await together(alice, bob)
    ok(await bob.post(f"/rooms/{q(room)}/leave", {"reason": "late"}))
    before = len(await timeline(alice, room))

    ok(await bob.post(f"/rooms/{q(room)}/leave"))

    assert len(await timeline(alice, room)) == before
    assert await member(alice, room, bob) == {"membership": "leave", "reason": "late"}


async def test_who_was_kicked_may_leave_but_who_is_banned_stays_banned(world: World, alice: User, bob: User) -> None:
    carol = await world.user("carol")
    room = await together(alice, bob, carol)
    ok(await does(alice, "kick", room, bob))
    ok(await does(alice, "ban", room, carol))

    ok(await bob.post(f"/rooms/{q(room)}/leave"))
    refused(await carol.post(f"/rooms/{q(room)}/leave"), 403, "M_FORBIDDEN")

    assert await membership(alice, room, carol) == "ban"


async def test_a_room_that_one_has_nothing_to_do_with_cannot_be_left(alice: User, bob: User) -> None:
    room = await alice.creates_room()

    unknown = refused(await bob.post("/rooms/!none:hs1/leave"), 403, "M_FORBIDDEN")
    assert refused(await bob.post(f"/rooms/{q(room)}/leave"), 403, "M_FORBIDDEN") == unknown


async def test_a_stranger_can_be_banned_beforehand(alice: User, bob: User) -> None:
    room = await alice.creates_room(preset="public_chat")

    ok(await does(alice, "ban", room, bob))

    refused(await bob.post(f"/join/{q(room)}"), 403, "M_FORBIDDEN")


async def test_a_kick_never_lifts_a_ban(world: World, alice: User, bob: User) -> None:
    room = await together(alice, bob)
    ok(await does(alice, "ban", room, bob))
    before = await footprint(world)

    refused(await does(alice, "kick", room, bob), 403, "M_FORBIDDEN")

    assert await footprint(world) == before


async def test_who_is_not_there_is_not_kicked_and_who_is_not_banned_is_not_unbanned(
    world: World, alice: User, bob: User
) -> None:
    carol = await world.user("carol")
    room = await together(alice, bob)
    ok(await bob.post(f"/rooms/{q(room)}/leave"))
    before = await footprint(world)

    refused(await does(alice, "kick", room, bob), 403, "M_FORBIDDEN")
    refused(await does(alice, "kick", room, carol), 403, "M_FORBIDDEN")
    refused(await does(alice, "unban", room, bob), 400, "M_BAD_STATE")
    refused(await does(alice, "unban", room, carol), 400, "M_BAD_STATE")

    assert await footprint(world) == before


@pytest.mark.parametrize("verb", ["kick", "ban", "unban"])
async def test_a_member_without_power_removes_nobody(world: World, alice: User, bob: User, verb: str) -> None:
    carol = await world.user("carol")
    room = await together(alice, bob, carol)
    if verb == "unban":
        ok(await does(alice, "ban", room, carol))
    before = await footprint(world)

    refused(await does(bob, verb, room, carol), 403, "M_FORBIDDEN")
    refused(await does(bob, "ban", room, alice), 403, "M_FORBIDDEN")

    assert await footprint(world) == before


@pytest.mark.parametrize("verb", ["kick", "ban", "unban"])
async def test_who_is_not_in_the_room_removes_nobody_and_learns_nothing(alice: User, bob: User, verb: str) -> None:
    room = await alice.creates_room()

    known = refused(await does(bob, verb, room, alice), 403, "M_FORBIDDEN")

    assert refused(await does(bob, verb, "!none:hs1", alice), 403, "M_FORBIDDEN") == known


async def test_a_member_removed_by_state_event_follows_the_same_rules(alice: User, bob: User) -> None:
    room = await together(alice, bob)
    path = f"/rooms/{q(room)}/state/m.room.member/"

    refused(await bob.put(path + q(alice.user_id), {"membership": "leave"}), 403, "M_FORBIDDEN")
    ok(await alice.put(path + q(bob.user_id), {"membership": "ban", "reason": "spam"}))

    assert await member(alice, room, bob) == {"membership": "ban", "reason": "spam"}


@pytest.mark.parametrize("verb", ["kick", "ban", "unban"])
@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        ({}, "M_MISSING_PARAM"),
        ({"user_id": None}, "M_BAD_JSON"),
        ({"user_id": "bob"}, "M_INVALID_PARAM"),
        ({"user_id": "@bob:hs1", "reason": 5}, "M_BAD_JSON"),
    ],
)
async def test_a_bad_request_removes_nobody(
    world: World, alice: User, bob: User, verb: str, body: dict[str, Any], errcode: str
) -> None:
    room = await together(alice, bob)
    before = await footprint(world)

    refused(await alice.post(f"/rooms/{q(room)}/{verb}", body), 400, errcode)

    assert await footprint(world) == before
