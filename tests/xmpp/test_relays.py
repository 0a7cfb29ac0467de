"""Servers that relay calls, as XMPP clients are told of them."""

import re
from pathlib import Path

from tests.support.raw_xmpp import bound
from tests.support.world import User, World

RELAYS = "xmlns='urn:xmpp:extdisco:2'"


async def test_relays_are_told_with_credentials(tmp_path: Path) -> None:
    options = {
        "VOIP__TURN_URIS": "turn:turn.example.org?transport=tcp, turns:turn.example.org, turn:[::1]:3479",
        "VOIP__TURN_SHARED_SECRET": "secret",
    }
    async with World.start(f"sqlite:///{tmp_path}/isthmus.db", tmp_path, **options) as world:
        await world.user("alice")
        async with bound(world, "alice") as client:
            said = await client.asks(f"<services {RELAYS}/>")
            places = re.findall("type='(turns?)' host='([^']*)' port='([0-9]+)' transport='(...)'", said)
            assert places == [
                ("turn", "turn.example.org", "3478", "tcp"),
                ("turns", "turn.example.org", "5349", "tcp"),
                ("turn", "::1", "3479", "udp"),
            ]
            assert len(re.findall("username='[0-9]+:@alice:hs1' password='[^']+' expires='20[^']+Z'", said)) == 3
            assert len(re.findall("<service ", await client.asks(f"<services {RELAYS} type='turns'/>"))) == 1
            one = f"<credentials {RELAYS}><service host='::1' type='turn'/></credentials>"
            assert "port='3479'" in await client.asks(one)
            assert "<item-not-found " in await client.asks(one.replace("::1", "nowhere"))


async def test_without_relays_there_are_none(world: World, alice: User) -> None:
    async with bound(world, "alice") as client:
        assert f"<services {RELAYS}/>" in await client.asks(f"<services {RELAYS}/>")
