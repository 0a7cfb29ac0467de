"""What people say here gets to the other servers of a room: at once, in order, and after any absence."""

import asyncio
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from federation.core.events.pdu import Pdu
from federation.core.ids import EventID, ServerName
from federation.core.room_versions import ROOM_VERSIONS
from homeserver.services.outgoing import Outgoing
from tests.support.answers import Refusal
from tests.support.certificates import Authority
from tests.support.pair import federating, in_process_of_its_own
from tests.support.peer import Peer
from tests.support.statements import statements
from tests.support.waiting import until
from tests.support.world import User, World, ok

BOTH = {"preset": "public_chat", "room_version": "11"}


def ids(peer: Peer, of: Collection[str] | None = None) -> list[EventID]:
    """Return the events that came in transactions, in order, or of these only those."""
    found = [Pdu.from_wire(pdu, ROOM_VERSIONS["11"]).event_id for pdu in peer.pdus]
    return found if of is None else [event_id for event_id in found if event_id in of]


async def shared_room(owner: User, *peers: Peer) -> str:
    """Make a room with somebody of each peer in it."""
    room = await owner.creates_room(**BOTH)
    for peer in peers:
        await peer.joins(peer.user("bob"), room, owner.world.name)
    return room


def goes_down(peer: Peer) -> None:
    """Let a peer take no transactions."""

    async def refuses(*_: Any) -> Any:
        raise Refusal(503, "M_UNKNOWN")

    peer.instead["transactions"] = refuses


def outgoing(world: World) -> Outgoing:
    return world.app.services.outgoing


async def test_a_message_gets_to_a_server_in_the_room_and_only_while_it_is_there(ours: World, peer: Peer) -> None:
    alice = await ours.user("alice")
    room = await alice.creates_room(**BOTH)
    await alice.says(room, "before")
    bob = peer.user("bob")
    await peer.joins(bob, room, ours.name)
    during = await alice.says(room, "during")
    await peer.gets(during)
    ok(await alice.post(f"/rooms/{room}/kick", {"user_id": bob}))
    await alice.says(room, "after")
    await until(lambda: len(peer.pdus) == 2)
    other = await shared_room(alice, peer)
    last = await alice.says(other, "elsewhere")
    await peer.gets(last)
    assert [pdu["content"].get("body") or pdu["content"]["membership"] for pdu in peer.pdus] == [
        "during", "leave", "elsewhere",
    ]  # fmt: skip
    await until(lambda: not outgoing(ours).queues)


@pytest.mark.sqlite_enough
async def test_a_thousand_events_in_twenty_rooms_get_to_a_server_that_was_away(ours: World, peer: Peer) -> None:
    alice = await ours.user("alice")
    rooms = [await shared_room(alice, peer) for _ in range(20)]
    goes_down(peer)
    sent: list[str] = []
    for number in range(50):
        sent += await asyncio.gather(*(alice.says(room, str(number)) for room in rooms))
    assert ids(peer, sent) == []
    peer.instead.clear()
    began = time.monotonic()
    ok(await peer.request("GET", ours.name, "/_matrix/federation/v1/publicRooms"))
    await until(lambda: len(ids(peer, sent)) == 1000)
    assert time.monotonic() - began < 30
    for room in rooms:
        bodies = [pdu["content"]["body"] for pdu in peer.pdus if pdu["room_id"] == room and "body" in pdu["content"]]
        assert bodies == [str(number) for number in range(50)]


async def test_who_was_away_tells_the_others_that_it_is_back(
    authority: Authority, database_url: str, tmp_path: Path, peer: Peer
) -> None:
    async with federating(authority, tmp_path, database_url) as ours:
        alice = await ours.user("alice")
        await peer.gets(await alice.says(await shared_room(alice, peer)))
        port = int(ours.name.rpartition(":")[2])
    heard = len(peer.asked_for("transactions"))
    async with federating(authority, tmp_path, database_url, port=port):
        await until(lambda: len(peer.asked_for("transactions")) > heard)
    assert peer.transactions[-1]["pdus"] == []


async def test_killed_and_started_again_it_delivers_all_that_it_acknowledged_once_and_in_order(
    authority: Authority, tmp_path: Path, peer: Peer
) -> None:
    async with in_process_of_its_own(authority, tmp_path) as (process, ours):
        alice = await ours.user("alice")
        room = await shared_room(alice, peer)
        sent: list[str] = []
        for _ in range(2):
            sent += [await alice.says(room) for _ in range(30)]
            await process.dies()
            await process.starts()
        sent.append(await alice.says(room))
        await peer.gets(sent[-1])
    assert ids(peer, sent) == sent


async def test_a_server_that_never_answers_holds_up_no_other(ours: World, authority: Authority, peer: Peer) -> None:
    async def hangs(*_: Any) -> Any:
        await asyncio.Event().wait()

    alice = await ours.user("alice")
    async with Peer.start(authority) as other:
        room = await shared_room(alice, peer, other)
        peer.instead["transactions"] = hangs
        last = ""
        for number in range(60):
            last = await alice.says(room, str(number))
        await other.gets(last)
        assert not peer.has(last)
        peer.instead.clear()


async def test_what_an_operator_blocks_is_not_sent_until_it_is_unblocked(ours: World, peer: Peer) -> None:
    alice = await ours.user("alice")
    room = await shared_room(alice, peer)
    name = ServerName(peer.name)
    await outgoing(ours).block(name, True)
    said = await alice.says(room)
    queue = outgoing(ours).queue(name)
    assert queue is not None
    assert queue.behind
    assert not peer.has(said)
    await outgoing(ours).block(name, False)
    await peer.gets(said)


async def test_a_message_in_a_room_without_other_servers_costs_nothing_more(
    authority: Authority, tmp_path: Path, peer: Peer
) -> None:
    counts = []
    async with federating(authority, tmp_path / "ours") as ours:
        async with federating(authority, tmp_path / "alone", FEDERATION__ENABLED="false") as alone:
            for world in (ours, alone):
                alice = await world.user("alice")
                room = await alice.creates_room(**BOTH)
                await alice.says(room)
                with statements() as seen:
                    await alice.says(room)
                counts.append(len(seen))
        assert counts[0] == counts[1]

        carol = await ours.user("carol")
        shared = await shared_room(carol, peer)
        await peer.gets(await carol.says(shared))
        await until(lambda: not outgoing(ours).queues)
        await outgoing(ours)._stored.close()
        outgoing(ours)._sender.block([ServerName(peer.name)])  # what it costs to send is another matter
        with statements() as seen:
            await carol.says(shared)
        assert len(seen) == counts[0] + 1


async def test_what_is_said_between_the_halves_of_a_join_reaches_who_joins(ours: World, peer: Peer) -> None:
    alice = await ours.user("alice")
    room, said = await alice.creates_room(**BOTH), list[str]()

    async def speaks() -> None:
        said.extend([await alice.says(room, "are you"), await alice.says(room, "coming?")])

    await peer.joins(peer.user("bob"), room, ours.name, meanwhile=speaks)
    # What was said before that they fetch, as they see that it is missing.
    await until(lambda: said[-1] in ids(peer))
