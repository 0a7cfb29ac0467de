"""Keys and signatures between us and a real Synapse."""

from pathlib import Path

import pytest

from federation.core.auth.receipt import Received
from federation.core.events.draft import Draft, build
from federation.core.ids import RoomAlias, RoomID, ServerName
from federation.core.room_versions import ROOM_VERSIONS
from federation.matrix.errors import RemoteError
from tests.support.certificates import Authority
from tests.support.pair import federating
from tests.support.peer import Peer
from tests.support.world import Site, World


async def test_each_takes_the_others_signature(ours: World, synapse: Site) -> None:
    theirs = ServerName(synapse.name)
    with pytest.raises(RemoteError) as refusal:
        await ours.app.services.federation_client.query_directory(theirs, RoomAlias(f"#nothing:{theirs}"))
    assert (refusal.value.status, refusal.value.errcode) == (404, "M_NOT_FOUND"), "not 401: it knows our key"

    heard: list[ServerName] = []
    ours.app.door.heard_from.append(heard.append)
    status, _ = await synapse.request("GET", f"/_matrix/client/v3/directory/room/%23nothing:{ours.name}")
    assert status == 404
    assert heard == [theirs]


async def test_synapse_is_a_notary_for_us(authority: Authority, tmp_path: Path, synapse: Site) -> None:
    notary = ServerName(synapse.name)
    async with (
        Peer.start(authority) as peer,
        federating(authority, tmp_path, FEDERATION__TRUSTED_NOTARIES=notary) as world,
    ):
        said = build(
            Draft(RoomID("!room:elsewhere.example"), "m.room.message", peer.user("alice"), {"body": "hi"}),
            version=ROOM_VERSIONS["11"], prev_events=[], auth_events=[], depth=2, now_ms=peer.now_ms(),
            server_name=peer.name, key=peer.key,
        )  # fmt: skip
        # While the peer is there, the notary gets to know it; we do not.
        await world.app.services.federation_client.query_keys(notary, {peer.name: {peer.key.key_id: 0}})
        peer.abilities.discard("keys")

        (verdict,) = await world.app.services.keyring.verify_events([said])
        assert isinstance(verdict, Received), verdict
