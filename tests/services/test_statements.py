"""What the database is asked: nothing for a sync without news, and for a message no more in a large room."""

import asyncio
import json

from tests.support.statements import statements
from tests.support.waiting import until
from tests.support.world import NO_NEWS, User, World, ok, q

LAZY = json.dumps({"room": {"state": {"lazy_load_members": True}}, "presence": {"types": []}})


async def _room_of(world: World, owner: User, people: list[User]) -> str:
    room = await owner.creates_room(preset="public_chat")
    await asyncio.gather(*(user.joins(room) for user in people))
    return room


async def test_a_sync_without_news_asks_the_database_nothing(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob)
    await bob.joins(room)
    for _ in range(2):
        await alice.syncs()
    with statements() as seen:
        assert set(await alice.syncs()) == NO_NEWS
        assert set(await alice.syncs(timeout=20)) == NO_NEWS
    assert seen == []


async def test_sending_into_a_large_room_takes_no_more_statements(world: World, alice: User) -> None:
    people = await asyncio.gather(*(world.user(f"user{number}") for number in range(59)))
    small, large = await _room_of(world, alice, people[:2]), await _room_of(world, alice, people)
    counts = {}
    for room in (small, large):
        await alice.says(room)
        with statements() as seen:
            await alice.says(room)
        counts[room] = len(seen)
        assert seen
    assert counts[small] == counts[large]


async def test_what_thirty_wait_for_is_told_without_the_database(world: World, alice: User) -> None:
    people = await asyncio.gather(*(world.user(f"user{number}") for number in range(30)))
    room = await _room_of(world, alice, people)
    live = world.app.services.live
    await alice.says(room)
    for user in people:
        await user.syncs(filter=LAZY, set_presence="offline")
    with statements() as alone:
        await alice.says(room)
    for user in people:
        await user.syncs(filter=LAZY, set_presence="offline")

    waiting = [asyncio.create_task(user.syncs(filter=LAZY, set_presence="offline", timeout=60_000)) for user in people]
    await until(lambda: live.waiting == len(people))
    with statements() as seen:
        sent = await alice.says(room)
        answers = await asyncio.gather(*waiting)
    assert len(seen) == len(alone)
    for answer in answers:
        assert [event["event_id"] for event in answer["rooms"]["join"][room]["timeline"]["events"]] == [sent]


async def test_typing_is_told_without_the_database(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob)
    await bob.joins(room)
    live = alice.world.app.services.live
    for _ in range(2):
        await alice.syncs(set_presence="offline")
    waiting = asyncio.create_task(alice.syncs(set_presence="offline", timeout=60_000))
    await until(lambda: live.waiting == 1)
    path = f"/rooms/{q(room)}/typing/{q(bob.user_id)}"
    with statements() as asked:
        ok(await bob.put(path, {"typing": True}))
        answer = await waiting
    assert "typing" not in "".join(asked)
    assert answer["rooms"]["join"][room]["ephemeral"]["events"][0]["content"] == {"user_ids": [bob.user_id]}
    assert len(asked) <= 3  # whether bob is in the room
