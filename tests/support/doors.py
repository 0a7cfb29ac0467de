"""One server with both doors open: Alice by XMPP, Bob and Carol by Matrix, and places where they meet."""

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from slixmpp.xmlstream import StanzaBase

from tests.support.talker import SECONDS, Talker
from tests.support.world import User, World, ok, q

CHAT_STATES = "http://jabber.org/protocol/chatstates"
CORRECT = "{urn:xmpp:message-correct:0}replace"
DISPLAYED = "{urn:xmpp:chat-markers:0}displayed"
MODERATED = "{urn:xmpp:message-moderate:1}moderated"
OOB_URL = "{jabber:x:oob}x/{jabber:x:oob}url"
REACTIONS = "{urn:xmpp:reactions:0}reactions"
REPLY = "{urn:xmpp:reply:0}reply"
RETRACT = "{urn:xmpp:message-retract:1}retract"
RETRACTED = "{urn:xmpp:message-retract:1}retracted"
STANZA_ID = "{urn:xmpp:sid:0}stanza-id"
PRIVATE: dict[str, Any] = {"preset": "private_chat"}

_numbers = itertools.count(1)


class Reader:
    """What a Matrix client has synced and nobody has asked for yet."""

    def __init__(self, user: User) -> None:
        """Take somebody who is logged in, and syncs nowhere else."""
        self.user = user
        self._events: dict[str, list[dict[str, Any]]] = {}
        self._ephemeral: dict[str, list[dict[str, Any]]] = {}
        self.invited: set[str] = set()

    async def event(self, room_id: str, wanted: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Return the first event of a room that somebody else sent and for which `wanted` is true, waiting for it."""
        return await self._first(
            self._events.setdefault(room_id, []), lambda one: one["sender"] != self.user.user_id and wanted(one)
        )

    async def message(self, room_id: str, wanted: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Return the first message of a room for whose content `wanted` is true, waiting for it."""
        return await self.event(room_id, lambda one: one["type"] == "m.room.message" and wanted(one["content"]))

    async def hears(self, room_id: str, body: str) -> dict[str, Any]:
        """Return the next message of a room with a body."""
        return await self.message(room_id, lambda content: content.get("body") == body)

    async def told(self, room_id: str, kind: str, wanted: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Return the content of the first ephemeral event of a kind for which `wanted` is true."""
        found = self._ephemeral.setdefault(room_id, [])
        return dict((await self._first(found, lambda one: one["type"] == kind and wanted(one["content"])))["content"])

    async def is_invited(self) -> str:
        """Return a room to which the user is invited, waiting for it."""
        async with asyncio.timeout(SECONDS):
            while not self.invited:
                await self.syncs(5000)
        return self.invited.pop()

    def messages(self, room_id: str, sender: str) -> list[dict[str, Any]]:
        """Return the messages of a sender that came, and that nobody has asked for."""
        found = self._events.get(room_id, [])
        return [one for one in found if one["type"] == "m.room.message" and one["sender"] == sender]

    async def forgets(self) -> None:
        """Catch up, and have heard nothing."""
        await self.syncs()
        for told in (self._events, self._ephemeral, self.invited):
            told.clear()  # type: ignore[attr-defined]

    async def syncs(self, timeout: int = 0) -> None:  # noqa: ASYNC109 - the API's own parameter
        """Take in what is new."""
        rooms = (await self.user.syncs(timeout=timeout)).get("rooms", {})
        for room_id, room in rooms.get("join", {}).items():
            self._events.setdefault(room_id, []).extend(room["timeline"]["events"])
            self._ephemeral.setdefault(room_id, []).extend(room["ephemeral"]["events"])
        self.invited |= rooms.get("invite", {}).keys()

    async def _first(self, found: list[dict[str, Any]], wanted: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        async with asyncio.timeout(SECONDS):
            while True:
                for one in found:
                    if wanted(one):
                        found.remove(one)
                        return one
                try:
                    await self.syncs(5000)
                except asyncio.CancelledError:
                    raise AssertionError(f"never came; but {found}") from None


@dataclass(repr=False)
class Meeting:
    """Where Alice and Bob talk: a room, or a chat of two."""

    people: "People"
    jid: str
    """As Alice knows it."""
    room_id: str
    """As Bob knows it."""
    type: str

    @property
    def is_room(self) -> bool:
        """Whether it is a MUC room for Alice."""
        return self.type == "groupchat"

    async def in_private(self) -> "Meeting":
        """Return a room that is private for one that is not; a chat always is."""
        return await self.people.room(**PRIVATE) if self.is_room else self

    def named(self, stanza_id: str, event_id: str) -> str:
        """Return by which of its names Alice's client refers to a message."""
        return event_id if self.is_room else stanza_id

    def alice_says(self, body: str, *extra: str, id_: str | None = None) -> str:
        """Let Alice send a message with further elements as XML; return its ID."""
        return self.people.alice.says(self.jid, body, *extra, type_=self.type, id_=id_)

    async def alice_gets(self, wanted: Callable[[StanzaBase], Any]) -> StanzaBase:
        """Return the first message from here for which `wanted` is true."""
        return await self.people.alice.gets(
            lambda one: one.name == "message" and str(one["from"].bare) == self.jid and wanted(one)
        )

    async def alice_hears(self, body: str) -> StanzaBase:
        """Return the next message from here with a body."""
        return await self.alice_gets(lambda one: one["type"] == self.type and one["body"] == body)

    async def bob_hears(self, body: str) -> dict[str, Any]:
        """Return the next event with a body."""
        return await self.people.bob.hears(self.room_id, body)

    async def both_have(self, body: str) -> tuple[str, str]:
        """Let Alice say something that nobody has edited; return its ID as a stanza and as an event."""
        stanza_id = self.alice_says(body)
        event = await self.bob_hears(body)
        if self.is_room:
            await self.alice_hears(body)
        return stanza_id, event["event_id"]


@dataclass(repr=False)
class People:
    """Alice with an XMPP client, and two people with Matrix clients, on one server."""

    world: World
    alice: Talker
    bob: Reader
    carol: Reader
    alice_by_matrix: User
    """Alice with a Matrix client beside."""
    _chat: list[str] = field(default_factory=list)

    async def chat(self) -> Meeting:
        """Return the chat of Alice and Bob."""
        if not self._chat:
            self.alice.says("bob@hs1", "the first")
            room_id = await self.bob.is_invited()
            await self.bob.user.joins(room_id)
            await self.bob.hears(room_id, "the first")
            self._chat.append(room_id)
        return Meeting(self, "bob@hs1", self._chat[0], "chat")

    async def room(self, *, enter: bool = True, alias: str | None = None, **body: Any) -> Meeting:
        """Let Bob make a room, open to all unless it is told else, which Alice has entered."""
        alias = alias or f"room{next(_numbers)}"
        made = {"preset": "public_chat", "room_alias_name": alias, **body}
        if made["preset"] == "private_chat" and enter:
            made["invite"] = [self.alice_by_matrix.user_id]
        room_id = await self.bob.user.creates_room(**made)
        jid = f"{alias}@rooms.hs1"
        if enter:
            await self.alice.enters(jid, "alice")
        return Meeting(self, jid, room_id, "groupchat")

    async def state(self, room_id: str, kind: str) -> dict[str, Any]:
        """Return the content of a state event as Bob sees it."""
        return dict(ok(await self.bob.user.get(f"/rooms/{q(room_id)}/state/{q(kind)}/")))

    async def uploads(self, content: bytes, content_type: str) -> str:
        """Let Bob upload a file; return its content URI."""
        answer = await self.world.request(
            "POST", "/_matrix/media/v3/upload", token=self.bob.user.token, raw=content,
            headers={"Content-Type": content_type},
        )  # fmt: skip
        return str(ok(answer)["content_uri"])
