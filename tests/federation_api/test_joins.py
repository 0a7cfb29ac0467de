"""Users of other servers join rooms through ours."""

from typing import Any

import pytest

from federation.core.events.pdu import Pdu
from federation.core.ids import RoomID
from federation.core.room_versions import ROOM_VERSIONS
from federation.core.signing import key_ids_of
from tests.federation_api.asking import Asking
from tests.federation_api.rooms import ALL, completed, memberships, offered, pdus, public_room
from tests.support.certificates import Authority
from tests.support.peer import Peer
from tests.support.shared_room import wire
from tests.support.waiting import until
from tests.support.world import User, World, ok, q, refused


@pytest.mark.parametrize("version", ALL)
async def test_a_user_of_another_server_joins_a_room_of_any_version(
    peer: Peer, ours: World, alice: User, version: str
) -> None:
    room_id = await public_room(alice, version)
    bob = peer.user("bob")
    room = await peer.joins(bob, room_id, ours.name)
    assert room.membership(alice.user_id) == room.membership(bob) == "join"
    assert await memberships(alice, room_id) == {alice.user_id: "join", bob: "join"}


async def test_the_state_is_that_before_the_join_and_its_auth_chain_is_whole(asks: Asking, alice: User) -> None:
    room_id = await public_room(alice, name="Hall")
    await alice.sets(room_id, "m.room.topic", {"topic": "first"})
    await alice.sets(room_id, "m.room.topic", {"topic": "second"})
    bob = asks.peer.user("bob")
    join = await offered(asks, "join", room_id, bob)
    answer = ok(await asks.send("join", join))

    version = ROOM_VERSIONS["12"]
    state = {(pdu := Pdu.from_wire(each, version)).slot: pdu for each in answer["state"]}
    assert state["m.room.topic", ""].content == {"topic": "second"}
    assert ("m.room.member", bob) not in state
    assert not answer["members_omitted"]
    known = {Pdu.from_wire(each, version).event_id for each in answer["auth_chain"]}
    for pdu in [*state.values(), join, *(Pdu.from_wire(each, version) for each in answer["auth_chain"])]:
        assert set(pdu.auth_events) <= known
    assert ("$" + room_id[1:]) in known
    assert Pdu.from_wire(answer["event"], version).event_id == join.event_id


async def test_what_was_told_has_nothing_that_is_not_part_of_the_events(asks: Asking, alice: User) -> None:
    room_id = await public_room(alice)
    answer = ok(await asks.send("join", await offered(asks, "join", room_id, asks.peer.user("bob"))))
    for each in [answer["event"], *answer["state"], *answer["auth_chain"]]:
        assert "unsigned" not in each
        assert "event_id" not in each


async def test_joining_again_with_the_same_event_gives_the_same_answer(asks: Asking, alice: User) -> None:
    room_id = await public_room(alice)
    join = await offered(asks, "join", room_id, asks.peer.user("bob"))
    first = ok(await asks.send("join", join))
    await alice.says(room_id)
    second = ok(await asks.send("join", join))
    assert sorted(map(str, first["state"])) == sorted(map(str, second["state"]))


# Leaving members out


async def test_members_are_left_out_if_the_other_server_wants_that(asks: Asking, ours: World, alice: User) -> None:
    room_id = await public_room(alice, name="Hall")
    for name in ("carol", "dave"):
        await (await ours.user(name)).joins(room_id)
    join = await offered(asks, "join", room_id, asks.peer.user("bob"))
    answer = ok(await asks.send("join", join, omit_members="true"))
    assert answer["members_omitted"] is True
    assert answer["servers_in_room"] == [ours.name]
    assert not [each for each in answer["state"] if each["type"] == "m.room.member"]
    version = ROOM_VERSIONS["12"]
    told = [Pdu.from_wire(each, version).event_id for each in [*answer["state"], *answer["auth_chain"]]]
    assert len(told) == len(set(told))
    # Alice authorises the state, and nobody else.
    members = [each["state_key"] for each in answer["auth_chain"] if each["type"] == "m.room.member"]
    assert members == [alice.user_id]


async def test_the_members_after_whom_a_room_is_called_are_told(asks: Asking, ours: World, alice: User) -> None:
    room_id = await public_room(alice)
    people = [await ours.user(f"user{number}") for number in range(6)]
    for one in people:
        await one.joins(room_id)
    join = await offered(asks, "join", room_id, asks.peer.user("bob"))
    answer = ok(await asks.send("join", join, omit_members="true"))
    members = {each["state_key"] for each in answer["state"] if each["type"] == "m.room.member"}
    assert members == {alice.user_id, *(one.user_id for one in people[:4])}


# Rooms that do not let in


async def test_a_room_that_is_not_here_cannot_be_joined(asks: Asking, alice: User) -> None:
    bob = asks.peer.user("bob")
    refused(await asks.make("join", "!nowhere:example.org", bob, *ALL), 404, "M_NOT_FOUND")
    room = asks.peer.creates_room("11")
    refused(await asks.send("join", room.make(bob, "m.room.member", {"membership": "join"}, bob)), 404, "M_NOT_FOUND")


async def test_a_room_that_all_of_us_have_left_cannot_be_joined_here(asks: Asking, alice: User) -> None:
    room_id = await public_room(alice)
    ok(await alice.post(f"/rooms/{q(room_id)}/leave"))
    refused(await asks.make("join", room_id, asks.peer.user("bob"), *ALL), 404, "M_NOT_FOUND")


async def test_who_does_not_speak_the_version_is_told_it(asks: Asking, alice: User) -> None:
    room_id = await public_room(alice, "10")
    for versions in ((), ("9", "11")):
        answer = await asks.make("join", room_id, asks.peer.user("bob"), *versions)
        assert refused(answer, 400, "M_INCOMPATIBLE_ROOM_VERSION")["room_version"] == "10"


async def test_nobody_joins_a_room_uninvited_that_wants_invites(asks: Asking, alice: User) -> None:
    room_id = RoomID(await alice.creates_room(preset="private_chat"))
    bob = asks.peer.user("bob")
    refused(await asks.make("join", room_id, bob, *ALL), 403, "M_FORBIDDEN")

    template = await hall_offer(asks, alice)
    room = asks.peer.room("12", room_id)
    state = {(each["type"], each["state_key"]): each for each in ok(await alice.get(f"/rooms/{q(room_id)}/state"))}
    wanted = [("m.room.power_levels", ""), ("m.room.join_rules", "")]
    join = room.make(
        bob, "m.room.member", {"membership": "join"}, bob, auth=[state[slot]["event_id"] for slot in wanted],
        prev=[await alice.says(room_id)], depth=template["depth"],
    )  # fmt: skip
    refused(await asks.send("join", join), 403, "M_FORBIDDEN")
    assert bob not in await memberships(alice, room_id)


async def hall_offer(asks: Asking, alice: User) -> Any:
    """Return what is offered for another room of Alice's."""
    return ok(await asks.make("join", await public_room(alice), asks.peer.user("bob"), *ALL))["event"]


async def test_the_banned_do_not_join(asks: Asking, alice: User) -> None:
    room_id = await public_room(alice)
    bob = asks.peer.user("bob")
    join = await offered(asks, "join", room_id, bob)
    ok(await alice.post(f"/rooms/{q(room_id)}/ban", {"user_id": bob}))
    refused(await asks.make("join", room_id, bob, *ALL), 403, "M_FORBIDDEN")
    refused(await asks.send("join", join), 403, "M_FORBIDDEN")
    assert (await memberships(alice, room_id))[bob] == "ban"


async def test_a_server_that_the_room_refuses_gets_nothing(asks: Asking, alice: User) -> None:
    room_id = await public_room(alice)
    bob = asks.peer.user("bob")
    join = await offered(asks, "join", room_id, bob)
    await alice.sets(room_id, "m.room.server_acl", {"allow": ["*"], "deny": ["localhost"]})
    for what in ("join", "leave", "knock"):
        refused(await asks.make(what, room_id, bob, *ALL), 403, "M_FORBIDDEN")
    refused(await asks.send("join", join), 403, "M_FORBIDDEN")


async def test_a_room_for_its_own_server_only_lets_no_other_in(asks: Asking, alice: User) -> None:
    room_id = await public_room(alice, creation_content={"m.federate": False})
    refused(await asks.make("join", room_id, asks.peer.user("bob"), *ALL), 403, "M_FORBIDDEN")


# Events that are not what they must be


async def test_nobody_joins_for_users_of_other_servers(asks: Asking, alice: User) -> None:
    room_id = await public_room(alice)
    refused(await asks.make("join", room_id, "@bob:elsewhere.example", *ALL), 403, "M_FORBIDDEN")


async def test_what_is_handed_over_must_be_a_join_of_its_sender(asks: Asking, alice: User) -> None:
    room_id = await public_room(alice)
    bob, carol = asks.peer.user("bob"), asks.peer.user("carol")
    room = asks.peer.room("12", room_id)
    offer = ok(await asks.make("join", room_id, bob, *ALL))["event"]
    at: dict[str, Any] = {"prev": offer["prev_events"], "auth": offer["auth_events"], "depth": offer["depth"]}
    wrong = [
        room.make(bob, "m.room.member", {"membership": "leave"}, bob, **at),
        room.make(bob, "m.room.member", {"membership": "join"}, carol, **at),
        room.make(bob, "m.room.topic", {"membership": "join"}, bob, **at),
        room.make(bob, "m.room.member", {"membership": "join"}, None, **at),
    ]
    for event in wrong:
        refused(await asks.send("join", event), 400, "M_INVALID_PARAM")
    join = completed(room, offer)
    refused(await asks.send("join", join, "$another"), 400, "M_INVALID_PARAM")
    elsewhere = await public_room(alice)
    path = f"/v2/send_join/{q(elsewhere)}/{q(join.event_id)}"
    refused(await asks.put(path, wire(join)), 400, "M_INVALID_PARAM")
    refused(await asks.put(f"/v2/send_join/{q(room_id)}/{q(join.event_id)}", {}), 400, "M_INVALID_PARAM")


async def test_a_join_without_a_good_signature_is_not_taken(asks: Asking, alice: User) -> None:
    room_id = await public_room(alice)
    join = await offered(asks, "join", room_id, asks.peer.user("bob"))
    fields = wire(join)
    forged = {**fields, "signatures": {asks.peer.name: {asks.peer.key.key_id: "A" * 86}}}
    unsigned = {**fields, "signatures": {}}
    other_content = {**fields, "content": {**fields["content"], "displayname": "Somebody"}}
    for event in (forged, unsigned, other_content):
        refused(await asks.send("join", event, join.event_id), 400, "M_INVALID_PARAM")
    ok(await asks.send("join", join))


async def test_a_join_on_top_of_unknown_events_is_not_taken(asks: Asking, alice: User) -> None:
    room_id = await public_room(alice)
    bob = asks.peer.user("bob")
    offer = ok(await asks.make("join", room_id, bob, *ALL))["event"]
    offer["prev_events"] = ["$" + "A" * 43]
    join = completed(asks.peer.room("12", room_id), offer)
    refused(await asks.send("join", join), 400, "M_INVALID_PARAM")


# Restricted rooms


async def restricted_room(alice: User, *allowed: str, version: str = "12", **content: Any) -> RoomID:
    """Let Alice create a room that members of others may join."""
    allow = [{"type": "m.room_membership", "room_id": room_id} for room_id in allowed]
    rules = {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "restricted", "allow": allow}}
    return RoomID(await alice.creates_room(room_version=version, initial_state=[rules], **content))


@pytest.mark.parametrize("version", ["8", "9", "10", "11", "12"])
async def test_members_of_an_allowed_room_join_and_our_server_signs_for_them(
    asks: Asking, ours: World, alice: User, version: str
) -> None:
    hall = await public_room(alice)
    room_id = await restricted_room(alice, hall, version=version)
    bob = asks.peer.user("bob")
    await asks.peer.joins(bob, hall, ours.name)
    join = await offered(asks, "join", room_id, bob)
    assert join.content["join_authorised_via_users_server"] == alice.user_id
    answer = ok(await asks.send("join", join))
    assert key_ids_of(answer["event"], ours.name)
    assert key_ids_of(answer["event"], asks.peer.name)
    assert (await memberships(alice, room_id))[bob] == "join"


async def test_who_is_in_no_allowed_room_does_not_join(asks: Asking, alice: User) -> None:
    room_id = await restricted_room(alice, await public_room(alice))
    bob = asks.peer.user("bob")
    refused(await asks.make("join", room_id, bob, *ALL), 403, "M_FORBIDDEN")
    nothing_allowed = await restricted_room(alice)
    refused(await asks.make("join", nothing_allowed, bob, *ALL), 403, "M_FORBIDDEN")


async def test_a_condition_that_is_met_no_more_lets_nobody_in(asks: Asking, ours: World, alice: User) -> None:
    hall = await public_room(alice)
    room_id = await restricted_room(alice, hall)
    bob = asks.peer.user("bob")
    await asks.peer.joins(bob, hall, ours.name)
    join = await offered(asks, "join", room_id, bob)
    ok(await alice.post(f"/rooms/{q(hall)}/kick", {"user_id": bob}))
    refused(await asks.send("join", join), 403, "M_FORBIDDEN")


async def test_our_server_says_if_it_cannot_know_whether_somebody_may_join(asks: Asking, alice: User) -> None:
    room_id = await restricted_room(alice, "!elsewhere:example.org", await public_room(alice))
    answer = await asks.make("join", room_id, asks.peer.user("bob"), *ALL)
    refused(answer, 400, "M_UNABLE_TO_AUTHORISE_JOIN")


async def test_our_server_says_if_another_one_has_to_let_somebody_in(asks: Asking, ours: World, alice: User) -> None:
    hall = await public_room(alice)
    room_id = await restricted_room(alice, hall, version="11", power_level_content_override={"invite": 50})
    bob, carol = asks.peer.user("bob"), asks.peer.user("carol")
    for one in (bob, carol):
        await asks.peer.joins(one, hall, ours.name)
    await asks.peer.joins(carol, room_id, ours.name)
    levels = ok(await alice.get(f"/rooms/{q(room_id)}/state/m.room.power_levels"))
    await alice.sets(room_id, "m.room.power_levels", {**levels, "users": {carol: 50, alice.user_id: 49}, "invite": 50})
    refused(await asks.make("join", room_id, bob, *ALL), 400, "M_UNABLE_TO_GRANT_JOIN")


async def test_the_invited_join_a_restricted_room_without_anybodys_word(asks: Asking, ours: World, alice: User) -> None:
    bob = asks.peer.user("bob")
    hall = await public_room(alice)
    room_id = await restricted_room(alice, hall)
    ok(await alice.post(f"/rooms/{q(room_id)}/invite", {"user_id": bob}))
    join = await offered(asks, "join", room_id, bob)
    assert "join_authorised_via_users_server" not in join.content
    ok(await asks.send("join", join))


# The rest of the room


async def test_the_other_servers_in_the_room_are_sent_the_join(
    asks: Asking, authority: Authority, ours: World, alice: User
) -> None:
    room_id = await public_room(alice)
    async with Peer.start(authority) as third:
        await third.joins(third.user("carol"), room_id, ours.name)
        join = await offered(asks, "join", room_id, asks.peer.user("bob"))
        signed = ok(await asks.send("join", join))["event"]
        await until(lambda: signed in third.pdus)
        said = await alice.says(room_id)
        await until(lambda: len(asks.peer.pdus) > 0)
        # Who has handed it over has it; what came after it is told to both.
        assert signed not in asks.peer.pdus
        await until(lambda: any(each["type"] == "m.room.message" for each in third.pdus))
        assert said


async def test_a_join_brings_branches_together(asks: Asking, ours: World, alice: User) -> None:
    peer, bob, carol = asks.peer, asks.peer.user("bob"), asks.peer.user("carol")
    room_id = await public_room(alice, power_level_content_override={"state_default": 0})
    room = await peer.joins(bob, room_id, ours.name)
    await alice.sets(room_id, "m.room.topic", {"topic": "ours"})
    branch = room.sets(bob, "org.example.note", {"note": "theirs"})
    assert await peer.delivers(ours.name, branch) == {branch.event_id: {}}

    join = await offered(asks, "join", room_id, carol)
    assert len(join.prev_events) == 2
    told = {pdu.type: pdu.content for pdu in pdus(ok(await asks.send("join", join))["state"]).values()}
    assert told["m.room.topic"] == {"topic": "ours"}
    assert told["org.example.note"] == {"note": "theirs"}
    state = {pdu.slot for pdu in pdus(ok(await asks.state(room_id, join.event_id))["pdus"]).values()}
    assert ("m.room.member", carol) not in state
    assert ("m.room.member", bob) in state
    past = pdus(ok(await asks.backfill(room_id, join.event_id, limit=3))["pdus"])
    assert {*join.prev_events, join.event_id} == past.keys()
