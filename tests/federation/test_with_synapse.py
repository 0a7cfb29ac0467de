"""A server of ours beside a real Synapse, in each role: what people do across the two."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.federation.across import AcrossServers, Sides
from tests.support.certificates import Authority
from tests.support.pair import federating
from tests.support.peer import Peer
from tests.support.world import Site, World


@pytest.fixture
async def beside(authority: Authority, tmp_path: Path) -> AsyncIterator[World]:
    """Our server."""
    async with federating(authority, tmp_path) as world:
        yield world


@pytest.fixture(params=["rooms are ours", "rooms are Synapse's"])
def sides(request: pytest.FixtureRequest, beside: World, synapse: Site) -> Sides:
    """Either side."""
    return Sides(beside, synapse) if request.param == "rooms are ours" else Sides(synapse, beside)


class TestWithSynapse(AcrossServers):
    """All of it."""


async def test_each_takes_the_keys_of_the_other(beside: World, synapse: Site, peer: Peer) -> None:
    for notary, server in ((beside, synapse), (synapse, beside)):
        _, own = await peer.request("GET", server.name, "/_matrix/key/v2/server", signed=False)
        wanted = {server.name: {key_id: {"minimum_valid_until_ts": peer.now_ms()} for key_id in own["verify_keys"]}}
        path = "/_matrix/key/v2/query"
        status, answer = await peer.request("POST", notary.name, path, {"server_keys": wanted}, signed=False)
        assert status == 200, answer
        (document,) = answer["server_keys"]
        assert document["server_name"] == server.name
        assert set(document["signatures"]) == {notary.name, server.name}
