"""Users of other servers invite ours into rooms, most of which our server is not in."""

from typing import Any

import pytest

from federation.core.events.pdu import Pdu
from federation.core.signing import key_ids_of
from tests.federation_api.asking import Asking
from tests.federation_api.rooms import ALL, memberships, public_room
from tests.support.certificates import Authority
from tests.support.peer import Peer, q
from tests.support.shared_room import SharedRoom, wire
from tests.support.world import User, World, ok, refused


def a_room(peer: Peer, version: str = "12", **settings: Any) -> SharedRoom:
    """Return a room of the peer's that wants invites."""
    return peer.creates_room(version, join_rule="invite", name="Hall", **settings)


def invite(peer: Peer, room: SharedRoom, target: str, **content: Any) -> Pdu:
    """Return an invite that is not in the room yet."""
    return room.make(peer.user("creator"), "m.room.member", {"membership": "invite", **content}, target)


async def invites_of(user: User) -> dict[str, dict[str, Any]]:
    """Return the content of the stripped state of each room that a user is invited to, by type."""
    rooms = (await user.syncs()).get("rooms", {}).get("invite", {})
    return {
        room_id: {each["type"]: each["content"] for each in room["invite_state"]["events"]}
        for room_id, room in rooms.items()
    }


@pytest.mark.parametrize("version", ALL)
async def test_a_user_is_invited_to_a_room_of_any_version(peer: Peer, ours: World, alice: User, version: str) -> None:
    room = a_room(peer, version)
    signed = await peer.invites_user(room, peer.user("creator"), alice.user_id, ours.name)
    assert key_ids_of(signed.fields, ours.name)
    assert key_ids_of(signed.fields, peer.name)
    told = (await invites_of(alice))[room.room_id]
    assert told["m.room.name"] == {"name": "Hall"}
    assert told["m.room.join_rules"] == {"join_rule": "invite"}
    assert told["m.room.create"]["room_version"] == version
    assert told["m.room.member"]["membership"] == "invite"


async def test_an_invite_wakes_who_waits_for_it(asks: Asking, ours: World, alice: User) -> None:
    assert await invites_of(alice) == {}
    room = a_room(asks.peer)
    await asks.peer.invites_user(room, asks.peer.user("creator"), alice.user_id, ours.name)
    assert list(await invites_of(alice)) == [room.room_id]
    assert await invites_of(alice) == {}


async def test_the_same_invite_twice_is_one(asks: Asking, alice: User) -> None:
    room = a_room(asks.peer)
    event = invite(asks.peer, room, alice.user_id)
    for _ in range(2):
        ok(await asks.peer.asks_for_invite(room, event, asks.whom))
    assert list(await invites_of(alice)) == [room.room_id]
    assert await invites_of(alice) == {}


@pytest.mark.parametrize("version", ["1", "2"])
async def test_old_servers_invite_in_the_old_way(asks: Asking, alice: User, version: str) -> None:
    room = a_room(asks.peer, version)
    event = invite(asks.peer, room, alice.user_id)
    told = [{name: each[name] for name in ("type", "state_key", "sender", "content")} for each in asks.peer.told(room)]
    body = {**wire(event), "unsigned": {"invite_room_state": told}}
    path = f"/v1/invite/{q(room.room_id)}/{q(event.event_id)}"
    status, answer = ok(await asks.put(path, body))
    assert status == 200
    assert key_ids_of(answer["event"], asks.whom)
    assert answer["event"]["unsigned"] == body["unsigned"]
    assert (await invites_of(alice))[room.room_id]["m.room.name"] == {"name": "Hall"}


async def test_an_invite_into_a_room_that_we_are_in_is_signed_and_comes_with_the_room(
    asks: Asking, ours: World, alice: User
) -> None:
    peer, carol, bob = asks.peer, await ours.user("carol"), asks.peer.user("bob")
    room_id = await public_room(alice, power_level_content_override={"invite": 0})
    room = await peer.joins(bob, room_id, ours.name)
    event = room.make(bob, "m.room.member", {"membership": "invite"}, carol.user_id)
    answer = ok(await peer.asks_for_invite(room, event, ours.name))
    assert key_ids_of(answer["event"], ours.name)
    assert await invites_of(carol) == {}

    signed = Pdu.from_wire(answer["event"], room.version)
    assert await peer.delivers(ours.name, signed) == {signed.event_id: {}}
    assert list(await invites_of(carol)) == [room_id]
    assert (await memberships(alice, room_id))[carol.user_id] == "invite"


async def test_who_is_in_the_room_is_not_invited_to_it(asks: Asking, ours: World, alice: User) -> None:
    room_id = await public_room(alice)
    bob = asks.peer.user("bob")
    room = await asks.peer.joins(bob, room_id, ours.name)
    event = room.make(bob, "m.room.member", {"membership": "invite"}, alice.user_id)
    refused(await asks.peer.asks_for_invite(room, event, ours.name), 403, "M_FORBIDDEN")


async def test_a_server_that_the_room_refuses_invites_nobody(asks: Asking, ours: World, alice: User) -> None:
    room_id, carol = await public_room(alice), await ours.user("carol")
    bob = asks.peer.user("bob")
    room = await asks.peer.joins(bob, room_id, ours.name)
    await alice.sets(room_id, "m.room.server_acl", {"allow": ["*"], "deny": ["localhost"]})
    event = room.make(bob, "m.room.member", {"membership": "invite"}, carol.user_id)
    refused(await asks.peer.asks_for_invite(room, event, ours.name), 403, "M_FORBIDDEN")


# Users who cannot be invited


async def test_who_takes_no_invites_gets_none(asks: Asking, alice: User) -> None:
    path = f"/user/{q(alice.user_id)}/account_data/m.invite_permission_config"
    ok(await alice.put(path, {"default_action": "block"}))
    room = a_room(asks.peer)
    event = invite(asks.peer, room, alice.user_id)
    refused(await asks.peer.asks_for_invite(room, event, asks.whom), 403, "M_INVITE_BLOCKED")
    assert await invites_of(alice) == {}


async def test_who_does_not_exist_or_lives_elsewhere_is_not_invited(asks: Asking, alice: User) -> None:
    room = a_room(asks.peer)
    nobody = invite(asks.peer, room, f"@nobody:{asks.whom}")
    refused(await asks.peer.asks_for_invite(room, nobody, asks.whom), 403, "M_FORBIDDEN")
    for target in (asks.peer.user("bob"), "nonsense"):
        event = invite(asks.peer, room, target)
        refused(await asks.peer.asks_for_invite(room, event, asks.whom), 400, "M_INVALID_PARAM")


# Invites that are not what they must be


async def test_a_version_that_we_do_not_speak_is_said_to_be_so(asks: Asking, alice: User) -> None:
    room = a_room(asks.peer)
    event = invite(asks.peer, room, alice.user_id)
    answer = await asks.peer.asks_for_invite(room, event, asks.whom, room_version="org.example.13")
    assert refused(answer, 400, "M_INCOMPATIBLE_ROOM_VERSION")["room_version"] == "org.example.13"
    answer = await asks.peer.asks_for_invite(room, event, asks.whom, room_version="11")
    refused(answer, 400, "M_INVALID_PARAM")


async def test_only_invites_of_the_servers_own_users_are_signed(asks: Asking, alice: User) -> None:
    peer, room = asks.peer, a_room(asks.peer)
    creator = peer.user("creator")
    for event in (
        room.make(creator, "m.room.member", {"membership": "ban"}, alice.user_id),
        room.make(creator, "m.room.message", {"membership": "invite"}, alice.user_id),
        room.make(creator, "m.room.member", {"membership": "invite"}),
    ):
        refused(await peer.asks_for_invite(room, event, asks.whom), 400, "M_INVALID_PARAM")

    good = invite(peer, room, alice.user_id)
    unsigned = {**wire(good), "signatures": {}}
    forged = {**wire(good), "sender": "@eve:elsewhere.example"}
    changed = {**wire(good), "content": {"membership": "invite", "reason": "added later"}}
    for fields in (unsigned, forged, changed):
        refused(await peer.asks_for_invite(room, fields, asks.whom), 400, "M_INVALID_PARAM")

    path = f"/v2/invite/{q(room.room_id)}/{q('$' + 'A' * 43)}"
    body = {"room_version": "12", "event": wire(good), "invite_room_state": peer.told(room)}
    refused(await asks.put(path, body), 400, "M_INVALID_PARAM")
    path = f"/v2/invite/{q('!' + 'A' * 43)}/{q(good.event_id)}"
    refused(await asks.put(path, body), 400, "M_INVALID_PARAM")
    refused(await asks.put(path, {"event": wire(good)}), 400, "M_MISSING_PARAM")
    assert await invites_of(alice) == {}


async def test_what_is_told_of_a_new_room_must_be_true(asks: Asking, alice: User) -> None:
    peer, room, other = asks.peer, a_room(asks.peer), a_room(asks.peer, purpose="another")
    event = invite(peer, room, alice.user_id)
    told = peer.told(room)
    forged = {**told[1], "signatures": {peer.name: {peer.key.key_id: "A" * 86}}}
    stripped = {name: told[1][name] for name in ("type", "state_key", "sender", "content")}
    for state in (
        [],
        told[1:],
        [told[0], forged],
        [told[0], stripped],
        [told[0], peer.told(other)[1]],
        peer.told(other),
        [told[0], "nonsense"],
        [told[0], wire(room.says(peer.user("creator")))],
        [told[0]] * 101,
    ):
        answer = await peer.asks_for_invite(room, event, asks.whom, invite_room_state=state)
        refused(answer, 400, "M_INVALID_PARAM")
    assert await invites_of(alice) == {}


async def test_what_is_told_of_an_old_room_may_be_of_the_old_form(asks: Asking, alice: User) -> None:
    peer, room = asks.peer, a_room(asks.peer, "11")
    event = invite(peer, room, alice.user_id)
    name = {"type": "m.room.name", "state_key": "", "sender": "@x:y", "content": {"name": "Hall"}, "event_id": "$x"}
    state = [name, "nonsense", {"type": 1}, {**name, "content": "none"}]
    ok(await peer.asks_for_invite(room, event, asks.whom, invite_room_state=state))
    told = (await invites_of(alice))[room.room_id]
    assert set(told) == {"m.room.name", "m.room.member"}


async def test_who_left_a_room_is_invited_back(asks: Asking, ours: World, alice: User) -> None:
    room_id, bob = await public_room(alice), asks.peer.user("bob")
    room = await asks.peer.joins(bob, room_id, ours.name)
    await alice.says(room_id)
    left = ok(await alice.post(f"/rooms/{q(room_id)}/leave"))
    assert left == {}
    await alice.syncs()
    event = room.make(bob, "m.room.member", {"membership": "invite"}, alice.user_id)
    ok(await asks.peer.asks_for_invite(room, event, ours.name))
    assert list(await invites_of(alice)) == [room_id]


@pytest.mark.parametrize(("told", "true"), [("9", "11"), ("1", "10"), ("11", "2")])
async def test_who_lies_about_a_rooms_version_keeps_nobody_out_of_it(
    asks: Asking, authority: Authority, ours: World, alice: User, told: str, true: str
) -> None:
    peer, room = asks.peer, asks.peer.creates_room(true, join_rule="invite", name="Hall")
    bob = await ours.user("bob")
    async with Peer.start(authority) as liar:
        lie = liar.room(told, room.room_id)
        for target in (alice, bob):
            event = lie.make(liar.user("eve"), "m.room.member", {"membership": "invite"}, target.user_id)
            ok(await liar.asks_for_invite(lie, event, ours.name, invite_room_state=[]))
    assert list(await invites_of(bob)) == [room.room_id]

    await peer.invites_user(room, peer.user("creator"), alice.user_id, ours.name)
    assert (await invites_of(alice))[room.room_id]["m.room.name"] == {"name": "Hall"}
    ok(await alice.post(f"/join/{q(room.room_id)}", via=peer.name))
    assert (await memberships(alice, room.room_id))[alice.user_id] == "join"
