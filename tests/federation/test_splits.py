"""Three servers between which the network is cut again and again, with conflicting changes on each side: once it is
whole, all three have the same state."""

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.federation.across import agree, joins, state_of
from tests.support.certificates import Authority
from tests.support.gate import Gate
from tests.support.pair import gated
from tests.support.waiting import asking
from tests.support.world import User, World, ok, q

SPLITS = 25
"""For each room version."""
PARTITIONS = (((0,), (1, 2)), ((1,), (0, 2)), ((2,), (0, 1)), ((0,), (1,), (2,)))
ANCHOR = "anchor"
"""Somebody on each server whom nobody touches, so that the server stays in the room."""


@dataclass(slots=True)
class Split:
    """Three servers, each with somebody who acts and somebody who stays."""

    worlds: list[World]
    gates: list[Gate]
    actors: list[User]
    anchors: list[User]
    room: str
    levels: dict[str, Any]
    """The power levels at first."""
    chance: random.Random

    def cuts(self, parts: tuple[tuple[int, ...], ...]) -> None:
        """Cut the network into parts."""
        for part in parts:
            for here in part:
                outside = set(range(3)) - set(part)
                self.gates[here].shut = {self.worlds[there].name for there in outside}

    async def heals(self) -> None:
        """Make the network whole; each server hears of each other."""
        for gate in self.gates:
            gate.shut = set()
        for actor in self.actors:
            for world in self.worlds:
                if world is not actor.world:
                    await actor.get(f"/directory/room/{q(f'#nothing:{world.name}')}")

    async def acts(self, actor: User) -> None:
        """Change something at random; what is not allowed, or not possible any more, is not done."""
        chance, room = self.chance, f"/rooms/{q(self.room)}"
        others = [other for other in self.actors if other is not actor]
        other = chance.choice(others)

        async def sets(event_type: str, content: dict[str, Any], state_key: str = "") -> None:
            await actor.put(f"{room}/state/{event_type}/{q(state_key)}", content)

        match chance.choice(
            ("name", "topic", "levels", "levels", "kick", "ban", "unban", "rule", "talk", "leave", "join")
        ):
            case "name":
                await sets("m.room.name", {"name": f"{chance.random()}"})
            case "topic":
                await sets("m.room.topic", {"topic": f"{chance.random()}"})
            case "levels":
                status, content = await actor.get(f"{room}/state/m.room.power_levels/")
                if status == 200:
                    content["users"][chance.choice(self.actors[1:]).user_id] = chance.choice((0, 25, 50, 75))
                    content[chance.choice(("kick", "ban", "state_default", "invite"))] = chance.choice((0, 25, 50))
                    await sets("m.room.power_levels", content)
            case "kick" | "ban" | "unban" as what:
                await actor.post(f"{room}/{what}", {"user_id": other.user_id})
            case "rule":
                await sets("m.room.join_rules", {"join_rule": chance.choice(("public", "invite"))})
            case "talk":
                await actor.put(f"{room}/send/m.room.message/{chance.random()}", {"msgtype": "m.text", "body": "hi"})
            case "leave":
                await actor.post(f"{room}/leave")
            case "join":
                await actor.post(f"/join/{q(self.room)}")

    async def mends(self) -> None:
        """Let everybody be in the room again, with the level they had at first."""
        mender, room = self.anchors[0], f"/rooms/{q(self.room)}"
        ok(await mender.put(f"{room}/state/m.room.power_levels/", self.levels))
        ok(await mender.put(f"{room}/state/m.room.join_rules/", {"join_rule": "public"}))
        for actor in self.actors:
            await mender.post(f"{room}/unban", {"user_id": actor.user_id})
        await agree(self.room, *self.anchors)
        for actor in self.actors:
            ok(await actor.post(f"/join/{q(self.room)}", via=[world.name for world in self.worlds]))
        await agree(self.room, *self.anchors)


@pytest.fixture(params=["11", "12"])
async def split(request: pytest.FixtureRequest, authority: Authority, tmp_path: Path) -> AsyncIterator[Split]:
    """Three servers that share a room."""
    async with AsyncExitStack() as stack:
        started = [await stack.enter_async_context(gated(authority, tmp_path / str(number))) for number in range(3)]
        worlds, gates = [world for world, _ in started], [gate for _, gate in started]
        actors = [await world.user(f"actor{number}") for number, world in enumerate(worlds)]
        anchors = [await world.user(ANCHOR) for world in worlds]
        room = await actors[0].creates_room(preset="public_chat", room_version=request.param)
        for user in [*actors[1:], *anchors]:
            await joins(user, room, worlds[0].name)
        users = {other.user_id: 75 for other in actors[1:]} | {anchors[0].user_id: 90}
        if request.param != "12":
            users[actors[0].user_id] = 100
        levels = {"users": users, "invite": 0}
        await actors[0].sets(room, "m.room.power_levels", levels)
        await agree(room, *anchors)
        yield Split(worlds, gates, actors, anchors, room, levels, random.Random())


async def test_what_was_split_comes_together(split: Split) -> None:
    seed = int(os.environ.get("ISTHMUS_TEST_SEED") or random.randrange(2**32))
    split.chance.seed(seed)
    print(f"ISTHMUS_TEST_SEED={seed}")
    conflicts = 0
    for number in range(SPLITS):
        split.cuts(split.chance.choice(PARTITIONS))
        for _ in range(split.chance.randint(2, 4)):
            await asyncio.gather(*(split.acts(actor) for actor in split.actors))
        states = [await state_of(anchor, split.room) for anchor in split.anchors]
        conflicts += any(state != states[0] for state in states)
        await split.heals()
        last = [await anchor.says(split.room, f"after split {number}") for anchor in split.anchors]
        for anchor in split.anchors:
            for event_id in last:
                await asking(
                    lambda anchor=anchor, event_id=event_id: anchor.get(f"/rooms/{q(split.room)}/event/{q(event_id)}"),  # type: ignore[misc]
                    lambda answer: answer[0] == 200,
                )
        await agree(split.room, *split.anchors)
        await split.mends()
    assert conflicts > SPLITS / 2, "the splits did not matter"
