"""One server for all tests here, with the same people on it; each test begins with nothing heard."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.doors import Meeting, People, Reader
from tests.support.talker import talker
from tests.support.world import World


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def shared(tmp_path_factory: pytest.TempPathFactory, empty_sqlite: Path) -> AsyncIterator[People]:
    """A server with people on it, and all the rooms that the tests before have made."""
    directory = tmp_path_factory.mktemp("world")
    shutil.copyfile(empty_sqlite, directory / "isthmus.db")
    async with World.start(f"sqlite:///{directory}/isthmus.db", directory) as world:
        alice, bob, carol = [await world.user(name) for name in ("alice", "bob", "carol")]
        async with talker(world, "alice") as person:
            yield People(world, person, Reader(bob), Reader(carol), alice)


@pytest_asyncio.fixture(loop_scope="package")
async def people(shared: People) -> People:
    """They, with nothing that is left over."""
    for reader in (shared.bob, shared.carol):
        await reader.forgets()
    shared.alice.received.clear()
    return shared


@pytest_asyncio.fixture(loop_scope="package", params=["chat", "room"])
async def meeting(request: pytest.FixtureRequest, people: People) -> Meeting:
    """Where Alice and Bob talk: in a chat of two, and in a room."""
    return await (people.chat() if request.param == "chat" else people.room())
