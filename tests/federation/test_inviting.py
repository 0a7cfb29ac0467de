"""Users of other servers are invited once their server has signed it; nobody is invited who cannot know."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import Connection

from federation.core.ids import RoomID, UserID
from federation.core.signing import sign_event
from tests.support import lies
from tests.support.answers import Answer, Asked, Reply
from tests.support.footprint import footprint
from tests.support.pair import free_port
from tests.support.peer import Peer
from tests.support.rooms import VERSIONS
from tests.support.waiting import until
from tests.support.world import User, World, ok, q, refused


@pytest.fixture
async def alice(ours: World) -> User:
    """Somebody of our server."""
    return await ours.user("alice")


async def invites(alice: User, room: str, target: str, **body: Any) -> tuple[int, Any]:
    """Invite somebody."""
    return await alice.post(f"/rooms/{q(room)}/invite", {"user_id": target, **body})


async def membership(alice: User, room: str, target: str) -> dict[str, Any]:
    """Return the content of somebody's membership."""
    content: dict[str, Any] = ok(await alice.get(f"/rooms/{q(room)}/state/m.room.member/{q(target)}"))
    return content


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_invite_goes_to_the_users_server_and_they_join(
    ours: World, alice: User, peer: Peer, version: str
) -> None:
    room = await alice.creates_room(preset="private_chat", room_version=version, name="Private")
    bob = peer.user("bob")
    ok(await invites(alice, room, bob, reason="come"))

    (sent,) = peer.invites
    assert sent["room_version"] == version
    told = {event["type"]: event for event in sent["invite_room_state"]}
    assert {"m.room.create", "m.room.join_rules", "m.room.name"} <= told.keys()
    assert all({"auth_events", "prev_events", "signatures", "hashes"} <= event.keys() for event in told.values())
    assert await membership(alice, room, bob) == {"membership": "invite", "reason": "come"}

    joined = await peer.joins(bob, sent["event"]["room_id"], ours.name)
    assert joined.membership(bob) == "join"
    assert (await membership(alice, room, bob))["membership"] == "join"
    said = joined.says(bob)
    assert await peer.delivers(ours.name, said) == {said.event_id: {}}


async def test_the_invited_servers_signature_is_kept(ours: World, alice: User, peer: Peer) -> None:
    room = await alice.creates_room()
    bob = peer.user("bob")
    ok(await invites(alice, room, bob))
    history = ours.app.services.history

    def read(conn: Connection) -> set[str]:
        nid = history.names.room(conn, RoomID(room))
        assert nid is not None
        (newest,) = history.events.in_room(conn, nid, limit=1, newest_first=True)
        return set(newest.pdu.fields["signatures"])

    assert await ours.app.services.db.read(read) == {ours.name, peer.name}


@pytest.mark.parametrize(
    ("answer", "status", "errcode"),
    [
        (lies.fails(403, "M_FORBIDDEN"), 403, "M_FORBIDDEN"),
        (lies.fails(403, "M_INVITE_BLOCKED"), 403, "M_INVITE_BLOCKED"),
        (lies.fails(400, "M_INCOMPATIBLE_ROOM_VERSION"), 400, "M_INCOMPATIBLE_ROOM_VERSION"),
        (lies.fails(400, "M_INVALID_PARAM"), 502, "M_UNKNOWN"),
        (lies.fails(500), 502, "M_UNKNOWN"),
        (lies.hangs_up, 502, "M_UNKNOWN"),
        (lies.says({}), 502, "M_UNKNOWN"),
        (lies.says({"event": {"type": "m.room.member"}}), 502, "M_UNKNOWN"),
    ],
)
@pytest.mark.parametrize("by_state", [False, True])
async def test_what_the_other_server_says_against_it_is_passed_on_and_nothing_is_stored(
    ours: World, alice: User, peer: Peer, answer: Answer, status: int, errcode: str, by_state: bool
) -> None:
    room = await alice.creates_room()
    before = await footprint(ours)
    peer.instead["invite"] = answer
    bob = peer.user("bob")
    if by_state:
        path = f"/rooms/{q(room)}/state/m.room.member/{q(bob)}"
        refused(await alice.put(path, {"membership": "invite"}), status, errcode)
    else:
        refused(await invites(alice, room, bob), status, errcode)
    assert await footprint(ours) == before


async def test_another_event_than_ours_is_not_taken_for_it(ours: World, alice: User, peer: Peer) -> None:
    room = await alice.creates_room()
    before = await footprint(ours)

    async def another(peer: Peer, asked: Asked) -> Reply:
        event = {**asked.body["event"], "depth": 99}
        return {"event": sign_event(event, peer.room("12").version, peer.name, peer.key)}

    async def unsigned(peer: Peer, asked: Asked) -> Reply:
        return {"event": asked.body["event"]}

    for lie in (another, unsigned):
        peer.instead["invite"] = lie
        refused(await invites(alice, room, peer.user("bob")), 502, "M_UNKNOWN")
    assert await footprint(ours) == before


async def test_state_can_invite_too(alice: User, peer: Peer) -> None:
    room = await alice.creates_room()
    bob = peer.user("bob")
    path = f"/rooms/{q(room)}/state/m.room.member/{q(bob)}"
    content = {"membership": "invite", "is_direct": True}
    event_id = ok(await alice.put(path, content))["event_id"]
    assert ok(await alice.get(f"/rooms/{q(room)}/event/{q(event_id)}"))["content"] == content


async def test_the_room_has_the_first_word(ours: World, alice: User, peer: Peer) -> None:
    bob = peer.user("bob")
    carol = await ours.user("carol")
    closed = await alice.creates_room(creation_content={"m.federate": False})
    guarded = await alice.creates_room(preset="public_chat")
    await alice.sets(guarded, "m.room.server_acl", {"allow": ["*"], "deny": ["localhost"]})
    quiet = await alice.creates_room(preset="public_chat")
    await carol.joins(quiet)
    before = await footprint(ours)
    refused(await invites(alice, closed, bob), 403, "M_FORBIDDEN")
    refused(await invites(alice, guarded, bob), 403, "M_FORBIDDEN")
    refused(await invites(carol, quiet, bob), 403, "M_FORBIDDEN")
    refused(await invites(carol, guarded, bob), 403, "M_FORBIDDEN")
    assert await footprint(ours) == before
    assert not peer.invites


async def test_a_room_is_created_with_users_of_other_servers(ours: World, alice: User, peer: Peer) -> None:
    carol = await ours.user("carol")
    bob, unreachable = peer.user("bob"), UserID(f"@dave:localhost:{free_port()}")
    room = ok(
        await alice.post(
            "/createRoom",
            {"invite": [bob, carol.user_id, unreachable], "is_direct": True, "preset": "trusted_private_chat"},
        )
    )["room_id"]
    for user_id in (bob, carol.user_id):
        assert await membership(alice, room, user_id) == {"membership": "invite", "is_direct": True}
    # Who could not be told is not invited; the room is there all the same.
    refused(await alice.get(f"/rooms/{q(room)}/state/m.room.member/{q(unreachable)}"), 404, "M_NOT_FOUND")
    assert len(peer.invites) == 1


async def test_an_invite_that_the_room_has_outrun_still_finds_its_place(ours: World, alice: User, peer: Peer) -> None:
    room = await alice.creates_room()
    asked, release = asyncio.Event(), asyncio.Event()

    async def slow(peer: Peer, request: Asked) -> Reply:
        asked.set()
        await release.wait()
        return {"event": sign_event(request.body["event"], peer.room("12").version, peer.name, peer.key)}

    peer.instead["invite"] = slow
    bob = peer.user("bob")
    inviting = asyncio.create_task(invites(alice, room, bob))
    await asked.wait()
    await alice.sets(room, "m.room.topic", {"topic": "Meanwhile"})
    release.set()
    ok(await inviting)
    assert await membership(alice, room, bob) == {"membership": "invite"}
    assert ok(await alice.get(f"/rooms/{q(room)}/state/m.room.topic/")) == {"topic": "Meanwhile"}
    await alice.says(room)


async def test_the_end_of_an_invite_is_told(ours: World, alice: User, peer: Peer) -> None:
    room = await alice.creates_room()
    bob = peer.user("bob")
    ok(await invites(alice, room, bob))
    ok(await alice.post(f"/rooms/{q(room)}/kick", {"user_id": bob}))
    await until(lambda: any(pdu["state_key"] == bob for pdu in peer.pdus))
    assert peer.pdus[-1]["content"]["membership"] == "leave"
