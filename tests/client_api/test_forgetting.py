"""https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidforget."""

from tests.support.footprint import footprint
from tests.support.state import membership
from tests.support.world import User, World, ok, q, refused


async def test_who_has_left_reads_the_past_until_they_forget_it(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob)
    await bob.joins(room)
    await alice.says(room)
    ok(await bob.post(f"/rooms/{q(room)}/leave"))
    ok(await bob.get(f"/rooms/{q(room)}/messages", dir="b"))

    ok(await bob.post(f"/rooms/{q(room)}/forget"))

    refused(await bob.get(f"/rooms/{q(room)}/messages", dir="b"), 403, "M_FORBIDDEN")
    refused(await bob.get(f"/rooms/{q(room)}/state"), 403, "M_FORBIDDEN")


async def test_forgetting_twice_is_as_good_as_once(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob)
    ok(await bob.post(f"/rooms/{q(room)}/leave"))

    assert ok(await bob.post(f"/rooms/{q(room)}/forget")) == {}
    assert ok(await bob.post(f"/rooms/{q(room)}/forget")) == {}


async def test_who_was_banned_may_forget(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob)
    ok(await alice.post(f"/rooms/{q(room)}/ban", {"user_id": bob.user_id}))

    ok(await bob.post(f"/rooms/{q(room)}/forget"))

    assert await membership(alice, room, bob) == "ban"


async def test_nobody_forgets_a_room_that_they_are_in_or_invited_to(world: World, alice: User, bob: User) -> None:
    room = await alice.creates_room(bob)
    before = await footprint(world)

    refused(await alice.post(f"/rooms/{q(room)}/forget"), 400, "M_UNKNOWN")
    refused(await bob.post(f"/rooms/{q(room)}/forget"), 400, "M_UNKNOWN")

    assert await footprint(world) == before


async def test_a_room_that_was_never_theirs_is_as_one_that_is_not_there(alice: User, bob: User) -> None:
    room = await alice.creates_room()

    known = refused(await bob.post(f"/rooms/{q(room)}/forget"), 403, "M_FORBIDDEN")

    assert refused(await bob.post("/rooms/!none:hs1/forget"), 403, "M_FORBIDDEN") == known


async def test_an_invite_brings_a_forgotten_room_back(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob)
    ok(await bob.post(f"/rooms/{q(room)}/leave"))
    ok(await bob.post(f"/rooms/{q(room)}/forget"))

    ok(await alice.post(f"/rooms/{q(room)}/invite", {"user_id": bob.user_id}))
    await bob.joins(room)

    ok(await bob.get(f"/rooms/{q(room)}/messages", dir="b"))
