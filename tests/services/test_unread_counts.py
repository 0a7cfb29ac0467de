"""Unread counts against a plain reference that looks at every event anew.

Source: https://spec.matrix.org/v1.19/client-server-api/#receiving-notifications
"""

import json
import random
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.world import User, World, ok, q

FILTER = json.dumps({"room": {"timeline": {"unread_thread_notifications": True}}, "presence": {"types": []}})
MOST_HOPS = 3
Counts = dict[str, tuple[int, int]]


@dataclass
class Said:
    """An event as the reference looks at it."""

    event_id: str
    sender: str
    notifies: bool
    highlights: bool
    relation: str | None = None
    parent: str | None = None
    redacted: bool = False


@dataclass
class Reference:
    """What one user has to read."""

    reader: str
    said: list[Said] = field(default_factory=list)
    marks: list[tuple[str, int]] = field(default_factory=list)
    """Threads ("" for all) and how far they were read."""
    ignored: set[str] = field(default_factory=set)
    muted: bool = False

    def place(self, event_id: str) -> int:
        """Return which event this is."""
        return next(place for place, one in enumerate(self.said) if one.event_id == event_id)

    def thread(self, event: Said) -> str:
        """Return the thread that an event is in."""
        for _ in range(MOST_HOPS + 1):
            if event.redacted or event.parent is None:
                return "main"
            if event.relation == "m.thread":
                return event.parent
            event = self.said[self.place(event.parent)]
        return "main"

    def counts(self) -> Counts:
        """Return notifications and highlights by thread, those with none left out."""
        notifications: Counter[str] = Counter()
        highlights: Counter[str] = Counter()
        threads = [self.thread(event) for event in self.said]
        for place, (event, thread) in enumerate(zip(self.said, threads, strict=True)):
            own_later = any(
                one.sender == self.reader and other == thread
                for one, other in zip(self.said[place:], threads[place:], strict=True)
            )
            read = any(marked in ("", thread) and upto >= place for marked, upto in self.marks)
            if own_later or read or event.redacted or event.sender in self.ignored:
                continue
            if event.highlights or (event.notifies and not self.muted):
                notifications[thread] += 1
                highlights[thread] += event.highlights
        return {thread: (count, highlights[thread]) for thread, count in notifications.items()}


class Play:
    """A room, the people in it, and what they do at random."""

    def __init__(self, people: list[User], room: str, chance: random.Random) -> None:
        self.people, self.room, self.chance = people, room, chance
        self.reader = people[1]
        self.reference = Reference(self.reader.user_id)

    async def act(self) -> None:
        """Do one thing."""
        what = self.chance.choice(["say"] * 5 + ["relate"] * 3 + ["read"] * 2 + ["redact", "ignore", "mute"])
        if what == "say" or len(self.reference.said) < 3:
            await self.say(self.chance.choice(self.people))
            return
        await getattr(self, what)()

    async def say(self, user: User, relation: str | None = None, parent: str | None = None) -> None:
        """Say something, to all or to someone."""
        body: dict[str, Any] = {"msgtype": "m.text", "body": "hello"}
        highlights = False
        match self.chance.randrange(6):
            case 0:
                body["m.mentions"] = {"user_ids": [self.reader.user_id]}
                highlights = True
            case 1:
                body["m.mentions"] = {"room": True}
                highlights = user is self.people[0]  # the others have not the power
        event_type = "m.room.message"
        notifies = True
        if relation is not None:
            body["m.relates_to"] = {"rel_type": relation, "event_id": parent}
        if relation == "m.annotation":
            event_type, notifies, highlights = "m.reaction", False, False
            body = {"m.relates_to": {"rel_type": relation, "event_id": parent, "key": f"{self.chance.random()}"}}
        elif relation == "m.replace":
            body.pop("m.mentions", None)
            notifies = highlights = False
            body["m.new_content"] = {"msgtype": "m.text", "body": "changed"}
        event_id = await user.sends(self.room, event_type, body)
        self.reference.said.append(Said(event_id, user.user_id, notifies, highlights, relation, parent))

    async def relate(self) -> None:
        """Say something that is related to an event."""
        parent = self.chance.choice(self.reference.said[-10:]).event_id
        relation = self.chance.choice(["m.thread", "m.thread", "m.reference", "m.annotation", "m.replace"])
        await self.say(self.chance.choice(self.people), relation, parent)

    async def read(self) -> None:
        """Let the reader read up to an event."""
        event = self.chance.choice(self.reference.said[-15:])
        thread = self.chance.choice(["", "main", self.reference.thread(event)])
        kind = self.chance.choice(["m.read", "m.read.private"])
        body = {"thread_id": thread} if thread else {}
        status, _ = await self.reader.post(f"/rooms/{q(self.room)}/receipt/{kind}/{q(event.event_id)}", body)
        if status == 200:
            self.reference.marks.append((thread, self.reference.place(event.event_id)))

    async def redact(self) -> None:
        """Let the owner redact what another has said."""
        event = self.chance.choice(self.reference.said[-10:])
        if event.sender != self.reader.user_id:
            redaction = await self.people[0].redacts(self.room, event.event_id)
            event.redacted = True
            self.reference.said.append(Said(redaction, self.people[0].user_id, notifies=False, highlights=False))

    async def ignore(self) -> None:
        """Let the reader ignore someone, or nobody."""
        ignored = {self.people[2].user_id} if self.chance.random() < 0.4 else set()
        path = f"/user/{q(self.reader.user_id)}/account_data/m.ignored_user_list"
        ok(await self.reader.put(path, {"ignored_users": {user_id: {} for user_id in ignored}}))
        self.reference.ignored = ignored

    async def mute(self) -> None:
        """Let the reader be told of mentions only, or of everything."""
        rule = f"/pushrules/global/room/{q(self.room)}"
        self.reference.muted = self.chance.random() < 0.4
        if self.reference.muted:
            ok(await self.reader.put(rule, {"actions": []}))
        else:
            await self.reader.delete(rule)


async def _counted(user: User, room: str) -> Counts | None:
    """Sync; return what is told to be unread, or None if the answer does not say."""
    answer = await user.syncs(filter=FILTER, set_presence="offline")
    told = answer.get("rooms", {}).get("join", {}).get(room)
    if told is None:
        return None
    counts = {"main": told["unread_notifications"], **told.get("unread_thread_notifications", {})}
    found = {thread: (one["notification_count"], one["highlight_count"]) for thread, one in counts.items()}
    return {thread: numbers for thread, numbers in found.items() if any(numbers)}


@pytest.mark.parametrize("seed", range(2))
async def test_counts_are_those_of_the_reference(database_url: str, tmp_path: Path, seed: int) -> None:
    async with World.start(database_url, tmp_path) as world:
        people = [await world.user(name) for name in ("alice", "bob", "carol")]
        room = await people[0].creates_room(*people[1:], preset="private_chat")
        for user in people[1:]:
            await user.joins(room)
        play = Play(people, room, random.Random(seed))
        fresh = await play.reader.login_again("FRESH")
        await play.reader.syncs(filter=FILTER)
        for step in range(120):
            await play.act()
            told = await _counted(play.reader, room)
            assert told in (None, play.reference.counts())
            if step % 5 == 0:
                fresh.since = None
                assert await _counted(fresh, room) == play.reference.counts()
        expected = play.reference.counts()
    async with World.start(database_url, tmp_path) as world:
        assert await _counted(replace(fresh, world=world, since=None), room) == expected
