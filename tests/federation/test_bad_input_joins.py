"""A peer that lies when somebody wants to join its room: the join fails with a standard error, and leaves nothing."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from federation.core.ids import UserID
from tests.support import lies
from tests.support.answers import ANSWERS, Asked, Reply
from tests.support.ear import Ear
from tests.support.forgery import EVIL, Forger
from tests.support.peer import Peer
from tests.support.shared_room import SharedRoom, signed_again, wire
from tests.support.world import User, World, ok, q


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """SQLite: nothing here depends on which database it is."""
    return f"sqlite:///{tmp_path}/isthmus.db"


Change = Callable[[dict[str, Any], Forger], None]


def _event(**fields: Any) -> Change:
    return lambda answer, forger: answer["event"].update(fields)


def _drop(*names: str) -> Change:
    def change(answer: dict[str, Any], forger: Forger) -> None:
        for name in names:
            del answer[name]

    return change


OFFERS: Mapping[str, Change] = {
    "no event": _drop("event"),
    "the event is a list": lambda answer, forger: answer.update(event=[]),
    "a room version that nobody knows": lambda answer, forger: answer.update(room_version="99"),
    "another room version": lambda answer, forger: answer.update(room_version="1"),
    "a room version that is a number": lambda answer, forger: answer.update(room_version=11),
    "another room": lambda answer, forger: answer["event"].update(room_id=forger.elsewhere.room_id),
    "another user": lambda answer, forger: answer["event"].update(sender=forger.creator, state_key=forger.creator),
    "another state key": _event(state_key="@other:localhost"),
    "another type": _event(type="m.room.power_levels", state_key=""),
    "a message": _event(type="m.room.message"),
    "a ban": _event(content={"membership": "ban"}),
    "a leave": _event(content={"membership": "leave"}),
    "no content": _event(content=None),
    "10,000 prev_events": _event(prev_events=["$" + "A" * 43] * 10_000),
    "10,000 auth_events": _event(auth_events=["$" + "A" * 43] * 10_000),
    "prev_events that are none": _event(prev_events=[5]),
    "a depth that is none": _event(depth="deep"),
    "auth events that nobody has": _event(auth_events=["$" + "A" * 43]),
}


def _state(change: Callable[[list[dict[str, Any]], Forger], None]) -> Change:
    return lambda answer, forger: change(answer["state"], forger)


def _without(event_type: str) -> Change:
    def change(answer: dict[str, Any], forger: Forger) -> None:
        for name in ("state", "auth_chain"):
            answer[name] = [event for event in answer[name] if event["type"] != event_type]

    return change


def _all_signatures_wrong(answer: dict[str, Any], forger: Forger) -> None:
    for name in ("state", "auth_chain"):
        for event in answer[name]:
            event["signatures"] = {forger.peer.name: {forger.peer.key.key_id: "A" * 86}}


def _of_another_room(answer: dict[str, Any], forger: Forger) -> None:
    answer["state"] = [wire(forger.elsewhere.events[event_id]) for event_id in forger.elsewhere.state.values()]
    answer["auth_chain"] = []


def _banned(answer: dict[str, Any], forger: Forger) -> None:
    ban = forger.room.make(forger.creator, "m.room.member", {"membership": "ban"}, forger.victim)
    answer["state"] = [each for each in answer["state"] if each.get("state_key") != forger.victim] + [wire(ban)]


def _add(*events: Callable[[Forger], dict[str, Any]]) -> Change:
    def change(answer: dict[str, Any], forger: Forger) -> None:
        answer["state"] += [make(forger) for make in events]

    return change


ROOMS: Mapping[str, Change] = {
    "no state": _drop("state"),
    "no auth chain": _drop("auth_chain"),
    "state is an object": lambda answer, forger: answer.update(state={}),
    "a state of nothing": lambda answer, forger: answer.update(state=[], auth_chain=[]),
    "a state of numbers": lambda answer, forger: answer.update(state=[5], auth_chain=[5]),
    "no create event": _without("m.room.create"),
    "wrong signatures": _all_signatures_wrong,
    "the state of another room": _of_another_room,
    "a state in which the user is banned": _banned,
    "what is no state": _add(Forger.good),
}
"""Answers to `send_join` by which nobody can be in the room."""


def _circle(answer: dict[str, Any], forger: Forger) -> None:
    names = [f"$circle{number}:{forger.peer.name}" for number in range(3)]
    for number, name in enumerate(names):
        fields = forger.state("org.example.circle", {}, name)
        cites = forger.ids(names[number - 1], forger.room.state["m.room.create", ""])
        version, key = forger.room.version, forger.peer.key
        answer["state"].append(
            signed_again({**fields, "event_id": name, "auth_events": cites}, version, forger.peer.name, key)
        )


def _long_chain(answer: dict[str, Any], forger: Forger) -> None:
    stranger = forger.peer.user("stranger")
    for number in range(3000):
        event = forger.elsewhere.send(
            stranger, "m.room.member", {"membership": "join", "displayname": str(number)}, stranger
        )
        answer["auth_chain"].append(wire(event))


ADDED: Mapping[str, Change] = {
    "state of somebody who is not there": _add(
        lambda forger: forger.state("m.room.topic", {"topic": EVIL}, sender=forger.peer.user("stranger"))
    ),
    "state that is not signed": _add(lambda forger: {**forger.state("m.room.name", {}), "signatures": {}}),
    "state of another room": _add(
        lambda forger: wire(forger.elsewhere.make(forger.creator, "m.room.topic", {"topic": EVIL}, ""))
    ),
    "what is no event": _add(lambda forger: {}),
    "an auth chain in a circle": _circle,
    "an auth chain of 3,000 events that is of another room": _long_chain,
}
"""What can come with an honest state: it is left out, and the rest is taken."""


def changed(ability: str, change: Change, forger: Forger) -> Any:
    """Return an answer that is honest but for one change."""

    async def reply(peer: Peer, asked: Asked) -> Reply:
        answer = deepcopy(dict(await ANSWERS[ability](peer, asked)))
        change(answer, forger)
        return answer

    return reply


async def setting(ours: World, peer: Peer, version: str = "11") -> tuple[User, SharedRoom, Forger]:
    """Return Alice, a room that she wants to join, and its liar."""
    alice = await ours.user("alice")
    room = peer.creates_room(version)
    return alice, room, Forger(peer, room, peer.creates_room(version), UserID(alice.user_id))


async def check_fails(alice: User, room: SharedRoom, peer: Peer, what: str) -> None:
    """Check that a join fails and leaves nothing."""
    status, answer = await alice.post(f"/join/{q(room.room_id)}", via=peer.name)
    assert 400 <= status < 600, (what, status, answer)
    assert status != 500, (what, answer)
    assert answer["errcode"].startswith("M_"), (what, answer)
    synced = ok(await alice.get("/sync"))
    assert room.room_id not in str(synced.get("rooms", {})), what
    assert ok(await alice.get("/joined_rooms")) == {"joined_rooms": []}, what


async def check_honest(alice: User, room: SharedRoom, peer: Peer) -> None:
    """Check that an honest join goes well after all."""
    peer.instead.clear()
    ear = await Ear.of(alice)
    ok(await alice.post(f"/join/{q(room.room_id)}", via=peer.name))
    await ear.is_now(room.room_id, "join")
    await peer.gets(await alice.says(room.room_id, "hello"))
    said = room.says(peer.user("creator"))
    await peer.delivers(alice.world.name, said)
    await ear.hears(room.room_id, said.event_id)
    state = ok(await alice.get(f"/rooms/{q(room.room_id)}/state"))
    assert EVIL not in str(state)


@pytest.mark.parametrize("ability", ["make_join", "send_join"])
async def test_a_peer_that_cannot_answer_lets_nobody_in(ours: World, peer: Peer, ability: str) -> None:
    alice, room, _ = await setting(ours, peer)
    for what, lie in lies.BROKEN.items():
        if (ability, what) == ("send_join", "never ends"):
            continue  # 200 MiB are bounded too, but take their time.
        peer.poured = 0
        peer.instead = {ability: lie}
        await check_fails(alice, room, peer, what)
        assert peer.poured < 64 * lies.MIB, what
    await check_honest(alice, room, peer)


@pytest.mark.parametrize("version", ["1", "11", "12"])
async def test_an_offer_of_something_else_is_not_signed(ours: World, peer: Peer, version: str) -> None:
    alice, room, forger = await setting(ours, peer, version)
    heads = room.heads
    for what, change in OFFERS.items():
        if (what, version) == ("another room version", "1"):
            continue
        peer.instead = {"make_join": changed("make_join", change, forger)}
        await check_fails(alice, room, peer, what)
        # The peer takes what it is sent, and would build on it.
        room.heads = heads
    assert not [asked for asked in peer.asked_for("send_join") if asked.body["type"] != "m.room.member"]
    await check_honest(alice, room, peer)


@pytest.mark.parametrize("version", ["1", "11", "12"])
async def test_a_room_that_does_not_hold_together_is_not_entered(ours: World, peer: Peer, version: str) -> None:
    alice, room, forger = await setting(ours, peer, version)
    heads = room.heads
    for what, change in ROOMS.items():
        peer.instead = {"send_join": changed("send_join", change, forger)}
        await check_fails(alice, room, peer, what)
        # As before: the peer took the join.
        room.heads = heads
    await check_honest(alice, room, peer)


@pytest.mark.parametrize("version", ["1", "11", "12"])
@pytest.mark.parametrize("what", ADDED)
async def test_what_is_wrong_beside_an_honest_state_is_left_out(
    ours: World, peer: Peer, version: str, what: str
) -> None:
    alice, room, forger = await setting(ours, peer, version)
    peer.instead = {"send_join": changed("send_join", ADDED[what], forger)}
    ok(await alice.post(f"/join/{q(room.room_id)}", via=peer.name))
    state = ok(await alice.get(f"/rooms/{q(room.room_id)}/state"))
    assert {(event["type"], event["state_key"]): event["event_id"] for event in state} == dict(room.state)
    assert forger.victim in str(state)


async def test_who_lies_is_passed_over_for_who_does_not(ours: World, peer: Peer, authority: Any) -> None:
    alice, room, _ = await setting(ours, peer)
    async with Peer.start(authority) as liar:
        liar.instead["make_join"] = lies.fails(403, "M_FORBIDDEN")
        other = liar.creates_room()
        assert other.room_id != room.room_id
        ok(await alice.post(f"/join/{q(room.room_id)}", via=[liar.name, peer.name]))
        assert liar.asked_for("make_join")
    assert ok(await alice.get("/joined_rooms")) == {"joined_rooms": [room.room_id]}
