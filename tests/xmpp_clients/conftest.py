"""A server in a process of its own, with TLS by an authority that clients are told to trust, and two people on it."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from nio import RoomCreateResponse, RoomPreset, RoomVisibility

from tests.clients.nio_person import NioPerson, understood
from tests.support.certificates import Authority
from tests.support.gate import Gate
from tests.support.ports import free_port
from tests.support.process import ServerProcess
from tests.xmpp_clients.conversation import FIRST_WORD, NICK, SAID_BEFORE, Room, address_of, crumb
from tests.xmpp_clients.person import Door, XmppPerson

DOMAIN = "localhost"


@pytest.fixture(scope="package")
def open_directory() -> Iterator[Path]:
    """A directory that every user of the machine may look into: pytest's own are for its user alone."""
    directory = Path(tempfile.mkdtemp(prefix="isthmus-clients."))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def door(open_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Door]:
    """A server for all tests of the package; its HTTP is behind a reverse proxy with TLS."""
    authority = Authority.make(open_directory / "authority")
    shown = authority.certificate(DOMAIN, *(f"{part}.{DOMAIN}" for part in ("rooms", "upload", "mx")))
    port = free_port()
    settings = {
        "XMPP__LISTEN": f"127.0.0.1:{port}",
        "XMPP__TLS_CERTIFICATE": str(shown.certificate),
        "XMPP__TLS_KEY": str(shown.key),
        "RATE_LIMITS__ENABLED": "false",
    }
    async with Gate.open(authority) as gate:
        settings["PUBLIC_URL"] = f"https://{gate.name}"
        directory = tmp_path_factory.mktemp("server")
        async with ServerProcess.start(directory, server_name=DOMAIN, **settings) as server:
            gate.behind = server.base
            yield Door(DOMAIN, port, server.base, authority.ca)


@pytest_asyncio.fixture(scope="class", loop_scope="package")
async def bob(request: pytest.FixtureRequest, door: Door) -> AsyncIterator[NioPerson]:
    """Somebody with a Matrix client."""
    async with NioPerson.signs_up(door.base, f"bob-{_of(request)}") as person:
        await person.client.set_displayname(NICK)
        yield person


@pytest_asyncio.fixture(scope="class", loop_scope="package")
async def room(request: pytest.FixtureRequest, bob: NioPerson) -> Room:
    """A public room, in which something has been said already."""
    alias, name = f"tea-{_of(request)}", "Tea and scones"
    made = await bob.client.room_create(
        visibility=RoomVisibility.public, preset=RoomPreset.public_chat, alias=alias, name=name
    )
    room_id = str(understood(made, RoomCreateResponse).room_id)
    for number in range(SAID_BEFORE):
        await bob.says(room_id, crumb(number))
    return Room(room_id, f"{alias}@rooms.{DOMAIN}", name)


@pytest_asyncio.fixture(scope="class", loop_scope="package")
async def alice(request: pytest.FixtureRequest, door: Door) -> AsyncIterator[XmppPerson]:
    """Somebody with the XMPP client that the class says it `has`."""
    name = f"alice-{_of(request)}"
    await door.registers(name)
    async with request.cls.has.logs_in(door, name) as person:
        yield person


@pytest_asyncio.fixture(scope="class", loop_scope="package")
async def joined(alice: XmppPerson, room: Room) -> Room:
    """The room, with the XMPP user in it."""
    await alice.joins(room.address)
    await alice.hears(room.address, NICK, crumb(SAID_BEFORE - 1))
    return room


@pytest_asyncio.fixture(scope="class", loop_scope="package")
async def chat(alice: XmppPerson, bob: NioPerson) -> str:
    """The direct room that the XMPP user's first word to the Matrix user has made."""

    async def invited() -> list[str]:
        return list(bob.client.invited_rooms)

    await alice.says(address_of(bob), FIRST_WORD)
    room_id, *_ = await bob.sees_until(invited, bool)
    await bob.joins(room_id)
    return room_id


@pytest.fixture
def pictures(open_directory: Path) -> Path:
    """A directory for files to send, which clients that run as another user can read."""
    directory = Path(tempfile.mkdtemp(dir=open_directory))
    directory.chmod(0o755)
    return directory


def _of(request: pytest.FixtureRequest) -> str:
    """Return what tells apart the people and rooms of a class from those of others on the same server."""
    return str(request.cls.__name__).removeprefix("Test").lower()
