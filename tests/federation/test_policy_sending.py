"""What users of ours send into a room with a policy server: it is asked before anything is stored or sent.

https://spec.matrix.org/v1.19/server-server-api/#asking-for-a-policy-server-signature-on-an-event
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import Connection

from federation.core.events.pdu import Pdu
from federation.core.policy import recommend
from federation.matrix import client
from homeserver.services import timeline
from tests.support import lies, policy
from tests.support.answers import Answer, Asked, Reply
from tests.support.footprint import footprint
from tests.support.peer import Peer
from tests.support.policy import Policy
from tests.support.shared_room import SharedRoom
from tests.support.statements import statements
from tests.support.waiting import until
from tests.support.world import User, World, ok, q, refused


@dataclass
class Watched:
    """A room of Alice's that has the peer as its policy server."""

    ours: World
    peer: Peer
    watch: Policy
    alice: User
    room_id: str
    room: SharedRoom
    """As the peer has it."""

    @classmethod
    async def of(cls, ours: World, peer: Peer, version: str = "12", **how: Any) -> "Watched":
        """Create it."""
        alice = await ours.user("alice")
        room_id = await alice.creates_room(preset="public_chat", room_version=version, **how)
        room = await peer.joins(peer.user("bob"), room_id, ours.name)
        watch = Policy.of(peer)
        await peer.gets(await alice.sets(room_id, policy.POLICY, watch.content))
        assert not watch.asked
        return cls(ours, peer, watch, alice, room_id, room)

    async def comes(self, event_id: str) -> Pdu:
        """Wait until the peer has an event of ours; check that it has signed it."""
        await self.peer.gets(event_id)
        event = self.room.events[event_id]  # type: ignore[index]
        assert self.watch.has_signed(event.fields, event.version.id)
        return event

    async def signatures(self, event_id: str) -> set[str]:
        """Return who has signed an event as our server has it."""
        events = self.ours.app.services.history.events

        def read(conn: Connection) -> set[str]:
            found = events.by_ids(conn, [event_id])[event_id]  # type: ignore[list-item, index]
            return {f"{server} {key}" for server, keys in found.pdu.fields["signatures"].items() for key in keys}

        return await self.ours.app.services.db.read(read)

    async def state(self, kind: str, key: str = "") -> tuple[int, Any]:
        """Ask for state."""
        return await self.alice.get(f"/rooms/{q(self.room_id)}/state/{q(kind)}/{q(key)}")


@pytest.fixture(params=["3", "12"])
async def watched(ours: World, peer: Peer, request: pytest.FixtureRequest) -> Watched:
    """Such a room, of an old and of the newest version."""
    return await Watched.of(ours, peer, request.param)


@pytest.fixture
async def newest(ours: World, peer: Peer) -> Watched:
    """Such a room, of the newest version."""
    return await Watched.of(ours, peer)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long for a policy server."""
    monkeypatch.setattr(client, "SHORT_SECONDS", 0.3)


async def test_what_is_sent_has_the_policy_servers_signature(watched: Watched) -> None:
    said = await watched.alice.says(watched.room_id, "hi")
    event = await watched.comes(said)
    (asked,) = watched.watch.asked
    assert asked.keys() == event.fields.keys()
    assert asked["content"] == {"msgtype": "m.text", "body": "hi"}
    assert f"{watched.peer.name} ed25519:policy_server" in await watched.signatures(said)
    await watched.comes(await watched.alice.redacts(watched.room_id, said))


async def test_state_and_memberships_have_it_too(watched: Watched) -> None:
    ours, alice, room_id = watched.ours, watched.alice, watched.room_id
    carol, dave = await ours.user("carol"), await ours.user("dave")
    await watched.comes(await alice.sets(room_id, "m.room.topic", {"topic": "x"}))
    await carol.joins(room_id)
    ok(await alice.post(f"/rooms/{q(room_id)}/invite", {"user_id": dave.user_id}))
    ok(await dave.post(f"/rooms/{q(room_id)}/leave"))
    ok(await alice.post(f"/rooms/{q(room_id)}/kick", {"user_id": carol.user_id}))
    ok(await alice.post(f"/rooms/{q(room_id)}/ban", {"user_id": carol.user_id}))
    ok(await alice.post(f"/rooms/{q(room_id)}/unban", {"user_id": carol.user_id}))
    ok(await alice.post(f"/rooms/{q(room_id)}/invite", {"user_id": watched.peer.user("erin")}))
    memberships = [event["content"]["membership"] for event in watched.watch.asked[1:]]
    assert memberships == ["join", "invite", "leave", "leave", "ban", "leave", "invite"]
    signed = watched.peer.invites[-1]["event"]
    assert watched.watch.has_signed(signed, watched.room.version.id)
    last = await alice.says(room_id, "all")
    await watched.comes(last)
    assert {event.event_id for event in watched.room.timeline() if event.sender.endswith(ours.name)} >= {last}


async def test_what_it_refuses_is_not_sent_and_the_client_hears_why(watched: Watched) -> None:
    watched.watch.refuses = lambda event: "No advertising here" if "buy" in str(event["content"]) else None
    alice, room_id = watched.alice, watched.room_id
    before = await footprint(watched.ours)
    path = f"/rooms/{q(room_id)}"
    for answer in (
        await alice.put(f"{path}/send/m.room.message/1", {"msgtype": "m.text", "body": "buy"}),
        await alice.put(f"{path}/state/m.room.topic/", {"topic": "buy"}),
        await alice.post(f"{path}/invite", {"user_id": watched.peer.user("erin"), "reason": "buy"}),
        await alice.post(f"{path}/leave", {"reason": "buy"}),
    ):
        assert refused(answer, 403, "M_FORBIDDEN")["error"] == "No advertising here"
    assert await footprint(watched.ours) == before
    assert not watched.peer.invites
    await watched.comes(await alice.says(room_id, "sorry"))


async def by_another_key(peer: Peer, asked: Asked) -> Reply:
    return recommend(Policy(peer).read(asked), peer.name, policy.key(2))


async def of_another_event(peer: Peer, asked: Asked) -> Reply:
    watch = Policy(peer)
    event = Pdu.from_wire({**asked.body, "depth": 77}, watch.read(asked).version)
    return recommend(event, peer.name, watch.key)


@pytest.mark.parametrize(
    "answers",
    [
        {"another key": by_another_key, "another event": of_another_event, "nothing": lies.says({})},
        lies.BROKEN,
        lies.ENDLESS,
    ],
    ids=["wrong", "broken", "endless"],
)
async def test_without_its_signature_nothing_is_sent_but_what_rids_the_room_of_it(
    newest: Watched, hasty: None, answers: Mapping[str, Answer]
) -> None:
    before = await footprint(newest.ours)
    for name, answer in answers.items():
        newest.peer.instead["policy_sign"] = answer
        sent = await newest.alice.put(f"/rooms/{q(newest.room_id)}/send/m.room.message/{q(name)}", {"body": "x"})
        refused(sent, 502, "M_UNKNOWN")
    assert len(newest.watch.asked) >= len(answers)
    assert await footprint(newest.ours) == before
    await newest.alice.sets(newest.room_id, policy.POLICY, {})
    await newest.peer.gets(await newest.alice.says(newest.room_id, "free"))


async def test_other_errors_of_it_are_passed_on_as_far_as_they_make_sense(newest: Watched) -> None:
    path = f"/rooms/{q(newest.room_id)}/send/m.room.message/"
    for number, (answer, status, errcode) in enumerate(
        (
            (lies.fails(429, "M_LIMIT_EXCEEDED", retry_after_ms=3_600_000), 429, "M_LIMIT_EXCEEDED"),
            (lies.fails(403, "M_FORBIDDEN"), 403, "M_FORBIDDEN"),
            (lies.fails(404, "M_NOT_FOUND"), 404, "M_NOT_FOUND"),
            (lies.fails(404, "M_UNRECOGNIZED"), 502, "M_UNKNOWN"),
            (lies.fails(400, "M_BAD_JSON"), 502, "M_UNKNOWN"),
        )
    ):
        newest.peer.instead["policy_sign"] = answer
        body = refused(await newest.alice.put(f"{path}{number}", {"body": "x"}), status, errcode)
        assert errcode != "M_LIMIT_EXCEEDED" or body["retry_after_ms"] == 3_600_000


async def test_one_that_has_not_heard_of_it_yet_is_asked_again(newest: Watched) -> None:
    async def not_yet(peer: Peer, asked: Asked) -> Reply:
        peer.instead["policy_sign"] = newest.watch.answer
        return await lies.fails(404, "M_NOT_FOUND")(peer, asked)

    newest.peer.instead["policy_sign"] = not_yet
    await newest.comes(await newest.alice.says(newest.room_id, "hi"))


async def test_of_its_answer_only_its_signature_counts(newest: Watched) -> None:
    async def forged(peer: Peer, asked: Asked) -> Reply:
        answer: dict[str, Any] = recommend(newest.watch.read(asked), peer.name, newest.watch.key)
        answer[peer.name]["ed25519:1"] = "forged"
        return {**answer, newest.ours.name: {"ed25519:1": "forged"}, "content": {"body": "forged"}}

    newest.peer.instead["policy_sign"] = forged
    said = await newest.alice.says(newest.room_id, "true")
    event = await newest.comes(said)
    assert event.content["body"] == "true"
    assert event.fields["signatures"].keys() == {newest.ours.name, newest.peer.name}
    assert event.fields["signatures"][newest.peer.name].keys() == {"ed25519:policy_server"}


def going_on(watched: Watched, times: int) -> Answer:
    """Answer as one should, once somebody else has said something in the room, so many times."""
    left = times

    async def answer(peer: Peer, asked: Asked) -> Reply:
        nonlocal left
        if left:
            left -= 1
            event = watched.watch.signed(watched.room.says(peer.user("bob"), f"{left}"))
            assert await peer.delivers(watched.ours.name, event) == {event.event_id: {}}
        return await watched.watch.answer(peer, asked)

    return answer


async def test_a_message_may_stand_beside_what_has_come_while_it_was_asked(watched: Watched) -> None:
    watched.peer.instead["policy_sign"] = going_on(watched, 3)
    said = await watched.alice.says(watched.room_id, "hi")
    event = await watched.comes(said)
    assert len(watched.watch.asked) == 1
    bobs = next(each for each in reversed(watched.room.timeline()) if each.sender == watched.peer.user("bob"))
    assert event.prev_events == bobs.prev_events
    later = await watched.comes(await watched.alice.says(watched.room_id, "on both"))
    assert set(later.prev_events) == {event.event_id, bobs.event_id}


async def test_state_is_made_anew_and_asked_about_again(watched: Watched) -> None:
    watched.peer.instead["policy_sign"] = going_on(watched, 2)
    topic = await watched.alice.sets(watched.room_id, "m.room.topic", {"topic": "x"})
    event = await watched.comes(topic)
    assert len(watched.watch.asked) == 3
    assert [watched.room.events[prev].sender for prev in event.prev_events] == [watched.peer.user("bob")]
    assert len(watched.room.heads) == 1


async def test_a_room_that_always_goes_on_does_not_keep_the_client_for_ever(newest: Watched) -> None:
    newest.peer.instead["policy_sign"] = going_on(newest, 1000)
    path = f"/rooms/{q(newest.room_id)}/state/m.room.topic/"
    answer = refused(await newest.alice.put(path, {"topic": "x"}), 502, "M_UNKNOWN")
    assert "faster" in answer["error"]
    refused(await newest.state("m.room.topic"), 404, "M_NOT_FOUND")
    assert len(newest.watch.asked) == 8


async def test_who_was_banned_while_it_was_asked_says_nothing(newest: Watched) -> None:
    carol = await newest.ours.user("carol")
    await carol.joins(newest.room_id)

    async def bans_first(peer: Peer, asked: Asked) -> Reply:
        peer.instead["policy_sign"] = newest.watch.answer
        ok(await newest.alice.post(f"/rooms/{q(newest.room_id)}/ban", {"user_id": carol.user_id}))
        return await newest.watch.answer(peer, asked)

    newest.peer.instead["policy_sign"] = bans_first
    sent = await carol.put(f"/rooms/{q(newest.room_id)}/send/m.room.message/1", {"body": "last word"})
    refused(sent, 403, "M_FORBIDDEN")


async def test_a_transaction_that_comes_twice_while_it_is_asked_is_one_event(newest: Watched) -> None:
    async def waits(peer: Peer, asked: Asked) -> Reply:
        await until(lambda: len(newest.watch.asked) == 2)
        return await newest.watch.answer(peer, asked)

    newest.peer.instead["policy_sign"] = waits
    path = f"/rooms/{q(newest.room_id)}/send/m.room.message/once"
    answers = await asyncio.gather(*(newest.alice.put(path, {"body": "x"}) for _ in range(2)))
    assert ok(answers[0]) == ok(answers[1])


async def test_many_of_ours_speak_at_once_and_all_are_heard(newest: Watched) -> None:
    said = await asyncio.gather(*(newest.alice.says(newest.room_id, f"{number}") for number in range(12)))
    assert len(newest.watch.asked) == 12
    for event_id in said:
        await newest.comes(event_id)


async def test_a_profile_is_carried_into_all_such_rooms_with_one_round_of_questions(ours: World, peer: Peer) -> None:
    first = await Watched.of(ours, peer)
    others = []
    for number in range(4):
        room_id = await first.alice.creates_room(preset="public_chat", name=f"{number}")
        await peer.joins(peer.user("bob"), room_id, ours.name)
        await peer.gets(await first.alice.sets(room_id, policy.POLICY, first.watch.content))
        others.append(room_id)
    bad = others[0]
    first.watch.refuses = lambda event: "no" if event["room_id"] == bad else None
    ok(await first.alice.put(f"/profile/{q(first.alice.user_id)}/displayname", {"displayname": "Alice"}))
    assert len(first.watch.asked) == 5
    for room_id in (first.room_id, *others):
        member = ok(await first.alice.get(f"/rooms/{q(room_id)}/state/m.room.member/{q(first.alice.user_id)}"))
        assert member.get("displayname") == (None if room_id == bad else "Alice")


@pytest.mark.parametrize(("old", "new"), [("11", "12"), ("12", "11"), ("12", "12")])
async def test_such_a_room_can_be_replaced(ours: World, peer: Peer, old: str, new: str) -> None:
    watched = await Watched.of(ours, peer, old)
    await watched.alice.sets(watched.room_id, "m.room.name", {"name": "Home"})
    answer = ok(await watched.alice.post(f"/rooms/{q(watched.room_id)}/upgrade", {"new_version": new}))
    await peer.gets(next(iter(watched.room.heads)))
    tombstone = ok(await watched.state("m.room.tombstone"))
    assert tombstone["replacement_room"] == answer["replacement_room"]
    create = ok(await watched.alice.get(f"/rooms/{q(answer['replacement_room'])}/state/m.room.create/"))
    assert create["predecessor"]["room_id"] == watched.room_id
    assert len(watched.watch.asked) <= 6

    watched.watch.refuses = lambda event: "stay" if event["type"] == "m.room.tombstone" else None
    before = await footprint(ours)
    again = await watched.alice.post(f"/rooms/{q(watched.room_id)}/upgrade", {"new_version": new})
    assert refused(again, 403, "M_FORBIDDEN")["error"] == "stay"
    assert await footprint(ours) == before


async def test_a_room_is_as_free_as_before_once_its_policy_server_has_gone(newest: Watched) -> None:
    bob = newest.peer.user("bob")
    event = newest.watch.signed(newest.room.member(bob, bob, "leave"))
    await newest.peer.delivers(newest.ours.name, event)
    await newest.alice.says(newest.room_id, "alone")
    assert not newest.watch.asked


async def test_a_room_without_one_costs_no_statement_more(
    ours: World, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await ours.user("alice")
    room_id = await alice.creates_room(preset="public_chat")
    await alice.says(room_id, "warm")

    async def cost() -> int:
        with statements() as seen:
            await alice.says(room_id, "x")
        return len(seen)

    with_the_look = await cost()
    monkeypatch.setattr(timeline, "policy_of", lambda *_: None)
    assert with_the_look == await cost()
