"""A person who chats with a real XMPP client: what they do, and what the client shows them. One subclass a client."""

import asyncio
import os
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self, TypeVar

import aiohttp
import pytest

from tests.support.world import PASSWORD, Site

PATIENCE_SECONDS = 20
"""How long somebody waits for something to be shown."""

Seen = TypeVar("Seen")


@dataclass(frozen=True)
class Door:
    """Where clients come in."""

    domain: str
    port: int
    """Of XMPP, on loopback, with STARTTLS."""
    base: str
    """The plain address of the client API of Matrix."""
    ca: Path
    """The certificate of the authority that vouches for the server."""

    async def registers(self, name: str) -> None:
        """Make an account."""
        async with aiohttp.ClientSession() as http:
            await Site(self.base, http, self.domain).user(name)


def is_room(address: str) -> bool:
    """Whether an address is that of a room."""
    return "@rooms." in address


class XmppPerson(ABC):
    """Somebody logged in with one client."""

    program: ClassVar[str]
    """What the table in docs/xmpp.md calls the client."""
    reaches_back: ClassVar[int | None] = None
    """How many messages of a room's past the client can show; None is all."""

    def __init__(self, door: Door, name: str) -> None:
        """Take somebody who has an account."""
        self.door = door
        self.name = name
        self.jid = f"{name}@{door.domain}"
        self.user_id = f"@{name}:{door.domain}"
        self.news = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def logs_in(cls, door: Door, name: str) -> AsyncIterator[Self]:
        """Start the client and log in; it is gone afterwards. Skip the test if it is not there; CI has it."""
        missing = cls.missing()
        if missing is not None:
            pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
        person = cls(door, name)
        try:
            await person._logs_in(PASSWORD)
            yield person
        finally:
            await person.leaves()

    async def sees_until(self, look: Callable[[], Awaitable[Seen]], condition: Callable[[Seen], object]) -> Seen:
        """Look again with each piece of news; return what is seen as soon as it fulfils the condition."""
        seen: Seen | None = None
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while True:
                    self.news.clear()
                    seen = await look()
                    if condition(seen):
                        return seen
                    await self.news.wait()
        except TimeoutError:
            pytest.fail(f"{self.jid} waited in vain, and sees {seen}")

    @classmethod
    @abstractmethod
    def missing(cls) -> str | None:
        """Say what has to be installed, if anything."""

    @abstractmethod
    async def _logs_in(self, password: str) -> None: ...

    @abstractmethod
    async def leaves(self) -> None:
        """Stop the client."""

    @abstractmethod
    async def finds(self, room: str, name: str) -> None:
        """Ask for the list of rooms; return when a room is in it, by its address and its name."""

    @abstractmethod
    async def joins(self, room: str) -> None:
        """Join a room by its address; return when one is in it."""

    @abstractmethod
    async def sees_occupant(self, room: str, nick: str) -> None:
        """Return when somebody is shown among those who are in a room."""

    @abstractmethod
    async def sees_online(self, jid: str) -> None:
        """Return when a contact is shown to be there."""

    @abstractmethod
    async def says(self, to: str, text: str) -> None:
        """Say something in a room, or to somebody alone."""

    @abstractmethod
    async def hears(self, where: str, nick: str, text: str) -> None:
        """Return when a message is shown: in a room, by the nick of who said it."""

    @abstractmethod
    async def counts(self, where: str, text: str) -> int:
        """Return how often a text is shown."""

    @abstractmethod
    async def scrolls_to(self, where: str, text: str) -> None:
        """Go back in the past of a room or a chat until a message is shown."""

    @abstractmethod
    async def sees_link(self, where: str, name: str) -> str:
        """Return the link to a file that somebody has sent, when it is shown."""


class Corrects(ABC):
    """A client that can correct what was said."""

    @abstractmethod
    async def corrects(self, to: str, text: str) -> None:
        """Replace what one has said last."""

    @abstractmethod
    async def sees_correction(self, where: str, nick: str, old: str, new: str) -> None:
        """Return when a message is shown in the place of an earlier one."""


class Reacts(ABC):
    """A client that knows reactions."""

    @abstractmethod
    async def reacts(self, where: str, text: str, *keys: str) -> None:
        """Have these reactions, and no others, to the message with a text."""

    @abstractmethod
    async def sees_reactions(self, where: str, text: str, *keys: str) -> None:
        """Return when the message with a text is shown with these reactions, and no others."""


class Uploads(ABC):
    """A client that can send files."""

    @abstractmethod
    async def uploads(self, to: str, file: Path) -> None:
        """Send a file."""
