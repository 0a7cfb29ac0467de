"""Rooms of other servers: joined, left and knocked on through whoever helps, and only what is proven is stored."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from federation.core.ids import EventID, RoomID
from homeserver.services import joining
from homeserver.storage.schema.receiving import unfinished_joins
from tests.conftest import DATABASES, POSTGRES
from tests.support import lies
from tests.support.answers import ANSWERS, Answer, Asked, Reply
from tests.support.certificates import Authority
from tests.support.ear import Ear
from tests.support.footprint import footprint
from tests.support.pair import database, federating, free_port
from tests.support.peer import Peer
from tests.support.rooms import VERSIONS
from tests.support.shared_room import SharedRoom, signed_again, wire
from tests.support.waiting import asking, until
from tests.support.world import User, World, ok, q, refused

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
async def alice(ours: World) -> User:
    """Somebody of our server."""
    return await ours.user("alice")


async def join(user: User, room: SharedRoom, *via: str) -> tuple[int, Any]:
    """Ask to join a room."""
    return await user.post(f"/join/{q(room.room_id)}", via=list(via))


def changed(ability: str, change: Callable[[Peer, Asked, dict[str, Any]], object]) -> Answer:
    """Answer as usual, but for a change."""

    async def answer(peer: Peer, asked: Asked) -> Reply:
        reply = await ANSWERS[ability](peer, asked)
        assert isinstance(reply, Mapping)
        body = {**reply}
        change(peer, asked, body)
        return body

    return answer


async def nothing_is_left(ours: World) -> None:
    """Wait until no join is remembered: the user is in the room a moment before."""

    def read(conn: sa.Connection) -> int:
        return int(conn.execute(sa.select(sa.func.count()).select_from(unfinished_joins)).scalar_one())

    await asking(lambda: ours.app.services.db.read(read), lambda left: left == 0)


# Joining


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_room_is_joined_in_every_version(ours: World, alice: User, peer: Peer, version: str) -> None:
    room = peer.creates_room(version, name="Far away")
    before = room.says(peer.user("creator"), "before")
    ear = await Ear.of(alice)
    assert await join(alice, room, peer.name) == (200, {"room_id": room.room_id})
    await ear.is_now(room.room_id, "join")
    assert room.membership(alice.user_id) == "join"

    state = ok(await alice.get(f"/rooms/{q(room.room_id)}/state"))
    assert {(event["type"], event["state_key"]): event["event_id"] for event in state} == dict(room.state)
    said = room.says(peer.user("creator"), "after")
    assert await peer.delivers(ours.name, said) == {said.event_id: {}}
    await ear.hears(room.room_id, said.event_id)
    await peer.gets(await alice.says(room.room_id))
    page = ok(await alice.get(f"/rooms/{q(room.room_id)}/messages", dir="b", limit=50))
    ids = [event["event_id"] for event in page["chunk"]]
    assert before.event_id in ids
    assert ids[-1] == next(iter(room.after)), "the past is there from the room's beginning"
    await nothing_is_left(ours)


async def test_servers_that_do_not_help_are_passed_over(
    ours: World, alice: User, peer: Peer, authority: Authority
) -> None:
    room = peer.creates_room("11")
    async with Peer.start(authority) as other:
        nobody = f"localhost:{free_port()}"
        ok(await join(alice, room, "not a server", nobody, ours.name, other.name, peer.name))
        assert other.asked_for("make_join")


async def test_a_room_is_found_by_its_alias(ours: World, alice: User, peer: Peer) -> None:
    room = peer.creates_room("12")
    peer.aliases[f"#far:{peer.name}"] = room.room_id
    answer = ok(await alice.get(f"/directory/room/{q(f'#far:{peer.name}')}"))
    assert answer == {"room_id": room.room_id, "servers": [peer.name]}
    assert ok(await alice.post(f"/join/{q(f'#far:{peer.name}')}")) == {"room_id": room.room_id}
    refused(await alice.post(f"/join/{q(f'#other:{peer.name}')}"), 404, "M_NOT_FOUND")
    peer.instead["query_directory"] = lies.says({"room_id": "nonsense"})
    refused(await alice.post(f"/join/{q(f'#far:{peer.name}')}"), 502, "M_UNKNOWN")


async def test_an_alias_of_another_server_is_published_if_it_points_to_the_room(alice: User, peer: Peer) -> None:
    room = await alice.creates_room()
    path = f"/rooms/{q(room)}/state/m.room.canonical_alias"
    far, other = f"#far:{peer.name}", f"#other:{peer.name}"
    refused(await alice.put(path, {"alias": far}), 400, "M_BAD_ALIAS")
    peer.aliases.update({far: RoomID(room), other: peer.creates_room("11").room_id})
    ok(await alice.put(path, {"alias": far}))
    refused(await alice.put(path, {"alias": far, "alt_aliases": [other]}), 400, "M_BAD_ALIAS")


async def test_an_invite_says_whom_to_ask(ours: World, alice: User, peer: Peer) -> None:
    room = peer.creates_room("12", join_rule="invite")
    ear = await Ear.of(alice)
    await peer.invites_user(room, peer.user("creator"), alice.user_id, ours.name)
    await ear.is_now(room.room_id, "invite")
    ok(await join(alice, room))
    await ear.is_now(room.room_id, "join")


async def test_a_room_without_a_way_to_it_is_not_found(ours: World, alice: User, peer: Peer) -> None:
    refused(await join(alice, peer.creates_room("12")), 404, "M_NOT_FOUND")
    refused(await join(alice, peer.creates_room("12"), f"localhost:{free_port()}"), 502, "M_UNKNOWN")
    refused(await alice.post(f"/join/{q(f'!nothing:{peer.name}')}"), 404, "M_NOT_FOUND")


async def test_what_a_server_says_against_it_is_passed_on(ours: World, alice: User, peer: Peer) -> None:
    room = peer.creates_room("11")
    before = await footprint(ours)
    peer.instead["make_join"] = lies.fails(403, "M_FORBIDDEN")
    assert refused(await join(alice, room, peer.name), 403, "M_FORBIDDEN")["error"] == "The peer says M_FORBIDDEN"
    peer.instead["make_join"] = lies.fails(400, "M_INCOMPATIBLE_ROOM_VERSION", room_version="99")
    answer = refused(await join(alice, room, peer.name), 400, "M_INCOMPATIBLE_ROOM_VERSION")
    assert answer["room_version"] == "99"
    peer.instead["make_join"] = lies.fails(400, "M_UNABLE_TO_AUTHORISE_JOIN")
    refused(await join(alice, room, peer.name), 400, "M_UNABLE_TO_AUTHORISE_JOIN")
    # What is wrong between servers is nothing that the client could mend.
    peer.instead["make_join"] = lies.fails(400, "M_INVALID_PARAM")
    refused(await join(alice, room, peer.name), 502, "M_UNKNOWN")
    assert await footprint(ours) == before


OFFERS: Mapping[str, Callable[[dict[str, Any]], object]] = {
    "of another version": lambda offer: offer.update(room_version="12"),
    "of an unknown version": lambda offer: offer.update(room_version="99"),
    "of no version that there is": lambda offer: offer.update(room_version=[]),
    "without an event": lambda offer: offer.pop("event"),
    "for another room": lambda offer: offer["event"].update(room_id="!other:example.org"),
    "for another user": lambda offer: offer["event"].update(sender="@other:example.org"),
    "about another user": lambda offer: offer["event"].update(state_key="@other:example.org"),
    "of another type": lambda offer: offer["event"].update(type="m.room.power_levels"),
    "to leave": lambda offer: offer["event"]["content"].update(membership="leave"),
    "with 10,000 previous events": lambda offer: offer["event"].update(
        prev_events=[f"${n:043}" for n in range(10_000)]
    ),
    "with a previous event that is none": lambda offer: offer["event"].update(prev_events=[5]),
    "without auth events": lambda offer: offer["event"].pop("auth_events"),
    "without depth": lambda offer: offer["event"].pop("depth"),
    "with a negative depth": lambda offer: offer["event"].update(depth=-1),
}


@pytest.mark.parametrize("lie", OFFERS)
async def test_an_offer_that_is_none_is_not_signed(ours: World, alice: User, peer: Peer, lie: str) -> None:
    room = peer.creates_room("11")
    before = await footprint(ours)
    peer.instead["make_join"] = changed("make_join", lambda peer, asked, offer: OFFERS[lie](offer))
    refused(await join(alice, room, peer.name), 502, "M_UNKNOWN")
    if lie != "of another version":
        assert not peer.asked_for("send_join")
    assert await footprint(ours) == before
    await nothing_is_left(ours)


def without(event_type: str, answer: dict[str, Any]) -> None:
    """Take events of a type out of an answer."""
    for name in ("state", "auth_chain"):
        answer[name] = [event for event in answer[name] if event["type"] != event_type]


def another_create(peer: Peer, asked: Asked, answer: dict[str, Any]) -> None:
    """Put a second create event into the auth chain."""
    (create,) = (event for event in answer["state"] if event["type"] == "m.room.create")
    room = peer.rooms[asked.values[0]]  # type: ignore[index]
    answer["auth_chain"].append(signed_again({**create, "depth": 2}, room.version, peer.name, peer.key))


def unsigned(event_type: str, answer: dict[str, Any]) -> None:
    """Break the signatures of events of a type."""
    for name in ("state", "auth_chain"):
        answer[name] = [
            {**event, "signatures": {server: {"ed25519:wrong": "AAAA"} for server in event["signatures"]}}
            if event["type"] == event_type
            else event
            for event in answer[name]
        ]


def another_join(peer: Peer, asked: Asked, answer: dict[str, Any]) -> None:
    """Give another event for the join."""
    answer["event"] = wire(peer.rooms[asked.values[0]].says(peer.user("creator")))  # type: ignore[index]


def banned(peer: Peer, asked: Asked, answer: dict[str, Any]) -> None:
    """Say that the one who joins was banned before."""
    room = peer.rooms[asked.values[0]]  # type: ignore[index]
    user = asked.body["sender"]
    ban = room.make(peer.user("creator"), "m.room.member", {"membership": "ban"}, user)
    answer["state"] = [event for event in answer["state"] if event["state_key"] != user] + [wire(ban)]


def of_version_ten(peer: Peer, asked: Asked, answer: dict[str, Any]) -> None:
    """Let the create event say another version."""
    room = peer.rooms[asked.values[0]]  # type: ignore[index]
    answer["state"] = [
        signed_again(
            {**event, "content": {**event["content"], "room_version": "10"}}, room.version, peer.name, peer.key
        )
        if event["type"] == "m.room.create"
        else event
        for event in answer["state"]
    ]


ANSWERS_TO_JOIN: Mapping[str, Callable[[Peer, Asked, dict[str, Any]], object]] = {
    "no state": lambda peer, asked, answer: answer.pop("state"),
    "a state that is none": lambda peer, asked, answer: answer.update(state="all of it"),
    "no auth chain": lambda peer, asked, answer: answer.pop("auth_chain"),
    "an empty state": lambda peer, asked, answer: answer.update(state=[]),
    "no create event": lambda peer, asked, answer: without("m.room.create", answer),
    "two create events": another_create,
    "a create event of another version": of_version_ten,
    "a create event that is not signed": lambda peer, asked, answer: unsigned("m.room.create", answer),
    "no join rules": lambda peer, asked, answer: without("m.room.join_rules", answer),
    "join rules that are not signed": lambda peer, asked, answer: unsigned("m.room.join_rules", answer),
    "power levels that are not signed": lambda peer, asked, answer: unsigned("m.room.power_levels", answer),
    "a state twice": lambda peer, asked, answer: answer["state"].append(
        wire(
            peer.rooms[asked.values[0]].make(peer.user("creator"), "m.room.join_rules", {"join_rule": "public"}, "")  # type: ignore[index]
        )
    ),
    "a message in the state": lambda peer, asked, answer: answer["state"].append(
        wire(peer.rooms[asked.values[0]].says(peer.user("creator")))  # type: ignore[index]
    ),
    "another event as the join": another_join,
    "a ban of the user": banned,
    "members left out": lambda peer, asked, answer: answer.update(members_omitted=True),
}


@pytest.mark.parametrize("lie", ANSWERS_TO_JOIN)
async def test_a_room_that_is_not_proven_is_not_joined(ours: World, alice: User, peer: Peer, lie: str) -> None:
    room = peer.creates_room("11")
    before = await footprint(ours)
    peer.instead["send_join"] = changed("send_join", ANSWERS_TO_JOIN[lie])
    refused(await join(alice, room, peer.name), 502, "M_UNKNOWN")
    assert await footprint(ours) == before
    await nothing_is_left(ours)
    # The same room is joined once it is told as it is.
    del peer.instead["send_join"]
    ok(await join(alice, room, peer.name))


async def test_state_that_nobody_has_signed_is_left_out(ours: World, alice: User, peer: Peer) -> None:
    room = peer.creates_room("11", name="Forged")
    peer.instead["send_join"] = changed("send_join", lambda peer, asked, answer: unsigned("m.room.name", answer))
    ok(await join(alice, room, peer.name))
    refused(await alice.get(f"/rooms/{q(room.room_id)}/state/m.room.name/"), 404, "M_NOT_FOUND")


async def test_two_who_join_at_the_same_time_fetch_the_room_once(ours: World, alice: User, peer: Peer) -> None:
    room = peer.creates_room("11")
    bob = await ours.user("bob")
    answers = await asyncio.gather(*(join(user, room, peer.name) for user in (alice, bob, alice)))
    assert answers == [(200, {"room_id": room.room_id})] * 3
    assert len(peer.asked_for("send_join")) == 1
    await until(lambda: room.membership(alice.user_id) == room.membership(bob.user_id) == "join")


def held(release: asyncio.Event) -> Answer:
    """Answer a join only once it is released."""

    async def answer(peer: Peer, asked: Asked) -> Reply:
        await release.wait()
        return await ANSWERS["send_join"](peer, asked)

    return answer


async def test_a_join_that_takes_long_goes_on_without_the_client(
    ours: World, alice: User, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "PATIENCE_SECONDS", 0.1)
    room, release = peer.creates_room("11"), asyncio.Event()
    ear = await Ear.of(alice)
    peer.instead["send_join"] = held(release)
    assert await join(alice, room, peer.name) == (200, {"room_id": room.room_id})
    # Asking again waits for the same one.
    assert await join(alice, room, peer.name) == (200, {"room_id": room.room_id})
    release.set()
    await ear.is_now(room.room_id, "join")
    assert len(peer.asked_for("send_join")) == 1
    await nothing_is_left(ours)


async def test_one_user_has_only_so_many_joins_that_go_on(
    ours: World, alice: User, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "PATIENCE_SECONDS", 0.05)
    release = asyncio.Event()
    peer.instead["send_join"] = held(release)
    rooms = [peer.creates_room("11") for _ in range(joining.MOST_OF_ONE + 1)]
    for room in rooms[:-1]:
        ok(await join(alice, room, peer.name))
    refused(await join(alice, rooms[-1], peer.name), 429, "M_LIMIT_EXCEEDED")
    bob = await ours.user("bob")
    ok(await join(bob, rooms[-1], peer.name))
    ear = await Ear.of(alice)
    release.set()
    for room in rooms[:-1]:
        await ear.is_now(room.room_id, "join")
    ok(await join(alice, rooms[-1], peer.name))


async def test_a_join_that_goes_on_is_given_up_by_leaving(
    ours: World, alice: User, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "PATIENCE_SECONDS", 0.1)
    room = peer.creates_room("11")
    peer.instead["send_join"] = held(asyncio.Event())
    ok(await join(alice, room, peer.name))
    await until(lambda: peer.asked_for("send_join"))
    ok(await alice.post(f"/rooms/{q(room.room_id)}/leave"))
    assert room.membership(alice.user_id) == "leave"
    await nothing_is_left(ours)


@pytest.mark.parametrize("kind", DATABASES)
async def test_a_join_goes_on_after_a_restart(authority: Authority, peer: Peer, tmp_path: Path, kind: str) -> None:
    room, port = peer.creates_room("12"), free_port()
    async with database(kind, POSTGRES, tmp_path) as url:
        async with federating(authority, tmp_path, url, port=port) as ours:
            alice = await ours.user("alice")
            peer.instead["send_join"] = held(asyncio.Event())
            asking = asyncio.create_task(join(alice, room, peer.name))
            await until(lambda: peer.asked_for("send_join"))
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        peer.instead.clear()
        async with federating(authority, tmp_path, url, port=port) as again:
            alice = User(again, alice.user_id, alice.token, alice.device_id)
            ear = await Ear.of(alice)
            await ear.is_now(room.room_id, "join")
            await nothing_is_left(again)


async def test_a_room_that_all_have_left_is_joined_anew(ours: World, alice: User, peer: Peer) -> None:
    room = peer.creates_room("11")
    ok(await join(alice, room, peer.name))
    ok(await alice.post(f"/rooms/{q(room.room_id)}/leave"))
    await until(lambda: room.membership(alice.user_id) == "leave")
    room.sets(peer.user("creator"), "m.room.topic", {"topic": "Meanwhile"})
    # Without being told how: it is known who was there.
    ok(await join(alice, room))
    topic = ok(await alice.get(f"/rooms/{q(room.room_id)}/state/m.room.topic/"))
    assert topic == {"topic": "Meanwhile"}


# Restricted rooms


async def test_a_resident_lets_a_member_of_another_room_in(ours: World, alice: User, peer: Peer) -> None:
    space = peer.creates_room("11")
    allow = [{"type": "m.room_membership", "room_id": space.room_id}]
    room = peer.creates_room("11", join_rule={"join_rule": "restricted", "allow": allow})
    ok(await join(alice, room, peer.name))
    member = ok(await alice.get(f"/rooms/{q(room.room_id)}/state/m.room.member/{q(alice.user_id)}"))
    assert member["join_authorised_via_users_server"] == peer.user("creator")
    await peer.gets(await alice.says(room.room_id))

    # A second one of ours is let in by them, too: nobody here may invite.
    bob = await ours.user("bob")
    ok(await join(bob, space, peer.name))
    levels = dict(room.content("m.room.power_levels") or {})
    raised = room.sets(peer.user("creator"), "m.room.power_levels", {**levels, "invite": 50})
    assert await peer.delivers(ours.name, raised) == {raised.event_id: {}}
    ok(await alice.post(f"/join/{q(space.room_id)}"))
    ear = await Ear.of(bob)
    ok(await join(bob, room))
    await ear.is_now(room.room_id, "join")
    assert room.membership(bob.user_id) == "join"


def not_signed(peer: Peer, asked: Asked, answer: dict[str, Any]) -> None:
    """Give the join back as it came."""
    answer["event"] = asked.body


@pytest.mark.parametrize("lie", [not_signed, lambda peer, asked, answer: answer.pop("event")])
async def test_a_join_that_nobody_vouches_for_is_not_taken(
    ours: World, alice: User, peer: Peer, lie: Callable[[Peer, Asked, dict[str, Any]], object]
) -> None:
    allow = [{"type": "m.room_membership", "room_id": peer.creates_room("11").room_id}]
    room = peer.creates_room("11", join_rule={"join_rule": "restricted", "allow": allow})
    before = await footprint(ours)
    peer.instead["send_join"] = changed("send_join", lie)
    refused(await join(alice, room, peer.name), 502, "M_UNKNOWN")
    assert await footprint(ours) == before


# Leaving and knocking


async def invited(ours: World, alice: User, peer: Peer) -> tuple[SharedRoom, Ear]:
    """Let the peer invite Alice."""
    room = peer.creates_room("12", join_rule="invite", name="Private")
    ear = await Ear.of(alice)
    await peer.invites_user(room, peer.user("creator"), alice.user_id, ours.name)
    await ear.is_now(room.room_id, "invite")
    return room, ear


async def test_an_invite_is_turned_down(ours: World, alice: User, peer: Peer) -> None:
    room, ear = await invited(ours, alice, peer)
    ok(await alice.post(f"/rooms/{q(room.room_id)}/leave", {"reason": "no time"}))
    await ear.is_now(room.room_id, "leave")
    assert room.content("m.room.member", alice.user_id) == {"membership": "leave", "reason": "no time"}
    # Once is enough.
    ok(await alice.post(f"/rooms/{q(room.room_id)}/leave"))
    assert len(peer.asked_for("send_leave")) == 1
    await peer.invites_user(room, peer.user("creator"), alice.user_id, ours.name)
    await ear.is_now(room.room_id, "invite")


@pytest.mark.parametrize(
    "lie",
    [
        {"make_leave": lies.fails(403, "M_FORBIDDEN")},
        {"make_leave": lies.says({"event": {"type": "m.room.member"}})},
        {"send_leave": lies.fails(500)},
        {"make_leave": lies.hangs_up},
    ],
)
async def test_one_is_rid_of_an_invite_even_if_nobody_hears_of_it(
    ours: World, alice: User, peer: Peer, lie: Mapping[str, Answer]
) -> None:
    room, ear = await invited(ours, alice, peer)
    peer.instead.update(lie)
    ok(await alice.post(f"/rooms/{q(room.room_id)}/leave"))
    await ear.is_now(room.room_id, "leave")
    peer.instead.clear()
    await peer.invites_user(room, peer.user("creator"), alice.user_id, ours.name)
    await ear.is_now(room.room_id, "invite")
    ok(await join(alice, room))
    await ear.is_now(room.room_id, "join")


async def test_who_ends_their_account_turns_down_all_invites(ours: World, alice: User, peer: Peer) -> None:
    room, _ = await invited(ours, alice, peer)
    body = {"auth": {"type": "m.login.password", "user": alice.user_id, "password": "correct horse battery"}}
    status, answer = await alice.post("/account/deactivate", body)
    if status == 401:
        body["auth"]["session"] = answer["session"]
        ok(await alice.post("/account/deactivate", body))
    await until(lambda: room.membership(alice.user_id) == "leave")


async def test_a_withdrawn_invite_is_gone_and_no_other_event_of_the_room_is_taken(
    ours: World, alice: User, peer: Peer
) -> None:
    room, ear = await invited(ours, alice, peer)
    creator = peer.user("creator")
    said = room.says(creator)
    forged = room.make(creator, "m.room.member", {"membership": "leave"}, alice.user_id, auth=[EventID("$" + "A" * 43)])
    withdrawn = room.member(creator, alice.user_id, "leave")
    unsigned_ = {**wire(withdrawn), "signatures": {peer.name: {peer.key.key_id: "A" * 86}}}
    for event in (said, forged):
        assert "error" in (await peer.delivers(ours.name, event))[event.event_id]
    assert "error" in (await peer.delivers(ours.name, unsigned_))[withdrawn.event_id]
    assert await peer.delivers(ours.name, withdrawn) == {withdrawn.event_id: {}}
    await ear.is_now(room.room_id, "leave")


async def test_a_knock_is_made_through_a_resident(ours: World, alice: User, peer: Peer) -> None:
    room = peer.creates_room("12", join_rule="knock", name="Knock here")
    ear = await Ear.of(alice)
    asked = await alice.post(f"/knock/{q(room.room_id)}", {"reason": "please"}, via=peer.name)
    assert asked == (200, {"room_id": room.room_id})
    await ear.is_now(room.room_id, "knock")
    assert {"name": "Knock here"} in [event["content"] for event in ear.told[room.room_id]]
    assert room.content("m.room.member", alice.user_id) == {"membership": "knock", "reason": "please"}
    await peer.invites_user(room, peer.user("creator"), alice.user_id, ours.name)
    await ear.is_now(room.room_id, "invite")


async def test_a_knock_that_is_refused_leaves_nothing(ours: World, alice: User, peer: Peer) -> None:
    room = peer.creates_room("11", join_rule="knock")
    before = await footprint(ours)
    peer.instead["make_knock"] = lies.fails(403, "M_FORBIDDEN")
    refused(await alice.post(f"/knock/{q(room.room_id)}", via=peer.name), 403, "M_FORBIDDEN")
    peer.instead["make_knock"] = changed("make_knock", lambda peer, asked, offer: offer["event"].update(type="x"))
    refused(await alice.post(f"/knock/{q(room.room_id)}", via=peer.name), 502, "M_UNKNOWN")
    refused(await alice.post(f"/knock/{q(room.room_id)}", via=f"localhost:{free_port()}"), 502, "M_UNKNOWN")
    assert await footprint(ours) == before


async def test_what_one_has_nothing_to_do_with_cannot_be_left(alice: User, peer: Peer) -> None:
    room = peer.creates_room("11")
    refused(await alice.post(f"/rooms/{q(room.room_id)}/leave"), 403, "M_FORBIDDEN")
    assert not peer.asked_for("make_leave")


async def test_a_server_that_speaks_with_no_others_knows_no_rooms_and_users_of_theirs(
    database_url: str, tmp_path: Path
) -> None:
    async with World.start(database_url, tmp_path, FEDERATION__ENABLED="false") as alone:
        alice = await alone.user("alice")
        refused(await alice.post(f"/join/{q('!room:other.example')}", via="other.example"), 404, "M_NOT_FOUND")
        refused(await alice.post(f"/join/{q('#room:other.example')}"), 404, "M_NOT_FOUND")
        refused(await alice.post(f"/knock/{q('!room:other.example')}", via="other.example"), 404, "M_NOT_FOUND")
        refused(await alice.post(f"/rooms/{q('!room:other.example')}/leave"), 403, "M_FORBIDDEN")
        room = await alice.creates_room()
        body = {"user_id": "@bob:other.example"}
        refused(await alice.post(f"/rooms/{q(room)}/invite", body), 403, "M_FORBIDDEN")
        refused(await alice.post("/createRoom", {"invite": ["@bob:other.example"]}), 403, "M_FORBIDDEN")
