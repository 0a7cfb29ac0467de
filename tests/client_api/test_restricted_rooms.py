"""https://spec.matrix.org/v1.19/client-server-api/#restricted-rooms."""

from typing import Any

import pytest

from federation.core.room_versions import ROOM_VERSIONS
from tests.support.footprint import footprint
from tests.support.state import content_of, member
from tests.support.world import User, World, ok, q, refused

RESTRICTED = [version.id for version in ROOM_VERSIONS.values() if version.restricted_joins]


def rules(*rooms: str, rule: str = "restricted") -> dict[str, Any]:
    """Return join rules that let the members of rooms in."""
    return {"join_rule": rule, "allow": [{"type": "m.room_membership", "room_id": room} for room in rooms]}


async def restricted(alice: User, *rooms: str, version: str = "12", rule: str = "restricted", **body: Any) -> str:
    """Return a room of Alice's that the members of other rooms may join."""
    state = [{"type": "m.room.join_rules", "content": rules(*rooms, rule=rule)}]
    return await alice.creates_room(room_version=version, initial_state=state, **body)


@pytest.mark.parametrize("version", RESTRICTED)
async def test_members_of_the_other_room_come_in_and_the_event_says_who_let_them(
    world: World, alice: User, bob: User, version: str
) -> None:
    hall, carol = await alice.creates_room(preset="public_chat"), await world.user("carol")
    room = await restricted(alice, "!elsewhere:example.org", hall, version=version)
    await bob.joins(hall)

    await bob.joins(room)

    assert await member(alice, room, bob) == {
        "membership": "join",
        "join_authorised_via_users_server": alice.user_id,
    }
    refused(await carol.post(f"/join/{q(room)}"), 403, "M_FORBIDDEN")


@pytest.mark.parametrize("version", ["10", "11", "12"])
async def test_a_room_may_be_restricted_and_open_to_knocks(world: World, alice: User, bob: User, version: str) -> None:
    hall, carol = await alice.creates_room(preset="public_chat"), await world.user("carol")
    room = await restricted(alice, hall, version=version, rule="knock_restricted")
    await bob.joins(hall)

    await bob.joins(room)
    ok(await carol.post(f"/knock/{q(room)}"))

    refused(await carol.post(f"/join/{q(room)}"), 403, "M_FORBIDDEN")


@pytest.mark.parametrize(("version", "rule"), [("7", "restricted"), ("9", "knock_restricted")])
async def test_an_older_version_does_not_know_the_rule(alice: User, bob: User, version: str, rule: str) -> None:
    hall = await alice.creates_room(bob)
    await bob.joins(hall)
    room = await restricted(alice, hall, version=version, rule=rule)

    refused(await bob.post(f"/join/{q(room)}"), 403, "M_FORBIDDEN")


async def test_an_invite_lets_anyone_in_without_a_voucher(alice: User, bob: User) -> None:
    room = await restricted(alice)
    ok(await alice.post(f"/rooms/{q(room)}/invite", {"user_id": bob.user_id}))

    await bob.joins(room)

    assert await member(alice, room, bob) == {"membership": "join"}


async def test_being_invited_to_the_other_room_or_having_left_it_is_not_enough(alice: User, bob: User) -> None:
    hall = await alice.creates_room(bob)
    room = await restricted(alice, hall)

    refused(await bob.post(f"/join/{q(room)}"), 403, "M_FORBIDDEN")
    await bob.joins(hall)
    ok(await bob.post(f"/rooms/{q(hall)}/leave"))
    refused(await bob.post(f"/join/{q(room)}"), 403, "M_FORBIDDEN")


async def test_whoever_is_banned_stays_out(alice: User, bob: User) -> None:
    hall = await alice.creates_room(bob)
    await bob.joins(hall)
    room = await restricted(alice, hall)
    ok(await alice.post(f"/rooms/{q(room)}/ban", {"user_id": bob.user_id}))

    refused(await bob.post(f"/join/{q(room)}"), 403, "M_FORBIDDEN")


async def test_nobody_lets_in_whom_nobody_may_invite(world: World, alice: User, bob: User) -> None:
    carol = await world.user("carol")
    hall = await alice.creates_room(bob, carol)
    await bob.joins(hall)
    await carol.joins(hall)
    room = await restricted(alice, hall, power_level_content_override={"invite": 50})
    await bob.joins(room)
    ok(await alice.post(f"/rooms/{q(room)}/leave"))
    before = await footprint(world)

    refused(await carol.post(f"/join/{q(room)}"), 400, "M_UNABLE_TO_AUTHORISE_JOIN")

    assert await footprint(world) == before


async def test_any_member_vouches_where_everyone_may_invite(world: World, alice: User, bob: User) -> None:
    carol = await world.user("carol")
    hall = await alice.creates_room(bob, carol)
    await bob.joins(hall)
    await carol.joins(hall)
    room = await restricted(alice, hall)
    await bob.joins(room)
    ok(await alice.post(f"/rooms/{q(room)}/leave"))

    await carol.joins(room)

    assert (await member(carol, room, carol))["join_authorised_via_users_server"] == bob.user_id


async def test_a_listed_moderator_vouches_where_others_may_not_invite(world: World, alice: User, bob: User) -> None:
    carol = await world.user("carol")
    hall = await alice.creates_room(bob, carol)
    await bob.joins(hall)
    await carol.joins(hall)
    room = await restricted(alice, hall, power_level_content_override={"invite": 50, "users": {bob.user_id: 50}})
    await bob.joins(room)
    ok(await alice.post(f"/rooms/{q(room)}/leave"))

    await carol.joins(room)

    assert (await member(carol, room, carol))["join_authorised_via_users_server"] == bob.user_id


async def test_a_client_cannot_say_who_let_it_in(alice: User, bob: User) -> None:
    hall = await alice.creates_room(bob)
    await bob.joins(hall)
    room = await restricted(alice, hall)
    claim = {"membership": "join", "join_authorised_via_users_server": "@mallory:elsewhere.example"}

    await bob.sets(room, "m.room.member", claim, bob.user_id)
    assert (await member(alice, room, bob))["join_authorised_via_users_server"] == alice.user_id

    await bob.sets(room, "m.room.member", {**claim, "displayname": "B"}, bob.user_id)
    assert await member(alice, room, bob) == {"membership": "join", "displayname": "B"}


@pytest.mark.parametrize(
    "allow",
    [
        None,
        "!hall",
        [1],
        [{"type": "m.room_membership"}],
        [{"type": "m.room_membership", "room_id": "hall"}],
        [{"type": "org.example.other", "room_id": "!hall:hs1"}],
    ],
)
async def test_a_condition_that_nobody_understands_is_met_by_nobody(alice: User, bob: User, allow: Any) -> None:
    content = {"join_rule": "restricted", "allow": allow}
    room = await alice.creates_room(initial_state=[{"type": "m.room.join_rules", "content": content}])

    refused(await bob.post(f"/join/{q(room)}"), 403, "M_FORBIDDEN")
    assert await content_of(alice, room, "m.room.join_rules") == content
