"""The peers that tests of federation use can speak with each other, and a real Synapse takes one for a homeserver."""

import itertools
from collections.abc import AsyncIterator

import pytest

from federation.core.room_versions import ROOM_VERSIONS
from tests.support.answers import Media
from tests.support.certificates import Authority
from tests.support.peer import FEDERATION, Peer, q
from tests.support.waiting import asking
from tests.support.world import Site

_numbers = itertools.count(1)


@pytest.fixture
async def peers(authority: Authority) -> AsyncIterator[tuple[Peer, Peer]]:
    """Two peers."""
    async with Peer.start(authority) as one, Peer.start(authority) as other:
        yield one, other


@pytest.mark.parametrize("version", ROOM_VERSIONS)
async def test_a_peer_joins_the_room_of_another_and_both_hear_each_other(
    peers: tuple[Peer, Peer], version: str
) -> None:
    one, other = peers
    room = one.creates_room(version)

    bob = other.user("bob")
    same = await other.joins(bob, room.room_id, one.name)
    assert dict(same.state) == dict(room.state)

    said = same.says(bob)
    assert await other.delivers(one.name, said) == {said.event_id: {}}
    await one.gets(said.event_id)
    assert room.heads == (said.event_id,)
    assert all(asked.signed for asked in one.asked if asked.ability != "keys")


async def test_a_peer_invites_and_tells_of_its_history(peers: tuple[Peer, Peer]) -> None:
    one, other = peers
    room = one.creates_room("11", join_rule="invite")
    said = room.says(one.user("creator"))
    bob = other.user("bob")

    await one.invites_user(room, one.user("creator"), bob)
    assert room.membership(bob) == "invite"
    assert other.invites[0]["room_version"] == "11"
    await other.joins(bob, room.room_id, one.name)

    backfill = f"{FEDERATION}/v1/backfill/{q(room.room_id)}"
    status, answer = await other.request("GET", one.name, backfill, query={"v": said.event_id, "limit": 2})
    assert status == 200
    assert answer["pdus"][0] == said.fields
    assert len(answer["pdus"]) == 2


async def test_a_peer_serves_media(peers: tuple[Peer, Peer]) -> None:
    one, other = peers
    one.media["abc"] = Media(b"a file")
    status, content = await other.request("GET", one.name, f"{FEDERATION}/v1/media/download/abc")
    assert status == 200
    assert b"a file" in content


@pytest.mark.parametrize("version", ROOM_VERSIONS)
async def test_synapse_takes_a_peer_for_a_homeserver(synapse: Site, peer: Peer, version: str) -> None:
    alice = await synapse.user(f"alice{next(_numbers)}v{version}")
    creator = peer.user("creator")

    theirs = peer.creates_room(version)
    status, answer = await alice.post(f"/join/{q(theirs.room_id)}?via={peer.name}")
    assert status == 200, answer
    said = theirs.says(creator)
    assert await peer.delivers(synapse.name, said) == {said.event_id: {}}
    heard = await alice.says(theirs.room_id)
    await peer.gets(heard)

    own = await alice.creates_room(preset="public_chat", room_version=version)
    same = await peer.joins(creator, own, synapse.name)
    said = same.says(creator)
    assert await peer.delivers(synapse.name, said) == {said.event_id: {}}
    await asking(lambda: alice.get(f"/rooms/{q(own)}/event/{q(said.event_id)}"), lambda answer: answer[0] == 200)
    assert all(asked.signed for asked in peer.asked if asked.ability not in ("keys", "notary"))
