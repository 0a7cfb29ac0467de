"""https://spec.matrix.org/v1.19/client-server-api/#joining-rooms."""

from typing import Any

import pytest

from federation.core.room_versions import ROOM_VERSIONS
from tests.support.footprint import footprint
from tests.support.people import administrator, password_of
from tests.support.state import member, membership, timeline
from tests.support.world import User, World, ok, q, refused


@pytest.mark.parametrize("version", list(ROOM_VERSIONS))
async def test_anyone_joins_a_public_room_of_every_version(alice: User, bob: User, version: str) -> None:
    room = await alice.creates_room(preset="public_chat", room_version=version)

    assert ok(await bob.post(f"/join/{q(room)}")) == {"room_id": room}

    assert await membership(alice, room, bob) == "join"


async def test_a_room_can_be_joined_by_its_alias(alice: User, bob: User) -> None:
    room = await alice.creates_room(preset="public_chat", room_alias_name="pub")

    assert ok(await bob.post(f"/join/{q('#pub:hs1')}", via=["hs1"], server_name=["hs1", "other"])) == {"room_id": room}


async def test_joining_twice_sends_one_event(alice: User, bob: User) -> None:
    room = await alice.creates_room(preset="public_chat")
    await bob.joins(room)
    before = len(await timeline(bob, room))

    assert ok(await bob.post(f"/rooms/{q(room)}/join", {"reason": "again"})) == {"room_id": room}

    assert len(await timeline(bob, room)) == before


async def test_the_reason_and_the_name_are_in_the_event(alice: User, bob: User) -> None:
    ok(await bob.put(f"/profile/{bob.user_id}/displayname", {"displayname": "Bob"}))
    room = await alice.creates_room(preset="public_chat")

    ok(await bob.post(f"/rooms/{q(room)}/join", {"reason": "curious"}))

    assert await member(alice, room, bob) == {"membership": "join", "displayname": "Bob", "reason": "curious"}


async def test_an_invited_user_joins_and_another_does_not(world: World, alice: User, bob: User) -> None:
    room, carol = await alice.creates_room(bob), await world.user("carol")

    await bob.joins(room)

    assert await membership(alice, room, bob) == "join"
    refused(await carol.post(f"/join/{q(room)}"), 403, "M_FORBIDDEN")
    assert await membership(alice, room, carol) is None


async def test_who_left_a_room_by_invitation_needs_another_one(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob)
    await bob.joins(room)
    ok(await bob.post(f"/rooms/{q(room)}/leave"))

    refused(await bob.post(f"/join/{q(room)}"), 403, "M_FORBIDDEN")


async def test_a_join_by_state_event_is_a_join(alice: User, bob: User) -> None:
    ok(await bob.put(f"/profile/{bob.user_id}/displayname", {"displayname": "Bob"}))
    room = await alice.creates_room(preset="public_chat")

    await bob.sets(room, "m.room.member", {"membership": "join", "displayname": "Bobby", "org.x": 1}, bob.user_id)

    assert await member(alice, room, bob) == {"membership": "join", "displayname": "Bobby", "org.x": 1}


async def test_nobody_makes_another_join(alice: User, bob: User) -> None:
    room = await alice.creates_room(preset="public_chat")

    path = f"/rooms/{q(room)}/state/m.room.member/{q(bob.user_id)}"
    refused(await alice.put(path, {"membership": "join"}), 403, "M_FORBIDDEN")


async def test_a_new_name_goes_into_all_rooms_that_one_has_joined(alice: User, bob: User) -> None:
    joined = [await alice.creates_room(bob) for _ in range(3)]
    for room in joined:
        await bob.joins(room)
    left = await alice.creates_room(bob)
    await bob.joins(left)
    ok(await bob.post(f"/rooms/{q(left)}/leave"))
    await bob.sets(joined[0], "m.room.member", {"membership": "join", "org.x": 1}, bob.user_id)

    ok(await bob.put(f"/profile/{bob.user_id}/displayname", {"displayname": "Robert"}))

    assert await member(alice, joined[0], bob) == {"membership": "join", "displayname": "Robert", "org.x": 1}
    assert await member(alice, joined[1], bob) == {"membership": "join", "displayname": "Robert"}
    assert await member(alice, joined[2], bob) == {"membership": "join", "displayname": "Robert"}
    assert await member(alice, left, bob) == {"membership": "leave"}

    ok(await bob.delete(f"/profile/{bob.user_id}/displayname"))
    assert await member(alice, joined[1], bob) == {"membership": "join"}


async def test_whose_account_ends_leaves_all_rooms(alice: User, bob: User) -> None:
    joined, invited = await alice.creates_room(bob), await alice.creates_room(bob)
    knocked = await alice.creates_room(initial_state=[{"type": "m.room.join_rules", "content": {"join_rule": "knock"}}])
    await bob.joins(joined)
    ok(await bob.post(f"/knock/{q(knocked)}"))

    ok(await bob.post("/account/deactivate", {"auth": password_of(bob)}))

    assert {await membership(alice, room, bob) for room in (joined, invited, knocked)} == {"leave"}


@pytest.mark.parametrize(
    ("path", "body", "status", "errcode"),
    [
        ("/join/{room}", {"reason": 1}, 400, "M_BAD_JSON"),
        ("/join/{room}", [], 400, "M_BAD_JSON"),
        ("/rooms/{room}/join", {"reason": {}}, 400, "M_BAD_JSON"),
        ("/join/room", {}, 400, "M_INVALID_PARAM"),
        ("/join/%23no-server", {}, 400, "M_INVALID_PARAM"),
        ("/join/%21unknown:hs1", {}, 404, "M_NOT_FOUND"),
        ("/join/%23unknown:hs1", {}, 404, "M_NOT_FOUND"),
        ("/join/%23unknown:127.0.0.1:9", {}, 502, "M_UNKNOWN"),
        ("/rooms/%21unknown:hs1/join", {}, 404, "M_NOT_FOUND"),
        ("/rooms/%23pub:hs1/join", {}, 400, "M_INVALID_PARAM"),
        ("/rooms/{room}/state/m.room.member/%40bob:hs1", {}, 400, "M_BAD_JSON"),
        ("/rooms/{room}/state/m.room.member/%40bob:hs1", {"membership": "guest"}, 400, "M_BAD_JSON"),
        ("/rooms/{room}/state/m.room.member/%40bob:hs1", {"membership": 1}, 400, "M_BAD_JSON"),
        ("/rooms/{room}/state/m.room.member/bob", {"membership": "join"}, 400, "M_BAD_JSON"),
        ("/rooms/{room}/state/m.room.member/", {"membership": "join"}, 400, "M_BAD_JSON"),
    ],
)
async def test_a_bad_request_to_join_changes_nothing(
    world: World, alice: User, bob: User, path: str, body: Any, status: int, errcode: str
) -> None:
    room = await alice.creates_room(preset="public_chat", room_alias_name="pub")
    before = await footprint(world)

    ask = bob.put if "/state/" in path else bob.post
    refused(await ask(path.format(room=q(room)), body), status, errcode)

    assert await footprint(world) == before


async def test_a_suspended_user_joins_nothing_but_may_leave(world: World, alice: User, bob: User) -> None:
    first, second = await alice.creates_room(bob), await alice.creates_room(bob)
    await bob.joins(first)
    root = await administrator(world)
    ok(await root.put(f"/_matrix/client/v1/admin/suspend/{bob.user_id}", {"suspended": True}))

    refused(await bob.post(f"/join/{q(second)}"), 403, "M_USER_SUSPENDED")
    refused(await bob.post(f"/knock/{q(second)}"), 403, "M_USER_SUSPENDED")
    refused(await bob.post(f"/rooms/{q(first)}/invite", {"user_id": alice.user_id}), 403, "M_USER_SUSPENDED")
    refused(await bob.post("/createRoom"), 403, "M_USER_SUSPENDED")
    ok(await bob.post(f"/rooms/{q(first)}/leave"))
    ok(await bob.post(f"/rooms/{q(second)}/leave"))
