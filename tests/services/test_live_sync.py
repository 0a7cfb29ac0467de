"""Many who wait and many who speak, at the same time: everyone is told everything, once, in order, and at once."""

import asyncio
import random
import re
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from homeserver.model.nids import RoomNid, UserNid
from homeserver.services import live as live_module
from homeserver.services.live import Live
from tests.support.clock import MovableClock
from tests.support.waiting import until
from tests.support.world import NO_NEWS, User, World, ok, q

EVERYTHING = '{"room":{"timeline":{"limit":1000}},"presence":{"types":[]}}'
TOKEN = re.compile(r"s(\d+)_(\d+)_\w+")


@dataclass
class Listener:
    """A client that polls without a pause and writes down what it is told."""

    user: User
    chance: random.Random
    heard: dict[str, list[str]] = field(default_factory=dict)
    idle: int = 0
    """Polls that ended with nothing."""

    async def listen(self) -> None:
        while True:
            await self.poll()

    async def poll(self) -> None:
        query = {"since": self.user.since} if self.user.since is not None else {}
        request = asyncio.create_task(self.user.get("/sync", timeout=60_000, filter=EVERYTHING, **query))
        try:
            if self.chance.random() < 0.15:
                await asyncio.wait([request], timeout=self.chance.random() / 20)
                if not request.done():
                    return
            answer = ok(await request)
        finally:
            if not request.done():
                request.cancel()
                with suppress(asyncio.CancelledError):
                    await request
        self.take(answer)

    def take(self, answer: Any) -> None:
        if self.user.since is not None:
            assert _place(answer["next_batch"]) >= _place(self.user.since), "a token went back"
            self.idle += set(answer) == NO_NEWS
        self.user.since = answer["next_batch"]
        rooms = answer.get("rooms", {})
        for room_id, told in [*rooms.get("join", {}).items(), *rooms.get("leave", {}).items()]:
            heard = self.heard.setdefault(room_id, [])
            if told["timeline"]["limited"]:
                heard.clear()
            heard += [event["event_id"] for event in told["timeline"]["events"]]


def _place(token: str) -> tuple[int, int]:
    found = TOKEN.match(token)
    assert found is not None
    return int(found[1]), int(found[2])


async def _history(user: User, room: str) -> list[Any]:
    page = ok(await user.get(f"/rooms/{q(room)}/messages", dir="f", limit=1000))
    assert len(page["chunk"]) < 1000
    return list(page["chunk"])


async def test_everyone_hears_everything_once_while_people_come_and_go(world: World) -> None:
    owner = await world.user("owner")
    people = await asyncio.gather(*(world.user(f"user{number}") for number in range(50)))
    rooms = [await owner.creates_room(preset="public_chat") for _ in range(3)]
    for room in rooms:
        await asyncio.gather(*(user.joins(room) for user in people[:40]))
    listeners = [Listener(user, random.Random(index)) for index, user in enumerate(people)]
    for listener in listeners:
        listener.take(await listener.user.syncs(filter=EVERYTHING))
    listening = [asyncio.create_task(listener.listen()) for listener in listeners]
    live = world.app.services.live

    async def speak(number: int) -> None:
        chance = random.Random(1000 + number)
        user = people[number]
        for _ in range(12):
            room = chance.choice(rooms)
            await user.put(f"/rooms/{q(room)}/send/m.room.message/{chance.random()}", {"body": "x"})
            await user.put(f"/rooms/{q(room)}/typing/{q(user.user_id)}", {"typing": chance.random() < 0.5})

    async def wander(number: int) -> None:
        chance = random.Random(2000 + number)
        user = people[number]
        for _ in range(6):
            path = f"/rooms/{q(chance.choice(rooms))}"
            match chance.choice(["join", "leave", "kick", "join"]):
                case "kick":
                    await owner.post(f"{path}/kick", {"user_id": user.user_id})
                case verb:
                    await user.post(f"{path}/{verb}")

    await asyncio.gather(*(speak(number) for number in range(10)), *(wander(number) for number in range(30, 50)))
    for room in rooms:
        await owner.says(room, "the end")

    histories = {room: await _history(owner, room) for room in rooms}
    for listener in listeners:
        for room, events in histories.items():
            expected = _visible(events, listener.user.user_id)
            try:
                await until(lambda heard=listener.heard, room=room, expected=expected: heard.get(room, []) == expected)
            except TimeoutError:
                assert listener.heard.get(room, []) == expected
    assert not [task for task in listening if task.done()]
    assert not any(listener.idle for listener in listeners)

    for task in listening:
        task.cancel()
    await asyncio.gather(*listening, return_exceptions=True)
    await until(lambda: live.waiting == 0)
    await until(lambda: not any(feed.readers for feed in live._feeds.values()))


def _visible(events: list[Any], user_id: str) -> list[str]:
    """Return what one hears of a room that all may read from its beginning on: all up to where they left it last."""
    own = [
        (place, event["content"]["membership"])
        for place, event in enumerate(events)
        if event["type"] == "m.room.member" and event["state_key"] == user_id
    ]
    if not own:
        return []
    place, membership = own[-1]
    upto = len(events) if membership == "join" else place + 1
    return [event["event_id"] for event in events[:upto]]


async def test_feeds_that_are_dropped_and_loaded_again_lose_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_module, "IDLE_SECONDS", 0.0)
    alice, bob = await world.user("alice"), await world.user("bob")
    room = await alice.creates_room(preset="public_chat")
    await bob.joins(room)
    listener = Listener(bob, random.Random(7))
    live = world.app.services.live

    async def prune() -> None:
        while True:
            live.prune()
            await asyncio.sleep(0)

    sent = []
    pruning = asyncio.create_task(prune())
    for _ in range(60):
        saying = asyncio.create_task(alice.says(room, "x"))
        polling = asyncio.create_task(listener.poll())
        sent.append(await saying)
        await polling
    pruning.cancel()
    while listener.heard[room][-1] != sent[-1]:
        await listener.poll()
    assert listener.heard[room][-60:] == sent
    assert len(set(listener.heard[room])) == len(listener.heard[room])


async def test_nothing_is_left_of_those_who_have_gone(database_url: str, tmp_path: Path) -> None:
    clock = MovableClock()
    async with World.start(database_url, tmp_path, clock=clock) as world:
        alice, bob = await world.user("alice"), await world.user("bob")
        room = await alice.creates_room(preset="public_chat")
        await bob.joins(room)
        live = world.app.services.live
        for user in (alice, bob):
            await user.syncs(set_presence="offline")
        waiting = [asyncio.create_task(user.syncs(timeout=60_000, set_presence="offline")) for user in (alice, bob)]
        await until(lambda: live.waiting == 2)
        for task in waiting:
            task.cancel()
        await until(lambda: live.waiting == 0 and not any(feed.readers for feed in live._feeds.values()))
        clock.advance(live_module.IDLE_SECONDS + 1)
        live.prune()
        assert (live._feeds, live._by_room, live._loading) == ({}, {}, {})


async def test_a_number_that_stands_for_nothing_holds_nobody_up(alice: User) -> None:
    room = await alice.creates_room()
    first, second = await alice.says(room), await alice.says(room)
    ok(await alice.post(f"/rooms/{q(room)}/receipt/m.read/{q(second)}"))
    ok(await alice.post(f"/rooms/{q(room)}/receipt/m.read/{q(first)}"))
    await alice.syncs()
    since = alice.since
    assert since is not None
    waiting = asyncio.create_task(alice.syncs(timeout=60_000))
    live = alice.world.app.services.live
    async with asyncio.timeout(10):
        await until(lambda: live.waiting == 1)
        third = await alice.says(room)
        answer = await waiting
    assert [event["event_id"] for event in answer["rooms"]["join"][room]["timeline"]["events"]] == [third]
    assert _place(answer["next_batch"]) > _place(since)


async def test_what_happens_while_a_feed_is_loaded_is_looked_for_in_the_database() -> None:
    clock = MovableClock()
    live = Live(clock, 100)
    user, room = UserNid(1), RoomNid(2)

    async def load(_user: UserNid) -> tuple[int, set[RoomNid]]:
        live.ring_room(101, room)
        return 100, {room}

    feed = await live.enter(user, load)
    assert feed.began == 101
    async with asyncio.timeout(5):
        await live.wait(feed, 100, 0, 60)
    live.leave(feed)
