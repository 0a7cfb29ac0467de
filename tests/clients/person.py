"""A person who chats with a real client: what they do, and what the client shows them. One subclass a client."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

import pytest

from tests.support.world import PASSWORD

PATIENCE_SECONDS = 45
"""How long somebody waits for the other's deed to be shown; also for a client that lost the server to find it again.

matrix-js-sdk holds its queue for 30 seconds when the echo of a reply in a thread overtakes the answer to it.
"""

Seen = TypeVar("Seen")


@dataclass(frozen=True)
class Message:
    """A message as a client shows it: with its edits and reactions."""

    id: str
    sender: str
    kind: str | None
    body: str | None
    url: str | None = None
    reply_to: str | None = None
    edited: bool = False
    redacted: bool = False
    reactions: Mapping[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class RoomView:
    """A room as a client shows it."""

    name: str
    membership: str
    members: Mapping[str, str]
    typing: list[str]
    read: Mapping[str, str]
    """Who has read up to which event, by public receipts."""
    unread: int
    highlights: int
    messages: list[Message]

    def message(self, event_id: str) -> Message | None:
        """Return a message, or None if it is not there."""
        return next((message for message in self.messages if message.id == event_id), None)


@dataclass(frozen=True)
class Presence:
    """Whether somebody is there, as a client shows it."""

    presence: str
    status: str | None


class Person(ABC):
    """Somebody logged in on one device, whose client syncs all the time."""

    user_id: str

    def __init__(self, base: str) -> None:
        self.base = base
        self.news = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def signs_up(cls, base: str, name: str) -> AsyncIterator[Self]:
        """Register somebody, who is gone afterwards."""
        person = cls(base)
        try:
            await person._sign_up(name, PASSWORD)
            yield person
        finally:
            await person.leaves()

    @classmethod
    @asynccontextmanager
    async def logs_in(cls, base: str, name: str) -> AsyncIterator[Self]:
        """Log somebody in on a new device, who is gone afterwards."""
        person = cls(base)
        try:
            await person._log_in(name, PASSWORD)
            yield person
        finally:
            await person.leaves()

    async def until(self, room_id: str, condition: Callable[[RoomView], object]) -> RoomView:
        """Return the room as soon as what is shown of it fulfils the condition; fail if it does not come to that."""
        return await self.sees_until(lambda: self.sees(room_id), condition)

    async def until_message(
        self, room_id: str, event_id: str, condition: Callable[[Message], object] = lambda message: True
    ) -> Message:
        """Return a message as soon as it is shown and fulfils the condition."""
        view = await self.until(room_id, lambda view: (found := view.message(event_id)) and condition(found))
        message = view.message(event_id)
        assert message is not None
        return message

    async def until_presence(self, user_id: str, condition: Callable[[Presence], object]) -> Presence:
        """Return somebody's presence as soon as it fulfils the condition."""
        return await self.sees_until(lambda: self.sees_presence(user_id), condition)

    async def sees_until(self, look: Callable[[], Awaitable[Seen | None]], condition: Callable[[Seen], object]) -> Seen:
        """Look again with each piece of news; return what is seen as soon as it fulfils the condition."""
        seen: Seen | None = None
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while True:
                    self.news.clear()
                    seen = await look()
                    if seen is not None and condition(seen):
                        return seen
                    await self.news.wait()
        except TimeoutError:
            pytest.fail(f"{self.user_id} waited in vain, and sees {seen}")

    @abstractmethod
    async def _sign_up(self, name: str, password: str) -> None: ...

    @abstractmethod
    async def _log_in(self, name: str, password: str) -> None: ...

    @abstractmethod
    async def leaves(self) -> None:
        """Stop the client."""

    @abstractmethod
    async def logs_out(self) -> None:
        """Log out; the client stays of no use."""

    @abstractmethod
    async def creates_room(self, name: str) -> str:
        """Create a private room; return its ID."""

    @abstractmethod
    async def invites(self, room_id: str, user_id: str) -> None:
        """Invite somebody."""

    @abstractmethod
    async def joins(self, room_id: str) -> None:
        """Join a room."""

    @abstractmethod
    async def opens(self, room_id: str) -> None:
        """Load all that has been said in a room, and everybody in it."""

    @abstractmethod
    async def sends(self, room_id: str, content: Mapping[str, Any]) -> str:
        """Send an `m.room.message`; return its ID."""

    @abstractmethod
    async def emotes(self, room_id: str, body: str) -> str:
        """Say what one does; return the event's ID."""

    @abstractmethod
    async def shows(self, room_id: str, png: bytes, name: str) -> str:
        """Upload an image and send it; return the event's ID."""

    @abstractmethod
    async def downloads(self, url: str) -> bytes:
        """Return the file behind a content URI."""

    @abstractmethod
    async def thumbnail(self, url: str, size: int) -> bytes:
        """Return the image behind a content URI, at most `size` wide and high."""

    @abstractmethod
    async def reacts(self, room_id: str, event_id: str, key: str) -> str:
        """React to a message; return the reaction's ID."""

    @abstractmethod
    async def redacts(self, room_id: str, event_id: str, reason: str) -> None:
        """Redact an event."""

    @abstractmethod
    async def types(self, room_id: str, is_typing: bool) -> None:
        """Begin or stop to type."""

    @abstractmethod
    async def reads(self, room_id: str, event_id: str) -> None:
        """Say publicly that one has read up to an event, and set the marker there."""

    @abstractmethod
    async def becomes(self, presence: str, status: str) -> None:
        """Set one's presence."""

    @abstractmethod
    async def sees(self, room_id: str) -> RoomView | None:
        """Return what the client shows of a room, or None if it does not know it."""

    @abstractmethod
    async def sees_presence(self, user_id: str) -> Presence | None:
        """Return what the client knows of somebody's presence."""

    async def says(self, room_id: str, body: str) -> str:
        """Send a text; return its ID."""
        return await self.sends(room_id, {"msgtype": "m.text", "body": body})

    async def replies(self, room_id: str, event_id: str, body: str) -> str:
        """Reply to a message; return the reply's ID."""
        reply = {"m.in_reply_to": {"event_id": event_id}}
        return await self.sends(room_id, {"msgtype": "m.text", "body": body, "m.relates_to": reply})

    async def edits(self, room_id: str, event_id: str, body: str) -> str:
        """Replace a text; return the edit's ID."""
        new = {"msgtype": "m.text", "body": body}
        relation = {"rel_type": "m.replace", "event_id": event_id}
        content = {"msgtype": "m.text", "body": f"* {body}", "m.new_content": new, "m.relates_to": relation}
        return await self.sends(room_id, content)

    async def mentions(self, room_id: str, user_id: str, body: str) -> str:
        """Send a text that calls for somebody's attention; return its ID."""
        return await self.sends(room_id, {"msgtype": "m.text", "body": body, "m.mentions": {"user_ids": [user_id]}})
