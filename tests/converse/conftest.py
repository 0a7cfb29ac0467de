"""A server in a process of its own with TLS before it, and two people: one in Matrix, one at a browser."""

import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import pytest
import pytest_asyncio

from tests.converse.browser import Page
from tests.converse.person import ConversePerson
from tests.converse.site import Line, before, browser
from tests.support.process import ServerProcess
from tests.support.world import PASSWORD, Site, User, ok

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Room:
    """A room that Bob has made and that is in the list of all rooms."""

    room_id: str
    name: str


@pytest_asyncio.fixture(scope="class", loop_scope="class")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """A server that Matrix clients reach, with nobody on it."""
    directory = tmp_path_factory.mktemp("server")
    async with (
        ServerProcess.start(directory, PUBLIC_URL="https://hs1", RATE_LIMITS__ENABLED="false") as server,
        aiohttp.ClientSession() as http,
    ):
        yield Site(server.base, http, "hs1")


@pytest_asyncio.fixture(scope="class", loop_scope="class")
async def line(site: Site, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Line]:
    """What is between browsers and the server."""
    async with before(site, tmp_path_factory.mktemp("line")) as line:
        yield line


@pytest_asyncio.fixture(scope="class", loop_scope="class")
async def page(line: Line, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Page]:
    """Converse.js, with nobody logged in."""
    async with browser(line, tmp_path_factory.mktemp("browser")) as page:
        yield page


@pytest_asyncio.fixture(scope="class", loop_scope="class")
async def account(site: Site) -> User:
    """Alice's account, seen by Matrix."""
    return await site.user("alice")


@pytest_asyncio.fixture(scope="class", loop_scope="class")
async def alice(page: Page, account: User) -> ConversePerson:
    """Alice, who has logged in with Converse.js."""
    person = ConversePerson(page)
    await person.logs_in("alice@hs1", PASSWORD)
    return person


@pytest_asyncio.fixture(scope="class", loop_scope="class")
async def bob(site: Site) -> User:
    """Bob, who has a Matrix client."""
    return await site.user("bob")


@pytest_asyncio.fixture(loop_scope="class")
async def room(bob: User) -> Room:
    """A room that nobody but Bob has been in."""
    name = f"Tea {next(_numbers)}"
    room_id = await bob.creates_room(
        name=name, preset="public_chat", visibility="public", room_alias_name=name.lower().replace(" ", "-")
    )
    await bob.syncs()
    return Room(room_id, name)


async def members(user: User, room_id: str) -> dict[str, str]:
    """Return the memberships of a room's members."""
    answer = ok(await user.get(f"/rooms/{room_id}/members"))
    return {event["state_key"]: event["content"]["membership"] for event in answer["chunk"]}
