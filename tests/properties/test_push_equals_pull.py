"""Push equals pull: what incremental syncs add up to is what a fresh initial sync shows.

Several people do random things, also at the same time; each of their devices syncs at random moments and applies every
answer to what it knew; the server may be restarted in between. In the end each device syncs anew from nothing, and both
must agree: rooms, state, newest events, counts, receipts, typing, presence, data, and what was sent to the device.
"""

import asyncio
import json
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import DATABASES, POSTGRES
from tests.support.world import User, World, fresh_postgres_database, ok, q

PEOPLE = ("alice", "bob", "carol")
MEMBER = "m.room.member"

State = dict[tuple[str, str], str]
Action = tuple[int, int, int, int]


@dataclass
class KnownRoom:
    """A room as a client knows it."""

    state: State = field(default_factory=dict)
    timeline: list[str] = field(default_factory=list)
    before: str = ""
    """Where the timeline begins, for `/messages`."""
    summary: dict[str, Any] = field(default_factory=dict)
    counts: dict[str, Any] = field(default_factory=dict)
    receipts: dict[tuple[str, str, str], str] = field(default_factory=dict)
    typing: list[str] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)

    def apply(self, told: Any, *, complete: bool) -> None:
        """Take in what an answer says of the room; `complete`: this client is told of all members."""
        timeline = told["timeline"]
        if timeline["limited"] or not self.before:
            self.timeline = []
            self.before = timeline["prev_batch"]
        events = timeline["events"]
        changes = told["state_after"]["events"] if "state_after" in told else told["state"]["events"] + events
        for event in changes:
            if "state_key" in event:
                self.state[event["type"], event["state_key"]] = event["event_id"]
        for event in events:
            assert event["event_id"] not in self.timeline, "an event came twice"
            assert complete or (MEMBER, event["sender"]) in self.state, "the sender is not known"
            self.timeline.append(event["event_id"])
        self.summary.update(told.get("summary", {}))
        for user_id in told.get("summary", {}).get("m.heroes", ()):
            assert complete or (MEMBER, user_id) in self.state, "the hero is not known"
        if "unread_notifications" in told:
            threads = told.get("unread_thread_notifications", {})
            self.counts = {"main": told["unread_notifications"], **threads}
        for event in told.get("ephemeral", {}).get("events", ()):
            if event["type"] == "m.receipt":
                self._take_receipts(event["content"])
            else:
                self.typing = event["content"]["user_ids"]
        for event in told.get("account_data", {}).get("events", ()):
            self.data[event["type"]] = event["content"]

    def _take_receipts(self, content: Any) -> None:
        for event_id, kinds in content.items():
            for kind, users in kinds.items():
                for user_id, receipt in users.items():
                    self.receipts[user_id, kind, receipt.get("thread_id", "")] = event_id


@dataclass
class Client:
    """A device that applies what it is told."""

    user: User
    limit: int
    state_after: bool = False
    lazy: bool = False
    joined: dict[str, KnownRoom] = field(default_factory=dict)
    left: dict[str, KnownRoom] = field(default_factory=dict)
    invited: set[str] = field(default_factory=set)
    knocked: set[str] = field(default_factory=set)
    data: dict[str, Any] = field(default_factory=dict)
    presence: dict[str, Any] = field(default_factory=dict)
    mail: list[int] = field(default_factory=list)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    def anew(self) -> "Client":
        """Return the same device with nothing known."""
        self.user.since = None
        return Client(self.user, self.limit, self.state_after, self.lazy)

    async def sync(self) -> None:
        """Sync once."""
        wanted = {
            "room": {
                "include_leave": True,
                "timeline": {"limit": self.limit, "unread_thread_notifications": True},
                "state": {"lazy_load_members": self.lazy},
            }
        }
        query = {"use_state_after": "true"} if self.state_after else {}
        async with self.turn:
            self.apply(await self.user.syncs(filter=json.dumps(wanted), set_presence="offline", **query))

    def apply(self, answer: Any) -> None:
        """Take in an answer."""
        for event in answer.get("account_data", {}).get("events", []):
            self.data[event["type"]] = event["content"]
        for event in answer.get("presence", {}).get("events", []):
            self.presence[event["sender"]] = event["content"].get("status_msg")
        self.mail += [event["content"]["n"] for event in answer.get("to_device", {}).get("events", [])]
        rooms = answer.get("rooms", {})
        for room_id, told in rooms.get("leave", {}).items():
            room = self.joined.pop(room_id, None) or self.left.get(room_id) or KnownRoom()
            room.apply(told, complete=True)
            self.left[room_id] = room
        for room_id in [*rooms.get("leave", {}), *rooms.get("invite", {}), *rooms.get("knock", {})]:
            self.joined.pop(room_id, None)
            self.invited.discard(room_id)
            self.knocked.discard(room_id)
        self.invited.update(rooms.get("invite", {}))
        self.knocked.update(rooms.get("knock", {}))
        for room_id, told in rooms.get("join", {}).items():
            self.invited.discard(room_id)
            self.knocked.discard(room_id)
            self.joined.setdefault(room_id, KnownRoom()).apply(told, complete=not self.lazy)
        for room_id in self.joined:
            self.left.pop(room_id, None)


class Play:
    """The people, what their devices know, and what they can do."""

    def __init__(self, users: list[User], second: User) -> None:
        self.users = users
        # One takes the state at the end of the timeline, as newer clients do; two load members lazily.
        self.clients = [
            Client(users[0], 5),
            Client(users[1], 5, state_after=True),
            Client(users[2], 5, lazy=True),
            Client(second, 2, lazy=True),
        ]
        self.rooms: list[str] = []
        self.sent: dict[str, list[str]] = {}
        self.mailed: dict[str, list[int]] = {}
        self.said = 0

    async def act(self, who: int, what: int, which: int, number: int) -> None:
        """Do one thing; whether it is allowed is the server's to say."""
        user = self.users[who]
        other = self.users[(who + 1 + number) % len(self.users)]
        if what == 0 or not self.rooms:
            preset = ("public_chat", "private_chat", "trusted_private_chat")[number % 3]
            room = await user.creates_room(preset=preset, room_version=("6", "10", "11", "12")[which % 4])
            self.sent[room] = []
            self.rooms.append(room)
            return
        room = self.rooms[which % len(self.rooms)]
        path, events = f"/rooms/{q(room)}", self.sent[room]
        event = events[number % len(events)] if events else "$none"
        match what:
            case 1 | 2 | 3 | 4:
                await self.say(user, room, {"msgtype": "m.text", "body": f"hello {other.user_id}"})
            case 5:
                relation = {"rel_type": "m.thread", "event_id": event}
                await self.say(user, room, {"msgtype": "m.text", "body": "x", "m.relates_to": relation})
            case 6:
                await user.post(f"{path}/invite", {"user_id": other.user_id})
            case 7 | 8:
                await user.post(f"{path}/join")
            case 9:
                await user.post(f"{path}/leave")
            case 10:
                await user.post(f"{path}/kick", {"user_id": other.user_id})
            case 11:
                verb = "ban" if number % 2 else "unban"
                await user.post(f"{path}/{verb}", {"user_id": other.user_id})
            case 12:
                await user.put(f"{path}/state/m.room.name", {"name": f"name {number}"})
            case 13:
                await user.put(f"{path}/state/org.example.thing/{number % 3}", {"n": number})
            case 14:
                thread = {} if number % 2 else {"thread_id": "main"}
                await user.post(f"{path}/receipt/m.read/{q(event)}", thread)
            case 15:
                await user.post(f"{path}/receipt/m.read.private/{q(event)}")
            case 16:
                await user.put(f"{path}/redact/{q(event)}/{self.next()}", {})
            case 17:
                await user.put(f"/user/{q(user.user_id)}{path}/account_data/org.example", {"n": number})
            case 18:
                await user.put(f"/user/{q(user.user_id)}/account_data/org.example.{number % 2}", {"n": number})
            case 19:
                await user.put(f"/profile/{q(user.user_id)}/displayname", {"displayname": f"Name {number}"})
            case 20:
                rule = {"membership": "join"} if number % 2 else {"join_rule": "knock"}
                await user.put(f"{path}/state/m.room.join_rules", rule)
                await user.post(f"/knock/{q(room)}")
            case 21:
                body = {"typing": number % 2 == 0, "timeout": 100_000}
                await user.put(f"{path}/typing/{q(user.user_id)}", body)
            case 22:
                status = {"presence": "online", "status_msg": f"status {self.next()}"}
                await user.put(f"/presence/{q(user.user_id)}/status", status)
            case 23:
                await self.mail(user, other)
            case 24:
                await user.post(f"{path}/forget")
            case _:
                await self.clients[(who + number) % len(self.clients)].sync()

    def next(self) -> int:
        """Return a number that was not returned before."""
        self.said += 1
        return self.said

    async def say(self, user: User, room: str, content: dict[str, Any]) -> None:
        """Send a message."""
        status, body = await user.put(f"/rooms/{q(room)}/send/m.room.message/m{self.next()}", content)
        if status == 200:
            self.sent[room].append(body["event_id"])

    async def mail(self, user: User, other: User) -> None:
        """Send a message to all devices of someone."""
        number = self.next()
        body = {"messages": {other.user_id: {"*": {"n": number}}}}
        ok(await user.put(f"/sendToDevice/org.example/{number}", body))
        self.mailed.setdefault(other.user_id, []).append(number)

    def restarted(self, world: World) -> None:
        """Go on with the server that has been started anew. Who typed then is not known to it."""
        for client in self.clients:
            client.user.world = world
            for room in client.joined.values():
                room.typing = []


async def play(url: str, directory: Path, groups: list[list[Action]], restart: bool) -> None:
    """Play; the actions of a group happen at the same time."""
    half = len(groups) // 2 if restart else len(groups)
    async with World.start(url, directory) as world:
        users = [await world.user(name) for name in PEOPLE]
        acts = Play(users, await users[0].login_again("SECOND"))
        for client in acts.clients:
            await client.sync()
        await run(acts, groups[:half])
        if not restart:
            await end(acts)
    if restart:
        async with World.start(url, directory) as world:
            acts.restarted(world)
            await run(acts, groups[half:])
            await end(acts)


async def run(acts: Play, groups: list[list[Action]]) -> None:
    """Let things happen."""
    for group in groups:
        await asyncio.gather(*(acts.act(*action) for action in group))


async def end(acts: Play) -> None:
    """Let everyone sync, and compare what they know with what a fresh sync says."""
    for client in acts.clients:
        await client.sync()
        assert sorted(client.mail) == sorted(acts.mailed.get(client.user.user_id, []))
    for client in acts.clients:
        fresh = client.anew()
        await fresh.sync()
        compare(client, fresh)
        for room_id, room in [*client.joined.items(), *fresh.joined.items()]:
            await compare_history(client.user, room_id, room)


def compare(pushed: Client, pulled: Client) -> None:
    """Compare all but the events that are not in timelines."""
    assert set(pushed.joined) == set(pulled.joined)
    assert pushed.invited == pulled.invited
    assert pushed.knocked == pulled.knocked
    assert pushed.data == pulled.data
    assert pulled.presence.items() <= pushed.presence.items()
    assert pulled.left.keys() <= pushed.left.keys()
    rooms = [(pushed.joined[room], fresh) for room, fresh in pulled.joined.items()]
    for known, fresh in rooms:
        compare_timeline(known, fresh)
        assert known.summary == {**known.summary, **fresh.summary}
        assert nonzero(known.counts) == nonzero(fresh.counts)
        assert known.receipts == fresh.receipts
        assert known.typing == fresh.typing
        assert known.data == fresh.data
    rooms += [(pushed.left[room], fresh) for room, fresh in pulled.left.items()]
    for known, fresh in rooms:
        if pushed.lazy:
            assert without_members(known.state) == without_members(fresh.state)
            both = known.state.keys() & fresh.state.keys()
            assert {slot: known.state[slot] for slot in both} == {slot: fresh.state[slot] for slot in both}
        else:
            assert known.state == fresh.state


def compare_timeline(known: KnownRoom, fresh: KnownRoom) -> None:
    """Compare the end that both have."""
    shorter = min(len(known.timeline), len(fresh.timeline))
    assert known.timeline[len(known.timeline) - shorter :] == fresh.timeline[len(fresh.timeline) - shorter :]


async def compare_history(user: User, room_id: str, room: KnownRoom) -> None:
    """What lies before a timeline, and the timeline, are all that there is to see, each event once."""
    everything = await history(user, room_id)
    assert await history(user, room_id, **{"from": room.before}) + room.timeline == everything
    assert len(set(everything)) == len(everything)


async def history(user: User, room_id: str, **query: str) -> list[str]:
    """Return the IDs of what comes before a place, oldest first."""
    found: list[str] = []
    while True:
        page = ok(await user.get(f"/rooms/{q(room_id)}/messages", dir="b", limit=30, **query))
        found += [event["event_id"] for event in page["chunk"]]
        if "end" not in page:
            return found[::-1]
        query["from"] = page["end"]


def nonzero(counts: dict[str, Any]) -> dict[str, Any]:
    """Return the counts without those that are zero."""
    return {thread: found for thread, found in counts.items() if any(found.values())}


def without_members(state: State) -> State:
    """Return the state without the members, which a lazy client is told of as it needs them."""
    return {slot: event for slot, event in state.items() if slot[0] != MEMBER}


ACTION = st.tuples(st.integers(0, 2), st.integers(0, 30), st.integers(0, 3), st.integers(0, 7))
GROUPS = st.lists(
    st.one_of(st.lists(ACTION, min_size=1, max_size=1), st.lists(ACTION, max_size=4)), min_size=20, max_size=80
)
EXAMPLES = int(os.environ.get("ISTHMUS_TEST_EXAMPLES", "12"))
"""More of them find more."""


@pytest.mark.parametrize("kind", DATABASES)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(groups=GROUPS, restart=st.booleans())
def test_incremental_syncs_add_up_to_the_initial_sync(kind: str, groups: list[list[Action]], restart: bool) -> None:
    async def run_play() -> None:
        with tempfile.TemporaryDirectory() as directory:
            if kind == "sqlite":
                await play(f"sqlite:///{directory}/isthmus.db", Path(directory), groups, restart)
            else:
                async with fresh_postgres_database(POSTGRES) as url:
                    await play(url, Path(directory), groups, restart)

    asyncio.run(run_play())
