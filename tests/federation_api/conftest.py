"""What tests of the door for servers share: a server of ours that federates, a peer that asks it, and Alice."""

import pytest

from tests.federation.conftest import authority, ours, peer
from tests.federation_api.asking import Asking
from tests.support.peer import Peer
from tests.support.world import User, World

__all__ = ["authority", "ours", "peer"]


@pytest.fixture
async def alice(ours: World) -> User:
    """A user of our server."""
    return await ours.user("alice")


@pytest.fixture
def asks(peer: Peer, ours: World) -> Asking:
    """The peer, asking our server."""
    return Asking(peer, ours.name)
