"""Servers that were apart, and changed the same room each in its own way, agree again once they hear of one another.

Three servers in one process do random things in a room: change its name, who may join, who may do what; ban, remove and
invite one another's users. What one does reaches each of the others late, in its own time. In the end everything has
arrived everywhere, and each has said one thing more.

The state after each event is the same wherever the event is, and so is the room's where its last events are. A server
that finds others' last words against its state, and leaves them out (soft failure), may keep another one: that is the
protocol's price for shutting out whoever evades a ban. What a server keeps beside its state says the same as that.
"""

import asyncio
import os
import tempfile
from itertools import combinations, permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.core.events.pdu import Pdu
from federation.core.ids import UserID
from federation.core.room_versions import ROOM_VERSIONS
from tests.support.headless import HeadlessServer, start_on_sqlite

SERVERS = ["a.example", "b.example", "c.example"]
USERS = [[UserID(f"@{name}:{server}") for name in ("ann", "ben")] for server in SERVERS]
EVERYONE = [user for users in USERS for user in users]
LEVELS = (0, 50, 100)

EXAMPLES = int(os.environ.get("ISTHMUS_SPLITS", "15"))
"""Splits that are tried of each room version."""

Step = tuple[int, int, int, int]


class Network:
    """What each server has said and the others have not heard yet."""

    def __init__(self, servers: list[HeadlessServer]) -> None:
        self.servers = servers
        self.under_way: dict[tuple[int, int], list[Pdu]] = {pair: [] for pair in permutations(range(len(servers)), 2)}

    def spread(self, origin: int, event: Pdu | None) -> None:
        if event is not None:
            for (source, _), queue in self.under_way.items():
                if source == origin:
                    queue.append(event)

    async def deliver(self, source: int, target: int, most: int) -> None:
        queue = self.under_way[source, target]
        part, queue[:] = queue[:most], queue[most:]
        if part:
            await self.servers[target].arrive(part)

    async def heal(self) -> None:
        for source, target in self.under_way:
            await self.deliver(source, target, 10_000)
        for server in self.servers:
            assert server.waiting == []


def _event(action: int, target: int, value: int, levels: dict[str, int]) -> tuple[str, dict[str, Any], str | None]:
    """Return type, content and state key of what a step does."""
    user = EVERYONE[target % len(EVERYONE)]
    match action:
        case 0:
            return "m.room.message", {"body": str(value), "msgtype": "m.text"}, None
        case 1:
            return "m.room.topic", {"topic": str(value)}, ""
        case 2:
            return "m.room.name", {"name": str(value)}, ""
        case 3:
            return "m.room.join_rules", {"join_rule": ("public", "invite", "knock")[value % 3]}, ""
        case 4:
            return "m.room.power_levels", {"users": {**levels, user: LEVELS[value % 3]}}, ""
        case 5:
            return "m.room.power_levels", {"users": levels, "state_default": LEVELS[value % 3]}, ""
        case _:
            return "m.room.member", {"membership": ("ban", "leave", "invite", "leave")[value % 4]}, user


async def _act(server: HeadlessServer, sender: UserID, step: Step) -> Pdu | None:
    _, action, target, value = step
    if action == 9:
        membership = ("join", "leave")[value % 2]
        return await server.sends(
            sender, "m.room.member", {"membership": membership, "displayname": str(target)}, sender
        )
    levels: dict[str, int] = {}
    if action in (4, 5):
        state = await server.state()
        current = state.get(("m.room.power_levels", ""))
        if current is None:
            # Before version 12, resolution may leave a room without: who has left no longer vouches for what they set.
            return None
        stored = await server.read(lambda conn: server.timeline.events.by_id(conn, current))
        assert stored is not None
        levels = dict(stored.content["users"])
    kind, content, key = _event(action, target, value, levels)
    return await server.sends(sender, kind, content, key)


async def _converges(version: str, steps: list[Step], directory: Path) -> None:
    servers = await start_on_sqlite(SERVERS, directory)
    network = Network(servers)
    try:
        await servers[0].creates_room(version, USERS[0][0])
        # Everyone is there and may do nearly everything, so that there is something to quarrel about.
        network.spread(1, await servers[1].joins_by(servers[0], USERS[1][0]))
        network.under_way[1, 0].clear()
        network.under_way[1, 2].clear()
        network.spread(2, await servers[2].joins_by(servers[0], USERS[2][0]))
        network.under_way[2, 0].clear()
        await network.heal()
        own = {} if ROOM_VERSIONS[version].creators_have_all_power else {USERS[0][0]: 100}
        levels = {"users": {**own, USERS[1][0]: 100, USERS[2][0]: 50}}
        network.spread(0, await servers[0].sends(USERS[0][0], "m.room.power_levels", levels, ""))
        await network.heal()
        for index in range(3):
            network.spread(index, await servers[index].sends(
                USERS[index][1], "m.room.member", {"membership": "join"}, USERS[index][1]
            ))  # fmt: skip
        for step in steps:
            who, action, target, value = step
            index, user = who % 3, who // 3 % 2
            if action >= 12:
                await network.deliver(index, (index + 1 + value % 2) % 3, 1 + target % 3)
            else:
                network.spread(index, await _act(servers[index], USERS[index][user], step))
        await network.heal()
        # Whatever somebody left out because it came too late is known to all once everyone has said something.
        for _ in range(2):
            for index in range(3):
                for speaker in USERS[index]:
                    network.spread(index, await servers[index].sends(speaker, "m.room.message", {"body": "?"}))
            await network.heal()
        for server in servers:
            await server.check()
        for one, other in combinations(servers, 2):
            for states, others in (
                (await one.states_at_events(), await other.states_at_events()),
                (await one.states_before_events(), await other.states_before_events()),
            ):
                both = states.keys() & others.keys()
                assert {each: states[each] for each in both} == {each: others[each] for each in both}
            if await one.extremities() == await other.extremities():
                assert await one.state() == await other.state()
    finally:
        for server in servers:
            await server.db.close()


STEPS = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 16), st.integers(0, 5), st.integers(0, 11)), min_size=5, max_size=30
)


@pytest.mark.parametrize("version", ["11", "12"])
@settings(max_examples=EXAMPLES)
@given(steps=STEPS)
def test_three_servers_agree_after_a_split(version: str, steps: list[Step]) -> None:
    # Where a commit need not wait for a disk, if there is such a place.
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as directory:
        asyncio.run(_converges(version, steps, Path(directory)))
