"""A peer whose keys change while it is in a room with us: the new one is taken, and the old one is good for the past
alone."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from federation.core.signing import SigningKey
from tests.federation.sharing import Shared
from tests.support.certificates import Authority
from tests.support.clock import MovableClock
from tests.support.forgery import CONTENT
from tests.support.pair import federating
from tests.support.peer import Peer
from tests.support.world import World

REST_SECONDS = 10
"""How long a server that was just asked for its keys is left in peace, and more."""


@pytest.fixture
def clock() -> MovableClock:
    """Everybody's clock."""
    return MovableClock()


@pytest.fixture
async def ours(authority: Authority, tmp_path: Path, clock: MovableClock) -> AsyncIterator[World]:
    """A server of ours whose clock can be moved."""
    given: dict[str, Any] = {"clock": clock}
    async with federating(authority, tmp_path, **given) as world:
        yield world


@pytest.fixture
async def peer(authority: Authority, clock: MovableClock) -> AsyncIterator[Peer]:
    """A peer with the same clock."""
    async with Peer.start(authority, now_ms=clock.now_ms) as started:
        yield started


@pytest.mark.parametrize("forget", [False, True])
async def test_a_peer_with_a_new_key_is_heard_at_once(
    ours: World, peer: Peer, clock: MovableClock, forget: bool
) -> None:
    shared = await Shared.of(ours, peer)
    await shared.still_talks()
    for _ in range(3):
        peer.changes_key(forget=forget)
        clock.advance(REST_SECONDS)
        await shared.still_talks()
    assert len(peer.asked_for("keys")) < 12


async def test_what_is_sent_now_and_signed_with_an_old_key_is_not_taken(
    ours: World, peer: Peer, clock: MovableClock
) -> None:
    shared = await Shared.of(ours, peer)
    old = peer.key
    # Known to us before it is taken back.
    await shared.still_talks()
    peer.changes_key(expired_ts=peer.now_ms() - 1000)
    clock.advance(REST_SECONDS)
    await shared.still_talks()
    late = shared.room.make(peer.user("creator"), "m.room.message", CONTENT, key=old)
    assert "error" in (await shared.sends(late))[late.event_id]
    await shared.still_talks()


async def test_a_key_that_is_taken_back_keeps_the_past_it_has_signed(
    ours: World, peer: Peer, clock: MovableClock
) -> None:
    shared = await Shared.of(ours, peer)
    missed = [shared.room.says(peer.user("creator"), f"missed {number}") for number in range(3)]
    peer.changes_key()
    clock.advance(REST_SECONDS)
    said = shared.room.says(peer.user("creator"), "now")
    await shared.sends(said)
    for event in [*missed, said]:
        await shared.ear.hears(shared.room.room_id, event.event_id)
    await shared.still_talks()


async def test_a_key_of_another_server_is_not_taken_for_the_peers(ours: World, peer: Peer, clock: MovableClock) -> None:
    shared = await Shared.of(ours, peer)
    await shared.still_talks()
    honest = peer.key
    forged = SigningKey.generate("forged")
    document = peer.key_document()
    peer.keys.append(forged)
    lie = {**peer.key_document(), "signatures": document["signatures"]}

    async def keys(peer: Peer, asked: object) -> dict[str, object]:
        return lie

    # It names a key, and is not signed with it.
    peer.instead["keys"] = keys
    peer.keys.remove(honest)
    clock.advance(REST_SECONDS)
    bad = shared.room.make(peer.user("creator"), "m.room.message", CONTENT)
    status, _ = await peer.sends(ours.name, [bad])
    assert status == 401
    peer.keys = [honest]
    assert "error" in (await shared.sends(bad))[bad.event_id]
    peer.instead.clear()
    await shared.still_talks()
