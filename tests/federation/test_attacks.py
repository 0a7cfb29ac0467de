"""What a server could gain by lying about rooms that it knows, or is in: nothing."""

from pathlib import Path
from typing import Any

import pytest

from federation.core.events.pdu import Pdu
from federation.core.ids import EventID
from tests.federation.sharing import Shared
from tests.support import lies
from tests.support.answers import Asked, Reply
from tests.support.certificates import Authority
from tests.support.ear import Ear
from tests.support.forgery import EVIL
from tests.support.peer import Peer
from tests.support.shared_room import SharedRoom, signed_again, wire
from tests.support.world import World, ok, q

MEMBER = "m.room.member"


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """SQLite: nothing here depends on which database it is."""
    return f"sqlite:///{tmp_path}/isthmus.db"


async def forgets(world: World) -> None:
    """Let the server forget the events that it has in memory, as a restart does."""
    timeline = world.app.services.rooms.timeline
    nids = await world.app.db.read(lambda conn: conn.exec_driver_sql("SELECT nid FROM rooms").scalars().all())
    for nid in nids:
        timeline.events.forget_room(nid)


def bogus_invite(liar: Peer, version: str, room_id: str, target: str, **how: Any) -> tuple[SharedRoom, Pdu]:
    """Return an invite into a room of others that a server has nobody in."""
    room = liar.room(version, room_id)
    how = {"prev": [], "auth": [], **how}
    return room, room.make(liar.user("mallory"), MEMBER, {"membership": "invite"}, target, **how)


async def test_a_room_is_of_one_version_whatever_invites_say(ours: World, peer: Peer, authority: Authority) -> None:
    alice, bob = await ours.user("alice"), await ours.user("bob")
    room = peer.creates_room("11", join_rule="invite")
    async with Peer.start(authority) as liar:
        cited = [EventID(f"$x:{liar.name}")]
        for version, target in (("1", alice.user_id), ("11", alice.user_id), ("1", bob.user_id)):
            told, event = bogus_invite(
                liar, version, room.room_id, target, prev=cited if version == "1" else [EventID("$" + "A" * 43)]
            )
            await liar.asks_for_invite(told, event, ours.name)
        await forgets(ours)
        for user in (alice, bob):
            user.since = None
            await user.syncs()
            await user.get(f"/rooms/{q(room.room_id)}/state")
        # The real one is not kept out.
        await forgets(ours)
        peer.instead["make_leave"] = lies.fails(403, "M_FORBIDDEN")
        for user in (alice, bob):
            await user.post(f"/rooms/{q(room.room_id)}/leave")
        await peer.invites_user(room, peer.user("creator"), alice.user_id, ours.name)
        ok(await alice.post(f"/join/{q(room.room_id)}", via=peer.name))
        await forgets(ours)
        for user in (alice, bob):
            user.since = None
            await user.syncs()
        said = room.says(peer.user("creator"), "welcome")
        await peer.delivers(ours.name, said)
        await (await Ear.of(alice)).until(lambda ear: "welcome" in ear.messages(room.room_id))


@pytest.mark.parametrize("version", ["1", "6", "11"])
async def test_what_was_never_judged_authorises_nothing(
    ours: World, peer: Peer, authority: Authority, version: str
) -> None:
    alice, bob = await ours.user("alice"), await ours.user("bob")
    room = peer.creates_room(version, join_rule="public")
    async with Peer.start(authority) as liar:
        # An invite that no room would take...
        told, invite = bogus_invite(liar, version, room.room_id, bob.user_id)
        status, _ = await liar.asks_for_invite(told, invite, ours.name)
        assert status == 200
        ok(await alice.post(f"/join/{q(room.room_id)}", via=peer.name))
        shared = room
        # ... and one who is in the room says that it is part of the state.
        ghost = liar.user("ghost")
        shared.key_of = lambda server: liar.key if server == liar.name else peer.key
        shared.member(ghost, ghost, "join")
        await liar.sends(ours.name, [shared.events[shared.heads[0]]])
        before = {**shared.state, (MEMBER, bob.user_id): invite.event_id}
        after = shared.make(ghost, "m.room.message", {"body": "x"}, prev=[EventID("$" + "B" * 43)])

        async def ids(_peer: Peer, _asked: Asked) -> Reply:
            return {"pdu_ids": list(before.values()), "auth_chain_ids": []}

        liar.instead |= {"state_ids": ids, "missing_events": lies.fails(404, "M_NOT_FOUND")}
        liar.instead |= {"event": lies.fails(404, "M_NOT_FOUND"), "event_auth": lies.fails(404, "M_NOT_FOUND")}
        await liar.sends(ours.name, [after])
        members = ok(await alice.get(f"/rooms/{q(room.room_id)}/members"))["chunk"]
        assert bob.user_id not in {member["state_key"] for member in members}


@pytest.mark.parametrize("version", ["1", "6", "11"])
async def test_an_invite_that_no_room_would_take_lets_nobody_in(
    ours: World, peer: Peer, authority: Authority, version: str
) -> None:
    bob = await ours.user("bob")
    room = peer.creates_room(version, join_rule="invite")
    async with Peer.start(authority) as liar:
        told, invite = bogus_invite(liar, version, room.room_id, bob.user_id)
        assert (await liar.asks_for_invite(told, invite, ours.name))[0] == 200
        # It has all of the room from somewhere, and adds what it has made up.
        held = liar.room(version, room.room_id)
        held.know(room.events.values())
        held.after = {**room.after, room.heads[0]: {**room.state, (MEMBER, bob.user_id): invite.event_id}}
        held.know([invite])
        held.heads = room.heads
        liar.rooms[room.room_id] = held
        status, answer = await bob.post(f"/join/{q(room.room_id)}", via=liar.name)
        assert status >= 400, answer
        assert liar.asked_for("send_join")
    assert ok(await bob.get("/joined_rooms")) == {"joined_rooms": []}


async def test_an_event_id_is_that_of_one_event_also_when_it_was_stored_apart(ours: World, peer: Peer) -> None:
    shared = await Shared.of(ours, peer, "1")
    room, creator = shared.room, peer.user("creator")
    # An event that was once allowed, and would not be now: its sender has lost the power.
    room.sets(creator, "m.room.power_levels", {"users": {creator: 100, peer.user("guest"): 50}})
    strong = room.state["m.room.power_levels", ""]
    evil = room.make(peer.user("guest"), "m.room.topic", {"topic": EVIL}, "")
    room.sets(creator, "m.room.power_levels", {"users": {creator: 100}})
    await shared.sends(*room.timeline()[-2:])
    assert strong in set(evil.auth_events)
    # It comes as part of the auth chain of another, where it is judged by what it cites.
    unknown = EventID(f"$unknown:{peer.name}")
    bearer = room.make(creator, "m.room.message", {"body": "x"}, auth=[
        *room.auth_events_for("m.room.message", creator, None, {}), unknown])  # fmt: skip

    async def chain(_peer: Peer, _asked: Asked) -> Reply:
        return {"auth_chain": [wire(evil)]}

    async def state_ids(_peer: Peer, _asked: Asked) -> Reply:
        return {"pdu_ids": [evil.event_id], "auth_chain_ids": []}

    async def one(_peer: Peer, asked: Asked) -> Reply:
        return {"origin": peer.name, "origin_server_ts": 1, "pdus": [wire(evil)]}

    peer.instead |= {"event_auth": chain, "state_ids": state_ids, "event": one}
    peer.instead["missing_events"] = lies.fails(404, "M_NOT_FOUND")
    await shared.sends(bearer)
    peer.instead.clear()
    # Then another with its ID comes, that is allowed.
    fields = wire(room.make(creator, "m.room.topic", {"topic": "good"}, ""))
    await shared.sends(signed_again({**fields, "event_id": evil.event_id}, room.version, peer.name, peer.key))
    await shared.still_talks()


async def test_no_server_has_the_events_of_others_rejected_by_a_state_that_it_invents(
    ours: World, peer: Peer, authority: Authority
) -> None:
    shared = await Shared.of(ours, peer)
    room, creator = shared.room, peer.user("creator")
    async with Peer.start(authority) as liar:
        ghost = liar.user("ghost")
        room.key_of = lambda server: liar.key if server == liar.name else peer.key
        room.member(ghost, ghost, "join")
        await liar.sends(ours.name, [room.events[room.heads[0]]])
        missed = room.says(creator, "what is missed")
        good = room.says(creator, "what comes after it")
        create = room.state["m.room.create", ""]

        async def ids(_peer: Peer, _asked: Asked) -> Reply:
            return {"pdu_ids": [create], "auth_chain_ids": []}

        liar.instead |= {"state_ids": ids}
        for ability in ("missing_events", "event", "event_auth", "state", "backfill"):
            liar.instead[ability] = lies.fails(404, "M_NOT_FOUND")
        await liar.sends(ours.name, [good])
        assert (await shared.sends(missed, good)) == {missed.event_id: {}, good.event_id: {}}
        await shared.ear.hears(room.room_id, good.event_id)


async def test_receipts_in_threads_that_an_event_is_not_in_are_not_kept(ours: World, peer: Peer) -> None:
    shared = await Shared.of(ours, peer)
    guest = peer.user("guest")
    event = shared.room.says(guest, "hello")
    await shared.sends(event)
    for number in range(3):
        edus = [
            {"edu_type": "m.receipt", "content": {shared.room.room_id: {"m.read": {guest: {
                "event_ids": [event.event_id], "data": {"ts": 5, "thread_id": f"${number}x{each}:{peer.name}"}}}}}}
            for each in range(100)
        ]  # fmt: skip
        await peer.sends(ours.name, [], edus)
    count = await ours.app.db.read(lambda conn: conn.exec_driver_sql("SELECT count(*) FROM receipts").scalar_one())
    assert count < 10


async def test_integers_of_any_size_do_not_keep_a_transaction_out(ours: World, peer: Peer) -> None:
    shared = await Shared.of(ours, peer, "1")
    creator = peer.user("creator")
    event = shared.room.make(creator, "m.room.message", {"msgtype": "m.text", "body": "large", "n": 2**80})
    shared.room.add(event)
    good = shared.room.says(creator, "good")
    typing = {"edu_type": "m.typing", "content": {"room_id": shared.room.room_id, "user_id": 2**80, "typing": True}}
    message = {"edu_type": "m.direct_to_device", "content": {
        "sender": creator, "type": "org.example.n", "message_id": "1",
        "messages": {shared.alice.user_id: {"*": {"n": 2**80}}},
    }}  # fmt: skip
    status, answer = await peer.sends(ours.name, [event, good], [typing, message])
    assert (status, answer) == (200, {"pdus": {event.event_id: {}, good.event_id: {}}})
    await shared.ear.hears(shared.room.room_id, good.event_id)


async def test_an_invite_with_integers_of_any_size_is_answered(ours: World, peer: Peer) -> None:
    alice = await ours.user("alice")
    room = peer.creates_room("5", join_rule="invite")
    event = room.make(peer.user("creator"), MEMBER, {"membership": "invite", "n": 2**80}, alice.user_id)
    assert (await peer.asks_for_invite(room, event, ours.name))[0] == 200
    told = [{"type": "m.room.name", "state_key": "", "sender": peer.user("creator"), "content": {"n": 2**80}}]
    status, answer = await peer.asks_for_invite(room, event, ours.name, invite_room_state=told)
    assert (status, answer["errcode"]) == (400, "M_INVALID_PARAM")
    told[0]["content"] = {"name": "x" * 2**20}
    status, answer = await peer.asks_for_invite(room, event, ours.name, invite_room_state=told)
    assert (status, answer["errcode"]) == (413, "M_TOO_LARGE")
