"""Typing: https://spec.matrix.org/v1.19/client-server-api/#typing-notifications."""

from typing import Any

import pytest

from tests.support.world import User, World, ok, q, refused


def path(user: User, room_id: str) -> str:
    return f"/rooms/{q(room_id)}/typing/{q(user.user_id)}"


async def types(user: User, room_id: str, typing: bool = True, **body: Any) -> None:
    assert await user.put(path(user, room_id), {"typing": typing, **body}) == (200, {})


async def shared_room(alice: User, bob: User) -> str:
    room = await alice.creates_room(bob)
    await bob.joins(room)
    return room


async def typists(user: User, room_id: str, **query: Any) -> list[str] | None:
    """Who types, by the user's next sync; None if it does not say."""
    joined = (await user.syncs(**query)).get("rooms", {}).get("join", {})
    events = joined.get(room_id, {}).get("ephemeral", {}).get("events", [])
    told = [event["content"]["user_ids"] for event in events if event["type"] == "m.typing"]
    assert len(told) <= 1
    return list(told[0]) if told else None


async def test_others_see_who_types_and_that_they_stop(alice: User, bob: User) -> None:
    room = await shared_room(alice, bob)
    await alice.syncs()
    await types(bob, room, timeout=30_000)
    assert await typists(alice, room) == [bob.user_id]
    assert await typists(alice, room) is None
    await types(bob, room, False)
    assert await typists(alice, room) == []
    await types(bob, room, False)
    assert await typists(alice, room) is None


async def test_saying_it_again_is_no_news(alice: User, bob: User) -> None:
    room = await shared_room(alice, bob)
    await types(bob, room)
    await alice.syncs()
    await types(bob, room)
    assert await typists(alice, room) is None
    await types(alice, room)
    assert await typists(alice, room) == [bob.user_id, alice.user_id]


async def test_a_first_sync_says_who_types(alice: User, bob: User) -> None:
    room = await shared_room(alice, bob)
    assert await typists(alice, room) is None
    await types(bob, room)
    alice.since = None
    assert await typists(alice, room) == [bob.user_id]


async def test_typing_ends_by_itself(alice: User, bob: User) -> None:
    room = await shared_room(alice, bob)
    await alice.syncs()
    # Whoever types longer is not waited for.
    await types(alice, room, timeout=120_000)
    await types(bob, room, timeout=1)  # a second at least
    assert await typists(alice, room) == [alice.user_id, bob.user_id]
    assert await typists(alice, room, timeout=30_000) == [alice.user_id]


async def test_typing_wakes_who_waits(alice: User, bob: User) -> None:
    room = await shared_room(alice, bob)
    await alice.syncs()
    waiting = typists(alice, room, timeout=30_000)
    await types(bob, room)
    assert await waiting == [bob.user_id]


async def test_one_types_for_oneself_and_in_one_s_rooms(alice: User, bob: User) -> None:
    room = await alice.creates_room()
    refused(await bob.put(path(bob, room), {"typing": True}), 403, "M_FORBIDDEN")
    refused(await bob.put(path(bob, "!unknown:hs1"), {"typing": True}), 403, "M_FORBIDDEN")
    refused(await alice.put(path(bob, room), {"typing": True}), 403, "M_FORBIDDEN")


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        ({}, "M_MISSING_PARAM"),
        ({"typing": "yes"}, "M_BAD_JSON"),
        ({"typing": True, "timeout": "5"}, "M_BAD_JSON"),
    ],
)
async def test_what_is_no_typing_is_refused(alice: User, body: dict[str, Any], errcode: str) -> None:
    room = await alice.creates_room()
    refused(await alice.put(path(alice, room), body), 400, errcode)


async def test_those_who_share_no_room_are_told_nothing(alice: User, bob: User) -> None:
    room = await alice.creates_room()
    await bob.syncs()
    await types(alice, room)
    assert "rooms" not in await bob.syncs()
    assert ok(await alice.get("/joined_rooms"))["joined_rooms"] == [room]


@pytest.mark.parametrize("way", ["leave", "kick", "ban"])
async def test_who_is_not_in_the_room_any_more_types_no_more(alice: User, bob: User, way: str) -> None:
    room = await shared_room(alice, bob)
    await types(bob, room)
    assert await typists(alice, room) == [bob.user_id]
    body = {} if way == "leave" else {"user_id": bob.user_id}
    ok(await (bob if way == "leave" else alice).post(f"/rooms/{q(room)}/{way}", body))
    assert await typists(alice, room) == []


async def test_who_joins_sees_who_types_already(world: World, alice: User, bob: User) -> None:
    room = await shared_room(alice, bob)
    carol = await world.user("carol")
    await carol.syncs()
    await types(bob, room)
    ok(await alice.post(f"/rooms/{q(room)}/invite", {"user_id": carol.user_id}))
    await carol.joins(room)
    assert await typists(carol, room) == [bob.user_id]
