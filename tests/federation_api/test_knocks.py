"""Users of other servers knock on rooms through our server."""

from federation.core.ids import RoomID
from tests.federation_api.asking import Asking
from tests.federation_api.rooms import completed, memberships, offered, pdus, public_room
from tests.support.world import User, World, ok, refused

KNOCKING = ("7", "8", "9", "10", "11", "12")


async def room_to_knock_on(alice: User, version: str = "12") -> RoomID:
    """Let Alice create a room that wants a knock."""
    room_id = await public_room(alice, version, name="Hall")
    await alice.sets(room_id, "m.room.join_rules", {"join_rule": "knock"})
    return room_id


async def test_a_knock_is_in_the_room_and_the_knocker_is_told_what_the_room_is(asks: Asking, alice: User) -> None:
    room_id, bob = await room_to_knock_on(alice), asks.peer.user("bob")
    knock = await offered(asks, "knock", room_id, bob, reason="let me in")
    told = pdus(ok(await asks.send("knock", knock))["knock_room_state"])
    content = {pdu.type: pdu.content for pdu in told.values()}
    assert content["m.room.name"] == {"name": "Hall"}
    assert content["m.room.join_rules"] == {"join_rule": "knock"}
    assert "$" + room_id[1:] in told
    assert (await memberships(alice, room_id))[bob] == "knock"


async def test_whoever_knocked_is_let_in(asks: Asking, ours: World, alice: User) -> None:
    room_id, bob = await room_to_knock_on(alice), asks.peer.user("bob")
    await asks.peer.knocks(bob, room_id, ours.name)
    assert (await memberships(alice, room_id))[bob] == "knock"


async def test_a_version_is_to_be_named(asks: Asking, alice: User) -> None:
    room_id, bob = await room_to_knock_on(alice), asks.peer.user("bob")
    refused(await asks.make("knock", room_id, bob), 400, "M_MISSING_PARAM")
    answer = refused(await asks.make("knock", room_id, bob, "7", "11"), 400, "M_INCOMPATIBLE_ROOM_VERSION")
    assert answer["room_version"] == "12"


async def test_a_room_that_wants_no_knocks_takes_none(asks: Asking, alice: User) -> None:
    bob = asks.peer.user("bob")
    refused(await asks.make("knock", await public_room(alice), bob, *KNOCKING), 403, "M_FORBIDDEN")
    old = await public_room(alice, "6")
    refused(await asks.make("knock", old, bob, "6", *KNOCKING), 403, "M_FORBIDDEN")
    refused(await asks.make("knock", "!nowhere:example.org", bob, *KNOCKING), 404, "M_NOT_FOUND")


async def test_a_knock_that_came_too_late_is_not_taken(asks: Asking, alice: User) -> None:
    room_id, bob = await room_to_knock_on(alice), asks.peer.user("bob")
    knock = await offered(asks, "knock", room_id, bob)
    await alice.sets(room_id, "m.room.join_rules", {"join_rule": "invite"})
    refused(await asks.send("knock", knock), 403, "M_FORBIDDEN")
    assert bob not in await memberships(alice, room_id)


async def test_a_knock_says_so(asks: Asking, alice: User) -> None:
    room_id, bob = await room_to_knock_on(alice), asks.peer.user("bob")
    offer = ok(await asks.make("knock", room_id, bob, *KNOCKING))["event"]
    leave = completed(asks.peer.room("12", room_id), offer, membership="leave")
    refused(await asks.send("knock", leave), 400, "M_INVALID_PARAM")
