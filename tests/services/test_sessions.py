"""Sessions in memory: what the API cannot reach, such as a logout between a read and what is remembered of it."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection

from homeserver.errors import UnknownToken
from homeserver.services import sessions as module
from homeserver.services.sessions import Sessions
from homeserver.storage.database import Database, Write
from homeserver.storage.schema.accounts import devices
from tests.support.world import User, World, ok, refused

T = TypeVar("T")


class Watched(Database):
    """A database that counts reads, and that can hold an answer back."""

    def __init__(self, inner: Database) -> None:
        """Pass everything on to `inner`."""
        self.inner = inner
        self.reads = 0
        self.gate: asyncio.Event | None = None
        self.has_read = asyncio.Event()

    async def read(self, fn: Callable[[Connection], T]) -> T:
        self.reads += 1
        found = await self.inner.read(fn)
        self.has_read.set()
        if self.gate is not None:
            await self.gate.wait()
        return found

    async def write(self, fn: Callable[[Write], T]) -> T:
        return await self.inner.write(fn)

    async def prepare(self, fn: Callable[[Connection], None]) -> None:
        await self.inner.prepare(fn)

    async def close(self) -> None:
        await self.inner.close()


@pytest.fixture
def watched(world: World) -> Watched:
    """The server's database, watched."""
    return Watched(world.app.db)


@pytest.fixture
def sessions(world: World, watched: Watched) -> Sessions:
    """Sessions of their own on the server's database."""
    services = world.app.services
    return Sessions(watched, services.clock, services.ids, services.config.sessions)


async def who(sessions: Sessions, token: str) -> Any:
    """Authenticate."""
    return await sessions.authenticate(token, address="192.0.2.1", agent="test")


async def test_a_known_token_costs_no_query(sessions: Sessions, watched: Watched, alice: User) -> None:
    first = await who(sessions, alice.token)
    assert (first.user_id, first.device_id) == (alice.user_id, alice.device_id)
    assert await who(sessions, alice.token) is first
    assert watched.reads == 1


async def test_a_forgotten_user_is_read_again(sessions: Sessions, watched: Watched, alice: User, bob: User) -> None:
    requester = await who(sessions, alice.token)
    await who(sessions, bob.token)
    sessions.forget(requester.user)
    await who(sessions, bob.token)
    assert watched.reads == 2
    await who(sessions, alice.token)
    assert watched.reads == 3


async def test_what_was_read_before_a_logout_is_not_remembered_after_it(
    sessions: Sessions, watched: Watched, alice: User
) -> None:
    watched.gate = asyncio.Event()
    asking = asyncio.create_task(who(sessions, alice.token))
    await watched.has_read.wait()
    requester = await alice.world.app.services.sessions.authenticate(alice.token, address="", agent="")
    ok(await alice.post("/logout"))
    sessions.forget(requester.user)
    watched.gate.set()
    await asking
    with pytest.raises(UnknownToken):
        await who(sessions, alice.token)


async def test_memory_is_bounded(
    sessions: Sessions, watched: Watched, alice: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_REMEMBERED", 1)
    for token in (alice.token, bob.token, bob.token, alice.token):
        await who(sessions, token)
    assert watched.reads == 3


async def test_when_devices_were_seen_is_written_in_one_go(
    world: World, sessions: Sessions, alice: User, bob: User
) -> None:
    requester = await who(sessions, alice.token)
    await who(sessions, bob.token)
    seen = sessions.last_seen(requester.device)
    assert seen is not None
    assert (seen.ip, seen.agent) == ("192.0.2.1", "test")
    await sessions.write_seen()
    assert sessions.last_seen(requester.device) is None
    await sessions.write_seen()


async def test_seeing_a_device_that_is_gone_harms_nobody(world: World, alice: User, bob: User) -> None:
    ok(await alice.get("/account/whoami"))
    ok(await bob.get("/account/whoami"))
    ok(await alice.post("/logout"))
    await world.app.services.sessions.write_seen()
    refused(await alice.get("/account/whoami"), 401, "M_UNKNOWN_TOKEN")
    assert ok(await bob.get("/devices"))["devices"][0]["last_seen_ip"] == "127.0.0.1"


async def test_what_a_client_says_of_itself_is_stored_as_text_of_a_bounded_length(
    world: World, sessions: Sessions, alice: User
) -> None:
    await sessions.authenticate(alice.token, address="192.0.2.1\0", agent="\udcff\0" + "x" * 5000)
    await sessions.write_seen()
    row = await world.app.db.read(lambda conn: conn.execute(devices.select()).one())
    assert row.last_seen_ip == "192.0.2.1"
    assert row.last_seen_agent.startswith("?x")
    assert len(row.last_seen_agent) < 1000
