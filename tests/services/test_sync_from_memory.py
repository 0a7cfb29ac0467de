"""An answer of /sync that is made from memory says what one that is put together from the database says.

Several people do random things, and sync by devices with different filters. Whatever `FromMemory` answers is made once
more by an `Assembler` that has counted nothing and remembers nothing but what the device was told of members.
"""

import json
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from homeserver.model.positions import SyncToken
from homeserver.model.sync import SyncRequest
from homeserver.services.live import Feed
from homeserver.services.sync import Sync, pieces
from homeserver.services.sync.lazy import LazyMembers
from homeserver.services.sync.memory import FromMemory
from homeserver.services.sync.passing import Passing
from homeserver.services.sync.unread import UnreadCounts
from homeserver.storage.database import current_position
from tests.support.world import User, World, ok, q

Body = dict[str, Any]

FILTERS: list[Body] = [
    {},
    {"room": {"timeline": {"limit": 3, "unread_thread_notifications": True}}},
    {"room": {"state": {"lazy_load_members": True}, "timeline": {"unread_thread_notifications": True}}},
    {
        "room": {
            "state": {"lazy_load_members": True, "include_redundant_members": True, "not_senders": ["@carol:hs1"]},
            "timeline": {"types": ["m.room.*"], "not_types": ["m.room.name"]},
            "ephemeral": {"types": ["m.typing"]},
        },
        "presence": {"not_senders": ["@bob:hs1"]},
    },
    {"room": {"timeline": {"not_senders": ["@bob:hs1"]}, "ephemeral": {"not_types": ["m.typing"]}}},
    {"room": {"ephemeral": {"types": []}, "account_data": {"types": []}}, "presence": {"types": []}},
]


class Witness:
    """Compares every answer from memory with one from the database."""

    def __init__(self, sync: Sync) -> None:
        self._sync = sync
        self._given: tuple[SyncRequest, Passing, LazyMembers, bytes | None, SyncToken, int] | None = None
        self.compared = 0
        self.with_rooms = 0
        self.quiet_ones = 0

    def answer(
        self, answer: Callable[..., tuple[bytes, SyncToken] | None], memory: FromMemory, request: SyncRequest,
        since: SyncToken, feed: Feed, passing: Passing,
    ) -> tuple[bytes, SyncToken] | None:  # fmt: skip
        before = LazyMembers()
        before._told.update(memory.lazy._told)
        found = answer(memory, request, since, feed, passing)
        if found is not None:
            assert found[1].position >= since.position, "a token went back"
            self._given = (request, passing, before, found[0], found[1], memory.live.position)
        return found

    def quiet(
        self, quiet: Callable[..., SyncToken | None], memory: FromMemory, request: SyncRequest, feed: Feed
    ) -> SyncToken | None:
        token = quiet(memory, request, feed)
        if token is not None:
            assert request.since is not None
            passing = self._sync.passing.since(request.since.ephemeral, feed)
            self._given = (request, passing, memory.lazy, b"", token, memory.live.position)
            self.quiet_ones += 1
        return token

    async def compare(self) -> None:
        """Compare the answer given last, unless it was not from memory."""
        if self._given is None:
            return
        request, passing, lazy, body, token, told = self._given
        self._given = None
        on = self._sync.assembler
        assembler = replace(on, unread=UnreadCounts(on.names, on.gatherer.events, on.gatherer.snapshots), lazy=lazy)
        position, whole = await self._sync.db.read(
            lambda conn: (current_position(conn), assembler.assemble(conn, request, passing))
        )
        assert whole.empty is (body == b"")
        expected = json.loads(whole.body)
        given = json.loads(body or pieces.nothing(token))
        if position != told:
            given.pop("next_batch")
            expected.pop("next_batch")
        assert _timeless(given) == _timeless(expected)
        self.compared += 1
        self.with_rooms += "rooms" in given


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _timeless(inner) for name, inner in value.items() if name not in ("age", "last_active_ago")}
    if isinstance(value, list):
        return [_timeless(item) for item in value]
    return value


@pytest.fixture
def witness(world: World, monkeypatch: pytest.MonkeyPatch) -> Witness:
    """Who looks at every answer that the server gives from memory."""
    watching = Witness(world.app.services.sync)
    original = FromMemory.answer

    def answer(*args: Any) -> tuple[bytes, SyncToken] | None:
        return watching.answer(original, *args)

    original_quiet = FromMemory.quiet_since

    def quiet(*args: Any) -> SyncToken | None:
        return watching.quiet(original_quiet, *args)

    monkeypatch.setattr(FromMemory, "answer", answer)
    monkeypatch.setattr(FromMemory, "quiet_since", quiet)
    return watching


class Household:
    """The people, their devices, and what they do at random."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self.world = world
        self.chance = chance
        self.people: list[User] = []
        self.devices: list[tuple[User, Body, bool]] = []
        self.rooms: list[str] = []
        self.sent: dict[str, list[str]] = {}

    async def settle(self) -> None:
        self.people = [await self.world.user(name) for name in ("alice", "bob", "carol")]
        for index, user in enumerate(self.people):
            self.devices.append((user, FILTERS[index], False))
            for number, wanted in enumerate(FILTERS):
                if (number + index) % 2:
                    device = await user.login_again(f"D{index}{number}")
                    self.devices.append((device, wanted, number == 4))
        for number in range(2):
            room = await self.people[0].creates_room(*self.people[1:], preset="trusted_private_chat", name=f"{number}")
            for user in self.people[1:]:
                await user.joins(room)
            self.rooms.append(room)
            self.sent[room] = [await self.people[0].says(room, "first")]

    async def sync(self, device: tuple[User, Body, bool]) -> None:
        user, wanted, after = device
        query = {"use_state_after": "true"} if after else {}
        await user.syncs(filter=json.dumps(wanted), set_presence="offline", **query)

    async def act(self) -> None:
        chance = self.chance
        user = chance.choice([device for device, _, _ in self.devices])
        other = chance.choice(self.people)
        room = chance.choice(self.rooms)
        path, event = f"/rooms/{q(room)}", chance.choice(self.sent[room][-8:])
        match chance.choice(ACTIONS):
            case "say":
                await self.say(user, room, {"body": "hello"})
            case "mention":
                await self.say(user, room, {"body": "you", "m.mentions": {"user_ids": [other.user_id]}})
            case "mention all":
                await self.say(user, room, {"body": "@room", "m.mentions": {"room": True}})
            case "thread":
                await self.say(user, room, {"body": "x", "m.relates_to": {"rel_type": "m.thread", "event_id": event}})
            case "refer":
                relation = {"rel_type": "m.reference", "event_id": event}
                await self.say(user, room, {"body": "x", "m.relates_to": relation})
            case "edit":
                relation = {"rel_type": "m.replace", "event_id": event}
                await self.say(user, room, {"body": "x", "m.new_content": {"body": "y"}, "m.relates_to": relation})
            case "react":
                key = f"{chance.random()}"
                content = {"m.relates_to": {"rel_type": "m.annotation", "event_id": event, "key": key}}
                await user.sends(room, "m.reaction", content)
            case "redact":
                await user.redacts(room, event)
            case "receipt":
                kind = chance.choice(["m.read", "m.read", "m.read.private"])
                body = chance.choice([{}, {"thread_id": "main"}, {"thread_id": event}])
                await user.post(f"{path}/receipt/{kind}/{q(event)}", body)
            case "fully read":
                await user.post(f"{path}/read_markers", {"m.fully_read": event, "m.read": event})
            case "type":
                body = {"typing": chance.random() < 0.6, "timeout": 100_000}
                ok(await user.put(f"{path}/typing/{q(user.user_id)}", body))
            case "presence":
                body = {"presence": "online", "status_msg": f"{chance.random()}"}
                ok(await user.put(f"/presence/{q(user.user_id)}/status", body))
            case "name":
                await user.sets(room, "m.room.name", {"name": f"{chance.random()}"})
            case "display name":
                ok(await user.put(f"/profile/{q(user.user_id)}/displayname", {"displayname": f"{chance.random()}"}))
            case "come and go":
                guest = chance.choice(self.people[1:])
                ok(await guest.post(f"{path}/leave"))
                ok(await self.people[0].post(f"{path}/invite", {"user_id": guest.user_id}))
                ok(await guest.post(f"{path}/join"))
            case "ignore":
                body = {"ignored_users": {other.user_id: {}} if chance.random() < 0.5 else {}}
                ok(await user.put(f"/user/{q(user.user_id)}/account_data/m.ignored_user_list", body))
            case "push rule":
                rule = f"/pushrules/global/room/{q(room)}"
                if chance.random() < 0.5:
                    ok(await user.put(rule, {"actions": []}))
                else:
                    await user.delete(rule)
            case "room data":
                ok(await user.put(f"/user/{q(user.user_id)}{path}/account_data/org.example", {"n": chance.random()}))

    async def say(self, user: User, room: str, content: Body) -> None:
        self.sent[room].append(await user.sends(room, "m.room.message", {"msgtype": "m.text", **content}))


ACTIONS = (
    ["say"] * 6 + ["mention", "mention all", "refer", "edit", "react", "redact", "fully read", "presence", "name"]
    + ["display name", "come and go", "ignore", "push rule", "room data"] + ["thread", "receipt", "type"] * 3
)  # fmt: skip


@pytest.mark.parametrize("seed", range(2))
async def test_what_memory_answers_is_what_the_database_would(world: World, witness: Witness, seed: int) -> None:
    house = Household(world, random.Random(seed))
    await house.settle()
    for device in house.devices:
        await house.sync(device)
    for _ in range(70):
        for _ in range(house.chance.choice([1, 1, 2, 4])):
            await house.act()
        for device in house.chance.sample(house.devices, 4):
            await house.sync(device)
            await witness.compare()
        if house.chance.random() < 0.2:
            # Once more, with nothing new as a rule.
            await house.sync(house.devices[0])
            await house.sync(house.devices[0])
            await witness.compare()
    assert witness.with_rooms > 40
    assert witness.quiet_ones > 10
