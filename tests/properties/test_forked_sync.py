"""Push equals pull in a room that forks, for clients that ask for the state after the timeline.

Two users of a real server are in a room that others made. Those send from several branches at once, and join branches
again; our users say something in between and sync at random moments. In the end what each device was told adds up to
what a fresh one is told. (State that no branch has any more cannot be told: the protocol has no word for it. And who
reads state from the timeline believes the last event that it shows, though the branch of another has won.)
"""

import asyncio
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from federation.core.auth.receipt import VerdictKind
from federation.core.events.pdu import Pdu
from federation.core.ids import UserID
from federation.core.state.resolve import resolve
from homeserver.services.intake import Gap
from tests.conftest import DATABASES, POSTGRES
from tests.properties.test_push_equals_pull import Client, compare_history, compare_timeline, nonzero
from tests.support.intake import Guest
from tests.support.rooms import ALICE, BOB, CAROL, Room
from tests.support.world import World, fresh_postgres_database, q

OTHERS = (ALICE, BOB, CAROL)
BRANCHES = 3
Step = tuple[int, int, int]


class Play:
    """The room, its branches as others have them, and our users' devices."""

    def __init__(self, guest: Guest, clients: list[Client]) -> None:
        self.guest = guest
        self.clients = clients
        self.branches = [guest.room.fork() for _ in range(BRANCHES)]

    async def act(self, who: int, what: int, number: int) -> None:
        """Do one thing."""
        branch = self.branches[number % BRANCHES]
        sender = OTHERS[who]
        ours = UserID(self.clients[number % 2].user.user_id)
        match what:
            case 0 | 1 | 2:
                event = branch.fork().says(sender, str(number))
            case 3 | 4:
                event = branch.fork().sets(sender, "m.room.topic", {"topic": str(number)})
            case 5:
                event = branch.fork().sets(sender, "org.example.thing", {"n": number}, str(number % 3))
            case 6:
                event = branch.fork().joins(sender, displayname=str(number))
            case 7:
                event = branch.fork().levels(ALICE, {BOB: (0, 50, 100)[number % 3], CAROL: 50})
            case 8:
                event = branch.fork().member(sender, OTHERS[number % 3], "ban" if number % 2 else "leave")
            case 9:
                event = branch.fork().member(sender, ours, ("ban", "leave", "invite")[number % 3])
            case 10 | 11 | 12:
                self.meet(number)
                return
            case 13 | 14:
                await self.ours_acts(number)
                return
            case _:
                await self.clients[number % len(self.clients)].sync()
                return
        if branch.allows(event):
            await self.sent(number % BRANCHES, event)

    def meet(self, number: int) -> None:
        """Let two branches be one."""
        one, other = self.branches[number % BRANCHES], self.branches[(number + 1) % BRANCHES]
        state = resolve([one.state, other.state], one.version, one.fetch)
        one.state, one.heads = dict(state), tuple(dict.fromkeys((*one.heads, *other.heads)))[:10]

    async def sent(self, index: int, event: Pdu) -> None:
        """Let an event of a branch be the branch's new head, and reach our server."""
        branch = self.branches[index]
        branch.heads = (event.event_id,)
        if event.is_state:
            branch.state[event.slot] = event.event_id
        try:
            assert await self.guest.take(event) in (VerdictKind.ACCEPTED, VerdictKind.SOFT_FAILED)
        except Gap as gap:
            raise AssertionError("every branch is known") from gap
        # What the law makes of all states is what the server finds by looking at little of them.
        assert (await self.guest.branch_at(event.event_id)).state == branch.state

    async def ours_acts(self, number: int) -> None:
        """Let a user of ours do something, if the room lets them; others build upon it."""
        user, path = self.clients[number % 2].user, f"/rooms/{q(self.guest.room_id)}"
        if number % 5 == 4:
            await user.post(f"/join/{q(self.guest.room_id)}")
            return
        if number % 5 == 3:
            await user.post(f"{path}/leave")
            return
        status, body = await user.put(
            f"{path}/send/m.room.message/{number}{len(self.guest.room.events)}", {"body": "x"}
        )
        if status == 200:
            self.branches[number % BRANCHES] = await self.guest.branch_at(body["event_id"])


async def play(url: str, directory: Path, version: str, steps: list[Step]) -> None:
    """Play, then compare what clients know with what a fresh sync says."""
    async with World.start(url, directory) as world:
        users = [await world.user(name) for name in ("ours", "too")]
        clients = [Client(users[0], 5, state_after=True), Client(users[1], 3, state_after=True)]
        clients += [Client(await users[0].login_again("LAZY"), 2, state_after=True, lazy=True)]
        guest = await Guest.enter(world, users[0], Room.public(version, {BOB: 100, CAROL: 50}, joined=[BOB, CAROL]))
        await users[1].joins(guest.room_id)
        for client in clients:
            await client.sync()
        acts = Play(guest, clients)
        for step in steps:
            await acts.act(*step)
        for client in clients:
            await client.sync()
            fresh = client.anew()
            await fresh.sync()
            await compare(client, fresh)


async def compare(pushed: Client, pulled: Client) -> None:
    """Compare what a device was told with what a fresh one is told."""
    assert set(pushed.joined) == set(pulled.joined)
    assert pushed.invited == pulled.invited
    for room_id, fresh in pulled.joined.items():
        known = pushed.joined[room_id]
        compare_timeline(known, fresh)
        assert {slot: known.state.get(slot) for slot in fresh.state} == fresh.state
        assert known.summary == {**known.summary, **fresh.summary}
        assert nonzero(known.counts) == nonzero(fresh.counts)
        await compare_history(pushed.user, room_id, fresh)


STEPS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 17), st.integers(0, 11)), min_size=10, max_size=50)
EXAMPLES = int(os.environ.get("ISTHMUS_TEST_EXAMPLES", "12"))


@pytest.mark.parametrize("kind", DATABASES)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(version=st.sampled_from(["10", "11", "12"]), steps=STEPS)
def test_incremental_syncs_of_a_forked_room_add_up_to_the_initial_sync(
    kind: str, version: str, steps: list[Step]
) -> None:
    async def run() -> None:
        with tempfile.TemporaryDirectory() as directory:
            if kind == "sqlite":
                await play(f"sqlite:///{directory}/isthmus.db", Path(directory), version, steps)
            else:
                async with fresh_postgres_database(POSTGRES) as url:
                    await play(url, Path(directory), version, steps)

    asyncio.run(run())
