"""What tests of federation share: an authority, peers, servers of ours beside each other, and a real Synapse."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.support.certificates import Authority
from tests.support.pair import federating
from tests.support.peer import Peer
from tests.support.synapse import Synapse, wanted
from tests.support.world import Site, World


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Whom all servers of the tests trust."""
    return Authority.make(tmp_path_factory.mktemp("authority"))


@pytest.fixture
async def peer(authority: Authority) -> AsyncIterator[Peer]:
    """A homeserver made from the law alone."""
    async with Peer.start(authority) as started:
        yield started


@pytest.fixture
async def ours(authority: Authority, database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    """A server of ours that federates, on each kind of database."""
    async with federating(authority, tmp_path, database_url) as world:
        yield world


@pytest.fixture(scope="session")
def synapse_process(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Synapse]:
    """A real Synapse, the same for all tests."""
    wanted()
    with Synapse.start(authority, tmp_path_factory.mktemp("synapse")) as started:
        yield started


@pytest.fixture
async def synapse(synapse_process: Synapse) -> AsyncIterator[Site]:
    """That Synapse as its users see it."""
    async with aiohttp.ClientSession() as http:
        yield Site(synapse_process.base, http, synapse_process.name)
