"""Push equals pull: what incremental syncs add up to is what a fresh initial sync shows.

Several people do random things; each of them syncs at random moments, and applies every answer to what they knew. In
the end each of them syncs anew from nothing, and both must agree: rooms, state, newest events, counts, receipts, data.
"""

import asyncio
import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import DATABASES, POSTGRES
from tests.support.world import User, World, fresh_postgres_database, q

PEOPLE = ("alice", "bob", "carol")
LIMIT = 5
FILTER = json.dumps({"room": {"timeline": {"limit": LIMIT, "unread_thread_notifications": True}}})

State = dict[tuple[str, str], str]


@dataclass
class KnownRoom:
    """A joined room as a client knows it."""

    state: State = field(default_factory=dict)
    timeline: list[str] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    counts: dict[str, Any] = field(default_factory=dict)
    receipts: dict[tuple[str, str, str], str] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)


@dataclass
class Client:
    """A client that applies what it is told."""

    user: User
    state_after: bool
    joined: dict[str, KnownRoom] = field(default_factory=dict)
    invited: set[str] = field(default_factory=set)
    knocked: set[str] = field(default_factory=set)
    data: dict[str, Any] = field(default_factory=dict)

    async def sync(self) -> None:
        query = {"use_state_after": "true"} if self.state_after else {}
        self.apply(await self.user.syncs(filter=FILTER, **query))

    def apply(self, answer: Any) -> None:
        for event in answer.get("account_data", {}).get("events", []):
            self.data[event["type"]] = event["content"]
        rooms = answer.get("rooms", {})
        for room_id in [*rooms.get("leave", {}), *rooms.get("invite", {}), *rooms.get("knock", {})]:
            self.joined.pop(room_id, None)
            self.invited.discard(room_id)
            self.knocked.discard(room_id)
        self.invited.update(rooms.get("invite", {}))
        self.knocked.update(rooms.get("knock", {}))
        for room_id, told in rooms.get("join", {}).items():
            self.invited.discard(room_id)
            self.knocked.discard(room_id)
            apply_room(self.joined.setdefault(room_id, KnownRoom()), told)


def apply_room(room: KnownRoom, told: Any) -> None:
    if told["timeline"]["limited"]:
        room.timeline = []
    events = told["timeline"]["events"]
    changes = told["state_after"]["events"] if "state_after" in told else told["state"]["events"] + events
    for event in changes:
        if "state_key" in event:
            room.state[event["type"], event["state_key"]] = event["event_id"]
    for event in events:
        assert event["event_id"] not in room.timeline, "an event came twice"
        room.timeline.append(event["event_id"])
    room.summary.update(told.get("summary", {}))
    room.counts = {"main": told["unread_notifications"], **told.get("unread_thread_notifications", {})}
    for event in told["ephemeral"]["events"]:
        if event["type"] == "m.receipt":
            for event_id, kinds in event["content"].items():
                for kind, users in kinds.items():
                    for user_id, receipt in users.items():
                        room.receipts[user_id, kind, receipt.get("thread_id", "")] = event_id
    for event in told["account_data"]["events"]:
        room.data[event["type"]] = event["content"]


class Play:
    """The people, what they know, and what they can do."""

    def __init__(self, users: list[User]) -> None:
        self.users = users
        # One of them takes the state at the end of the timeline, as newer clients do.
        self.clients = [Client(user, state_after=index == 1) for index, user in enumerate(users)]
        self.rooms: list[str] = []
        self.sent: dict[str, list[str]] = {}

    async def act(self, who: int, what: int, which: int, number: int) -> None:
        """Do one thing; whether it is allowed is the server's to say."""
        user = self.users[who]
        other = self.users[(who + 1 + number) % len(self.users)]
        if what == 0 or not self.rooms:
            preset = ("public_chat", "private_chat", "trusted_private_chat")[number % 3]
            room = await user.creates_room(preset=preset, room_version=("6", "10", "11", "12")[which % 4])
            self.rooms.append(room)
            self.sent[room] = []
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
                await user.put(f"{path}/redact/{q(event)}/r{len(events)}-{number}-{who}", {})
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
            case _:
                await self.clients[who].sync()

    async def say(self, user: User, room: str, content: dict[str, Any]) -> None:
        status, body = await user.put(
            f"/rooms/{q(room)}/send/m.room.message/m{sum(map(len, self.sent.values()))}", content
        )
        if status == 200:
            self.sent[room].append(body["event_id"])


async def play(url: str, directory: Path, actions: list[tuple[int, int, int, int]]) -> None:
    async with World.start(url, directory) as world:
        users = [await world.user(name) for name in PEOPLE]
        acts = Play(users)
        for client in acts.clients:
            await client.sync()
        for action in actions:
            await acts.act(*action)
        for client in acts.clients:
            await client.sync()
            client.user.since = None
            fresh = Client(client.user, client.state_after)
            await fresh.sync()
            compare(client, fresh)


def compare(pushed: Client, pulled: Client) -> None:
    assert set(pushed.joined) == set(pulled.joined)
    assert pushed.invited == pulled.invited
    assert pushed.knocked == pulled.knocked
    assert pushed.data == pulled.data
    for room_id, known in pushed.joined.items():
        fresh = pulled.joined[room_id]
        assert known.state == fresh.state
        shorter = min(len(known.timeline), len(fresh.timeline))
        assert known.timeline[len(known.timeline) - shorter :] == fresh.timeline[len(fresh.timeline) - shorter :]
        assert known.summary["m.joined_member_count"] == fresh.summary["m.joined_member_count"]
        assert known.summary["m.invited_member_count"] == fresh.summary["m.invited_member_count"]
        assert known.counts == fresh.counts
        assert known.receipts == fresh.receipts
        assert known.data == fresh.data


ACTIONS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 25), st.integers(0, 3), st.integers(0, 7)), min_size=10, max_size=80
)


@pytest.mark.parametrize("kind", DATABASES)
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(actions=ACTIONS)
def test_incremental_syncs_add_up_to_the_initial_sync(kind: str, actions: list[tuple[int, int, int, int]]) -> None:
    async def run() -> None:
        with tempfile.TemporaryDirectory() as directory:
            if kind == "sqlite":
                await play(f"sqlite:///{directory}/isthmus.db", Path(directory), actions)
            else:
                async with fresh_postgres_database(POSTGRES) as url:
                    await play(url, Path(directory), actions)

    asyncio.run(run())
