"""A server in a process of its own, and two people on it with the clients that a test class names."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from tests.clients.js_person import HERE, JsPerson
from tests.clients.person import Person
from tests.conftest import DATABASES, POSTGRES
from tests.support.node import have_packages
from tests.support.process import ServerProcess
from tests.support.world import fresh_postgres_database


@pytest_asyncio.fixture(scope="class", loop_scope="class", params=DATABASES)
async def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ServerProcess]:
    """A server for all tests of a class, with nobody on it."""
    async with AsyncExitStack() as stack:
        url = ""
        if request.param == "postgresql":
            url = await stack.enter_async_context(fresh_postgres_database(POSTGRES))
        yield await stack.enter_async_context(ServerProcess.start(tmp_path_factory.mktemp("server"), url))


@pytest_asyncio.fixture(scope="class", loop_scope="class")
async def alice(request: pytest.FixtureRequest, server: ServerProcess) -> AsyncIterator[Person]:
    """Somebody with the client that the class calls `alice_has`."""
    async with _with(request.cls.alice_has).signs_up(server.base, "alice") as person:
        yield person


@pytest_asyncio.fixture(scope="class", loop_scope="class")
async def bob(request: pytest.FixtureRequest, server: ServerProcess) -> AsyncIterator[Person]:
    """Somebody with the client that the class calls `bob_has`."""
    async with _with(request.cls.bob_has).signs_up(server.base, "bob") as person:
        yield person


@pytest_asyncio.fixture(loop_scope="class")
async def room_id(alice: Person, bob: Person) -> str:
    """A room that bob has followed alice into."""
    room_id = await alice.creates_room("Tea")
    await alice.invites(room_id, bob.user_id)
    await bob.until(room_id, lambda view: view.membership == "invite")
    await bob.joins(room_id)
    for person in (alice, bob):
        await person.until(room_id, lambda view: view.members.get(bob.user_id) == "join")
    return room_id


def _with(client: type[Person]) -> type[Person]:
    if issubclass(client, JsPerson):
        have_packages(HERE)
    return client
