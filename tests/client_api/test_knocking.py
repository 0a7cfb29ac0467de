"""https://spec.matrix.org/v1.19/client-server-api/#knocking-on-rooms."""

from typing import Any

import pytest

from federation.core.room_versions import ROOM_VERSIONS
from tests.support.footprint import footprint
from tests.support.state import member, membership
from tests.support.world import User, World, ok, q, refused

KNOCKING = [version.id for version in ROOM_VERSIONS.values() if version.knocking]
NOT_KNOCKING = [version.id for version in ROOM_VERSIONS.values() if not version.knocking]


async def knockable(alice: User, version: str = "12", rule: str = "knock", **body: Any) -> str:
    """Return a room of Alice's that one can knock at."""
    state = [{"type": "m.room.join_rules", "content": {"join_rule": rule}}]
    return await alice.creates_room(room_version=version, initial_state=state, **body)


@pytest.mark.parametrize("version", KNOCKING)
async def test_a_knock_is_answered_by_an_invite(alice: User, bob: User, version: str) -> None:
    room = await knockable(alice, version)

    assert ok(await bob.post(f"/knock/{q(room)}", {"reason": "please"})) == {"room_id": room}
    assert await member(alice, room, bob) == {"membership": "knock", "reason": "please"}
    refused(await bob.post(f"/join/{q(room)}"), 403, "M_FORBIDDEN")

    ok(await alice.post(f"/rooms/{q(room)}/invite", {"user_id": bob.user_id}))
    await bob.joins(room)
    assert await membership(alice, room, bob) == "join"


@pytest.mark.parametrize("version", NOT_KNOCKING)
async def test_before_version_7_nobody_can_knock(alice: User, bob: User, version: str) -> None:
    room = await knockable(alice, version)

    refused(await bob.post(f"/knock/{q(room)}"), 403, "M_FORBIDDEN")


@pytest.mark.parametrize(("version", "may"), [("9", False), ("10", True), ("12", True)])
async def test_one_knocks_at_a_restricted_room_since_version_10(
    alice: User, bob: User, version: str, may: bool
) -> None:
    room = await knockable(alice, version, "knock_restricted")

    answer = await bob.post(f"/knock/{q(room)}")

    if may:
        ok(answer)
    else:
        refused(answer, 403, "M_FORBIDDEN")


async def test_a_room_can_be_knocked_at_by_its_alias(alice: User, bob: User) -> None:
    room = await knockable(alice, room_alias_name="door")

    assert ok(await bob.post(f"/knock/{q('#door:hs1')}", via=["hs1"])) == {"room_id": room}


async def test_a_knock_is_taken_back_or_turned_down(world: World, alice: User, bob: User) -> None:
    room, carol = await knockable(alice), await world.user("carol")
    ok(await bob.post(f"/knock/{q(room)}"))
    ok(await carol.post(f"/knock/{q(room)}"))

    ok(await bob.post(f"/rooms/{q(room)}/leave"))
    ok(await alice.post(f"/rooms/{q(room)}/kick", {"user_id": carol.user_id, "reason": "no"}))

    assert await member(alice, room, bob) == {"membership": "leave"}
    assert await member(alice, room, carol) == {"membership": "leave", "reason": "no"}


@pytest.mark.parametrize("rule", ["public", "invite", "restricted", "private"])
async def test_by_another_rule_one_cannot_knock(world: World, alice: User, bob: User, rule: str) -> None:
    room = await knockable(alice, rule=rule)
    before = await footprint(world)

    refused(await bob.post(f"/knock/{q(room)}"), 403, "M_FORBIDDEN")

    assert await footprint(world) == before


@pytest.mark.parametrize("standing", ["join", "invite", "ban"])
async def test_members_the_invited_and_the_banned_do_not_knock(
    world: World, alice: User, bob: User, standing: str
) -> None:
    room = await knockable(alice)
    verb = "ban" if standing == "ban" else "invite"
    ok(await alice.post(f"/rooms/{q(room)}/{verb}", {"user_id": bob.user_id}))
    if standing == "join":
        await bob.joins(room)
    before = await footprint(world)

    refused(await bob.post(f"/knock/{q(room)}"), 403, "M_FORBIDDEN")

    assert await footprint(world) == before


@pytest.mark.parametrize(
    ("room", "body", "status", "errcode"),
    [
        ("!none:hs1", {}, 404, "M_NOT_FOUND"),
        ("#none:hs1", {}, 404, "M_NOT_FOUND"),
        ("none", {}, 400, "M_INVALID_PARAM"),
        ("!none:hs1", {"reason": 1}, 400, "M_BAD_JSON"),
    ],
)
async def test_a_bad_knock_is_refused(alice: User, room: str, body: Any, status: int, errcode: str) -> None:
    refused(await alice.post(f"/knock/{q(room)}", body), status, errcode)
