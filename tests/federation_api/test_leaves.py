"""Users of other servers leave rooms, turn down invites and take back knocks through our server."""

from federation.core.ids import RoomID
from tests.federation_api.asking import Asking
from tests.federation_api.rooms import ALL, completed, memberships, offered, public_room
from tests.support.world import User, World, ok, q, refused


async def test_who_is_in_a_room_leaves_it(asks: Asking, ours: World, alice: User) -> None:
    room_id, bob = await public_room(alice), asks.peer.user("bob")
    await asks.peer.joins(bob, room_id, ours.name)
    assert ok(await asks.send("leave", await offered(asks, "leave", room_id, bob))) == {}
    assert (await memberships(alice, room_id))[bob] == "leave"


async def test_who_is_invited_declines(asks: Asking, alice: User) -> None:
    room_id, bob = RoomID(await alice.creates_room(preset="private_chat")), asks.peer.user("bob")
    ok(await alice.post(f"/rooms/{q(room_id)}/invite", {"user_id": bob}))
    ok(await asks.send("leave", await offered(asks, "leave", room_id, bob, reason="no time")))
    left = ok(await alice.get(f"/rooms/{q(room_id)}/state/m.room.member/{q(bob)}"))
    assert left == {"membership": "leave", "reason": "no time"}


async def test_who_knocked_takes_it_back(asks: Asking, alice: User) -> None:
    room_id, bob = await public_room(alice), asks.peer.user("bob")
    await alice.sets(room_id, "m.room.join_rules", {"join_rule": "knock"})
    ok(await asks.send("knock", await offered(asks, "knock", room_id, bob)))
    ok(await asks.send("leave", await offered(asks, "leave", room_id, bob)))
    assert (await memberships(alice, room_id))[bob] == "leave"


async def test_who_has_nothing_to_do_with_a_room_does_not_leave_it(asks: Asking, alice: User) -> None:
    room_id, bob = await public_room(alice), asks.peer.user("bob")
    refused(await asks.make("leave", room_id, bob), 403, "M_FORBIDDEN")
    refused(await asks.make("leave", "!nowhere:example.org", bob), 404, "M_NOT_FOUND")


async def test_a_join_is_no_leave_and_nobody_leaves_for_others(asks: Asking, ours: World, alice: User) -> None:
    room_id, bob, carol = await public_room(alice), asks.peer.user("bob"), asks.peer.user("carol")
    refused(await asks.send("leave", await offered(asks, "join", room_id, bob)), 400, "M_INVALID_PARAM")
    for one in (bob, carol):
        await asks.peer.joins(one, room_id, ours.name)
    offer = ok(await asks.make("leave", room_id, bob))["event"]
    kick = completed(asks.peer.rooms[room_id], {**offer, "state_key": carol})
    refused(await asks.send("leave", kick), 400, "M_INVALID_PARAM")
    refused(await asks.make("leave", room_id, alice.user_id, *ALL), 403, "M_FORBIDDEN")


async def test_nobody_leaves_twice(asks: Asking, ours: World, alice: User) -> None:
    room_id, bob = await public_room(alice), asks.peer.user("bob")
    await asks.peer.joins(bob, room_id, ours.name)
    leave = await offered(asks, "leave", room_id, bob)
    another = await offered(asks, "leave", room_id, bob, reason="another")
    ok(await asks.send("leave", leave))
    ok(await asks.send("leave", leave))
    refused(await asks.send("leave", another), 403, "M_FORBIDDEN")
