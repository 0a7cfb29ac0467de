"""What other servers send into a room with a policy server: check 7 on receipt.

https://spec.matrix.org/v1.19/server-server-api/#validating-policy-server-signatures
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import pytest
from sqlalchemy import Connection

from federation.core.canonical_json import encode
from federation.core.events.format import MAX_EVENT_BYTES
from federation.core.events.pdu import Pdu
from federation.core.policy import recommend
from federation.matrix import client
from homeserver.model.events import Status
from homeserver.services.policy import asking
from tests.federation.sharing import Shared
from tests.support import lies, policy
from tests.support.answers import Answer, Asked, Reply
from tests.support.peer import Peer
from tests.support.policy import Policy
from tests.support.shared_room import wire
from tests.support.waiting import until
from tests.support.world import World, ok, q, refused


@pytest.fixture
async def shared(ours: World, peer: Peer) -> Shared:
    """Alice in a room of the peer."""
    return await Shared.of(ours, peer)


@pytest.fixture
async def watch(shared: Shared) -> Policy:
    """The peer as the policy server of that room."""
    watch = Policy.of(shared.peer)
    assert await shared.sends(event := watch.watches(shared.room)) == {event.event_id: {}}
    return watch


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long for a policy server."""
    monkeypatch.setattr(client, "SHORT_SECONDS", 0.3)


def says(shared: Shared, text: str = "hi") -> Pdu:
    """Let the peer's user say something, which no policy server has signed."""
    return shared.room.says(shared.peer.user("creator"), text)


async def stored(shared: Shared, event: Pdu) -> tuple[Status, Mapping[str, Any]] | None:
    """Return how an event stands on our server, and with which signatures."""
    events = shared.ours.app.services.history.events

    def read(conn: Connection) -> tuple[Status, Mapping[str, Any]] | None:
        found = events.by_id(conn, event.event_id)
        return (found.status, found.pdu.fields["signatures"]) if found is not None else None

    return await shared.ours.app.services.db.read(read)


async def is_soft_failed(shared: Shared, event: Pdu) -> bool:
    """Return whether an event has been kept from everybody, and what comes next does not stand on it."""
    found = await stored(shared, event)
    assert found is not None
    answer = await shared.gets(event.event_id)
    return found[0] is Status.SOFT_FAILED and answer[0] == 404


async def test_what_the_policy_server_has_signed_is_taken_without_a_question(shared: Shared, watch: Policy) -> None:
    event = watch.signed(says(shared))
    assert await shared.sends(event) == {event.event_id: {}}
    await shared.ear.hears(shared.room.room_id, event.event_id)
    assert not watch.asked


async def test_it_is_asked_about_what_it_has_not_signed_and_its_signature_is_kept(
    shared: Shared, watch: Policy
) -> None:
    event = says(shared)
    assert await shared.sends(event) == {event.event_id: {}}
    await shared.ear.hears(shared.room.room_id, event.event_id)
    assert watch.asked == [wire(event)]
    found = await stored(shared, event)
    assert found == (Status.ACCEPTED, watch.signed(event).fields["signatures"])


async def test_state_and_memberships_are_its_business_too_but_not_its_own_naming(shared: Shared, watch: Policy) -> None:
    creator, bob = shared.peer.user("creator"), shared.peer.user("bob")
    events = [
        shared.room.sets(creator, "m.room.topic", {"topic": "x"}),
        shared.room.member(bob, bob, "join"),
        shared.room.sets(creator, policy.POLICY, {}, "other"),
        shared.room.send(creator, policy.POLICY, {}),
        shared.room.sets(creator, policy.POLICY, {**watch.content, "more": True}),
    ]
    assert await shared.sends(*events) == {event.event_id: {} for event in events}
    assert [asked["type"] for asked in watch.asked] == ["m.room.topic", "m.room.member", policy.POLICY, policy.POLICY]
    assert [asked.get("state_key") for asked in watch.asked[2:]] == ["other", None]


async def test_what_it_refuses_is_kept_from_everybody(shared: Shared, watch: Policy) -> None:
    watch.refuses = lambda event: "spam" if event["content"].get("body") == "buy" else None
    good, bad = says(shared), says(shared, "buy")
    # Nobody is told of a soft failure.
    assert await shared.sends(good, bad) == {good.event_id: {}, bad.event_id: {}}
    await shared.ear.hears(shared.room.room_id, good.event_id)
    assert await is_soft_failed(shared, bad)
    answer = await shared.alice.says(shared.room.room_id, "what?")
    await shared.peer.gets(answer)
    assert shared.room.events[answer].prev_events == (good.event_id,)  # type: ignore[index]


async def test_what_builds_on_a_refused_event_is_taken(shared: Shared, watch: Policy) -> None:
    watch.refuses = lambda event: "spam" if event["content"].get("body") == "buy" else None
    bad, good = says(shared, "buy"), says(shared)
    assert await shared.sends(bad, good) == {bad.event_id: {}, good.event_id: {}}
    await shared.ear.hears(shared.room.room_id, good.event_id)
    assert await is_soft_failed(shared, bad)


async def test_an_event_signed_with_an_old_key_is_asked_about_again(shared: Shared, watch: Policy) -> None:
    before = shared.room.heads
    event = watch.signed(says(shared))
    watch.key = policy.key(2)
    change = shared.room.sets(shared.peer.user("creator"), policy.POLICY, watch.content, prev=before)
    assert await shared.sends(change) == {change.event_id: {}}
    assert await shared.sends(event) == {event.event_id: {}}
    assert watch.asked == [wire(event)]
    found = await stored(shared, event)
    assert found is not None
    assert watch.has_signed({**event.fields, "signatures": found[1]}, "11")


async def test_a_room_without_one_asks_nobody(shared: Shared, watch: Policy) -> None:
    creator, peer = shared.peer.user("creator"), shared.peer
    for content in ({}, {**watch.content, "via": "elsewhere.example"}, {**watch.content, "public_keys": {}}):
        change, event = shared.room.sets(creator, policy.POLICY, content), says(shared)
        assert await shared.sends(change, event) == {change.event_id: {}, event.event_id: {}}
        await shared.ear.hears(shared.room.room_id, event.event_id)
    other = shared.elsewhere.says(creator)
    assert await shared.sends(other) == {other.event_id: {}}
    assert not peer.asked_for("policy_sign")


async def test_a_room_that_its_policy_server_has_left_asks_nobody(shared: Shared, watch: Policy) -> None:
    creator = shared.peer.user("creator")
    levels = dict(shared.room.content("m.room.power_levels") or {})
    levels["users"] = {**levels["users"], shared.alice.user_id: 100}
    events = [
        watch.signed(event)
        for event in (
            shared.room.sets(creator, "m.room.power_levels", levels),
            shared.room.member(shared.peer.user("guest"), shared.peer.user("guest"), "leave"),
            shared.room.member(creator, creator, "leave"),
        )
    ]
    assert await shared.sends(*events) == {event.event_id: {} for event in events}
    await shared.alice.says(shared.room.room_id, "alone")
    assert not watch.asked


async def forged(peer: Peer, asked: Asked) -> Reply:
    """Sign, and say more than one was asked."""
    watch = Policy(peer)
    answer: dict[str, Any] = recommend(watch.read(asked), peer.name, watch.key)
    answer[peer.name]["ed25519:1"] = "forged"
    return {**answer, "localhost": {"ed25519:1": "forged"}, "content": {"body": "forged"}, "event_id": "$forged"}


async def by_another_key(peer: Peer, asked: Asked) -> Reply:
    return recommend(Policy(peer).read(asked), peer.name, policy.key(2))


async def of_another_event(peer: Peer, asked: Asked) -> Reply:
    watch = Policy(peer)
    event = Pdu.from_wire({**asked.body, "depth": 77}, watch.read(asked).version)
    return recommend(event, peer.name, watch.key)


async def in_anothers_name(peer: Peer, asked: Asked) -> Reply:
    watch = Policy(peer)
    return {"elsewhere.example": recommend(watch.read(asked), peer.name, watch.key)[peer.name]}


WRONG: Mapping[str, Answer] = {
    "another key": by_another_key,
    "another event": of_another_event,
    "another name": in_anothers_name,
    "nothing": lies.says({}),
    "numbers": lies.says({"localhost": {"ed25519:policy_server": 1}}),
    "not found": lies.fails(404, "M_NOT_FOUND"),
    "busy for long": lies.fails(429, "M_LIMIT_EXCEEDED", retry_after_ms=3_600_000),
    "busy for ever": lies.fails(429, "M_LIMIT_EXCEEDED"),
}


@pytest.mark.parametrize("answers", [WRONG, lies.BROKEN, lies.ENDLESS], ids=["wrong", "broken", "endless"])
async def test_a_policy_server_that_gives_no_signature_does_not_let_events_in(
    shared: Shared, watch: Policy, hasty: None, answers: Mapping[str, Answer]
) -> None:
    before, creator = shared.room.heads, shared.peer.user("creator")
    for name, answer in answers.items():
        shared.peer.instead["policy_sign"] = answer
        shared.ours.app.services.handshakes.policed.asking.forget()
        event = says(shared)
        assert await shared.sends(event) == {event.event_id: {}}
        assert await is_soft_failed(shared, event), name
    assert len(watch.asked) >= len(answers)
    # The room can rid itself of it.
    change = shared.room.sets(creator, policy.POLICY, {}, prev=before)
    assert await shared.sends(change) == {change.event_id: {}}
    last = shared.room.says(creator, prev=[change.event_id])
    assert await shared.sends(last) == {last.event_id: {}}
    await shared.ear.hears(shared.room.room_id, last.event_id)


async def test_of_its_answer_only_its_signature_counts(shared: Shared, watch: Policy) -> None:
    shared.peer.instead["policy_sign"] = forged
    event = says(shared)
    assert await shared.sends(event) == {event.event_id: {}}
    assert await stored(shared, event) == (Status.ACCEPTED, watch.signed(event).fields["signatures"])
    shown = await shared.ear.hears(shared.room.room_id, event.event_id)
    assert shown["content"] == event.content


async def test_one_that_is_busy_is_asked_again(shared: Shared, watch: Policy) -> None:
    async def busy_once(peer: Peer, asked: Asked) -> Reply:
        peer.instead["policy_sign"] = watch.answer
        return await lies.fails(429, "M_LIMIT_EXCEEDED", retry_after_ms=20)(peer, asked)

    shared.peer.instead["policy_sign"] = busy_once
    event = says(shared)
    assert await shared.sends(event) == {event.event_id: {}}
    assert watch.asked == [wire(event)] * 2
    await shared.ear.hears(shared.room.room_id, event.event_id)


async def test_many_events_for_one_that_never_answers_are_done_with_soon(
    shared: Shared, watch: Policy, hasty: None
) -> None:
    shared.peer.instead["policy_sign"] = lies.silent
    events = [says(shared, f"{number}") for number in range(50)]
    began = time.monotonic()
    assert await shared.sends(*events) == {event.event_id: {} for event in events}
    assert time.monotonic() - began < 30
    assert len(watch.asked) <= asking.OF_ONE_WRITE
    assert await is_soft_failed(shared, events[-1])

    # Other rooms do not wait for it, and after a while it is asked again.
    other = shared.elsewhere.says(shared.peer.user("creator"))
    assert await shared.sends(other) == {other.event_id: {}}
    shared.peer.instead["policy_sign"] = watch.answer
    shared.ours.app.services.handshakes.policed.asking.forget()
    last = says(shared)
    assert await shared.sends(last) == {last.event_id: {}}
    await shared.ear.hears(shared.room.room_id, last.event_id)


async def test_many_events_are_asked_about_side_by_side_a_few_at_once(shared: Shared, watch: Policy) -> None:
    at_once, most = 0, 0

    async def slow(peer: Peer, asked: Asked) -> Reply:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        if at_once < asking.OF_ONE_WRITE and len(watch.asked) < asking.OF_ONE_WRITE:
            await until(lambda: len(watch.asked) >= asking.OF_ONE_WRITE)
        await asyncio.sleep(0)
        at_once -= 1
        return await watch.answer(peer, asked)

    shared.peer.instead["policy_sign"] = slow
    events = [says(shared, f"{number}") for number in range(50)]
    assert await shared.sends(*events) == {event.event_id: {} for event in events}
    assert most == asking.OF_ONE_WRITE
    assert len(watch.asked) == 50
    await shared.ear.hears(shared.room.room_id, events[-1].event_id)


async def test_events_in_between_that_are_fetched_are_asked_about(shared: Shared, watch: Policy) -> None:
    watch.refuses = lambda event: "spam" if event["content"].get("body") == "buy" else None
    first, bad, last = says(shared), says(shared, "buy"), says(shared)
    assert await shared.sends(last) == {last.event_id: {}}
    await shared.ear.hears(shared.room.room_id, first.event_id)
    await shared.ear.hears(shared.room.room_id, last.event_id)
    assert await is_soft_failed(shared, bad)
    assert len(watch.asked) == 3


async def test_history_from_before_is_not_asked_about(ours: World, peer: Peer) -> None:
    alice = await ours.user("alice")
    room = peer.creates_room("11", history="shared")
    old = [room.says(peer.user("creator"), f"{number}") for number in range(5)]
    watch = Policy.of(peer)
    watch.watches(room)
    ok(await alice.post(f"/join/{q(room.room_id)}", via=peer.name))
    page = ok(await alice.get(f"/rooms/{q(room.room_id)}/messages", dir="b", limit=50))
    assert {event["event_id"] for event in page["chunk"]} >= {event.event_id for event in old}
    assert not watch.asked


async def test_who_comes_through_this_server_must_be_recommended(shared: Shared, watch: Policy, peer: Peer) -> None:
    watch.refuses = lambda event: "not you" if event["sender"] == peer.user("mallory") else None
    room = await shared.alice.creates_room(preset="public_chat", room_version="11")
    await peer.joins(peer.user("bob"), room, shared.ours.name)
    await shared.alice.sets(room, policy.POLICY, watch.content)
    joined = await peer.joins(peer.user("carol"), room, shared.ours.name)
    assert joined.membership(peer.user("carol")) == "join"
    found = await stored(shared, joined.state_event("m.room.member", peer.user("carol")))  # type: ignore[arg-type]
    assert found is not None
    assert peer.name in found[1]
    with pytest.raises(AssertionError, match="not you"):
        await peer.joins(peer.user("mallory"), room, shared.ours.name)
    path = f"/rooms/{q(room)}/state/m.room.member/{q(peer.user('mallory'))}"
    refused(await shared.alice.get(path), 404, "M_NOT_FOUND")


async def test_an_event_that_would_be_too_large_with_the_signature_is_not_let_in(shared: Shared, watch: Policy) -> None:
    sender, size = shared.peer.user("creator"), 60_000
    small = shared.room.make(sender, "m.room.message", {"body": "x" * size})
    event = shared.room.says(sender, "x" * (size + MAX_EVENT_BYTES - 50 - len(encode(small.fields))))
    assert await shared.sends(event) == {event.event_id: {}}
    assert await is_soft_failed(shared, event)
