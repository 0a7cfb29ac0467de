"""Lazily loaded members: https://spec.matrix.org/v1.19/client-server-api/#lazy-loading-room-members."""

import json
from typing import Any

from tests.support.world import User, World, ok, q

LAZY = json.dumps({"room": {"state": {"lazy_load_members": True}, "timeline": {"limit": 2}}})


def _members(answer: Any, room: str) -> set[str]:
    return {e["state_key"] for e in answer["rooms"]["join"][room]["state"]["events"] if e["type"] == "m.room.member"}


async def _quiet_room(alice: User, *others: User) -> str:
    """Return a room with a name, whose newest events are alice's."""
    room = await alice.creates_room(*others, name="Hall")
    for user in others:
        await user.joins(room)
    for _ in range(2):
        await alice.says(room)
    return room


async def test_who_begins_anew_is_told_again(alice: User, bob: User) -> None:
    room = await _quiet_room(alice, bob)
    await alice.syncs(filter=LAZY)
    await bob.says(room)
    assert _members(await alice.syncs(filter=LAZY), room) == {bob.user_id}
    for _ in range(2):
        await alice.says(room)
    alice.since = None
    assert _members(await alice.syncs(filter=LAZY), room) == {alice.user_id}
    await bob.says(room)
    assert _members(await alice.syncs(filter=LAZY), room) == {bob.user_id}


async def test_an_answer_that_was_lost_is_given_again(alice: User, bob: User) -> None:
    room = await _quiet_room(alice, bob)
    await alice.syncs(filter=LAZY)
    before = alice.since
    await bob.says(room)
    for _ in range(2):
        alice.since = before
        assert _members(await alice.syncs(filter=LAZY), room) == {bob.user_id}
    await bob.says(room)
    assert _members(await alice.syncs(filter=LAZY), room) == set()


async def test_new_heroes_come_with_their_membership(world: World, alice: User, bob: User) -> None:
    carol = await world.user("carol")
    room = await alice.creates_room(bob, carol)
    await carol.joins(room)
    for _ in range(2):
        await alice.says(room)
    await bob.syncs(filter=LAZY)
    await bob.joins(room)
    answer = await bob.syncs(filter=LAZY)
    assert {alice.user_id, carol.user_id, bob.user_id} >= _members(answer, room) >= {alice.user_id, carol.user_id}
    dave = await world.user("dave")
    ok(await alice.post(f"/rooms/{q(room)}/invite", {"user_id": dave.user_id}))
    for _ in range(2):
        await alice.says(room)
    answer = await bob.syncs(filter=LAZY)
    assert dave.user_id in answer["rooms"]["join"][room]["summary"]["m.heroes"]
    assert dave.user_id in _members(answer, room)
