"""What comes in transactions gets into its room, with all that it builds on, whatever else comes with it."""

import itertools
from typing import Any

import pytest

from federation.core.ids import EventID
from homeserver.services import receiving
from homeserver.services.receiving import arrivals, missing
from tests.federation.sharing import Shared
from tests.support import lies
from tests.support.answers import Asked, Reply
from tests.support.peer import Peer
from tests.support.shared_room import wire
from tests.support.world import World, ok, q, refused

_numbers = itertools.count(1)


@pytest.fixture
async def shared(ours: World, peer: Peer) -> Shared:
    """Alice in a room of the peer."""
    return await Shared.of(ours, peer)


def says(shared: Shared, count: int = 1) -> list[Any]:
    """Let the peer say something that nobody has been sent yet."""
    return [shared.room.says(shared.peer.user("creator"), f"{next(_numbers)}") for _ in range(count)]


async def test_an_event_is_taken_and_shown(shared: Shared) -> None:
    (said,) = says(shared)
    assert await shared.sends(said) == {said.event_id: {}}
    await shared.ear.hears(shared.room.room_id, said.event_id)


async def test_a_transaction_that_comes_again_is_answered_as_before_and_done_once(shared: Shared) -> None:
    done: list[object] = []

    async def hear(origin: object, content: object) -> None:
        done.append(content)

    shared.ours.app.services.receiving.on_edu["m.typing"] = hear
    (said,) = says(shared)
    typing = {"room_id": shared.room.room_id, "user_id": shared.peer.user("creator"), "typing": True}
    edu = {"edu_type": "m.typing", "content": typing}
    answers = [await shared.peer.sends(shared.ours.name, [said], [edu], txn_id="once") for _ in range(3)]
    assert answers == [(200, {"pdus": {said.event_id: {}}})] * 3
    assert done == [typing]

    # Another body under the same ID is not looked at; another server's transaction of that ID is another one.
    (other,) = says(shared)
    assert await shared.peer.sends(shared.ours.name, [other], txn_id="once") == answers[0]
    refused(await shared.gets(other.event_id), 404, "M_NOT_FOUND")


async def test_a_transaction_of_too_much_is_refused(shared: Shared) -> None:
    refused(await shared.peer.sends(shared.ours.name, [{}] * 51), 400, "M_BAD_JSON")
    refused(await shared.peer.sends(shared.ours.name, [], [{}] * 101), 400, "M_BAD_JSON")
    await shared.still_talks()


async def test_a_bad_event_keeps_no_other_back(shared: Shared) -> None:
    first, second = says(shared, 2)
    forged = {**wire(first), "content": {"body": "evil"}, "signatures": {}}
    elsewhere = shared.elsewhere.says(shared.peer.user("creator"))
    results = await shared.sends({"room_id": shared.room.room_id}, forged, first, {}, second, elsewhere)
    assert {event_id for event_id, result in results.items() if not result} >= {second.event_id, elsewhere.event_id}
    await shared.ear.hears(shared.room.room_id, second.event_id)
    await shared.ear.hears(shared.elsewhere.room_id, elsewhere.event_id)


async def test_events_in_between_are_fetched_and_shown_in_order(shared: Shared) -> None:
    said = says(shared, 150)
    assert await shared.sends(said[-1]) == {said[-1].event_id: {}}
    assert 2 <= len(shared.peer.asked_for("missing_events")) <= 4
    assert not shared.peer.asked_for("state_ids")
    page = ok(await shared.alice.get(f"/rooms/{q(shared.room.room_id)}/messages", dir="b", limit=150))
    assert [event["event_id"] for event in reversed(page["chunk"])] == [event.event_id for event in said]
    await shared.still_talks()


@pytest.mark.parametrize("changes", [3, missing.FEW_LACKING + 5])
async def test_where_they_are_not_given_the_state_is_fetched(shared: Shared, changes: int) -> None:
    shared.peer.instead["missing_events"] = lies.says({"events": []})
    creator = shared.peer.user("creator")
    for number in range(changes):
        shared.room.sets(creator, "m.test", {"number": number}, str(number))
    levels = dict(shared.room.content("m.room.power_levels") or {})
    shared.room.sets(creator, "m.room.power_levels", {**levels, "events_default": 0, "state_default": 0})
    (said,) = says(shared)

    assert await shared.sends(said) == {said.event_id: {}}
    assert len(shared.peer.asked_for("state")) == (1 if changes > missing.FEW_LACKING else 0)
    content = ok(await shared.alice.get(f"/rooms/{q(shared.room.room_id)}/state/m.test/{changes - 1}"))
    assert content == {"number": changes - 1}
    del shared.peer.instead["missing_events"]
    await shared.still_talks()


async def test_what_was_fetched_as_state_is_taken_when_it_comes_itself(shared: Shared) -> None:
    shared.peer.instead["missing_events"] = lies.says({"events": []})
    creator = shared.peer.user("creator")
    topic = shared.room.sets(creator, "m.room.topic", {"topic": "Late"})
    (said,) = says(shared)
    assert await shared.sends(said) == {said.event_id: {}}
    assert ok(await shared.alice.get(f"/rooms/{q(shared.room.room_id)}/state/m.room.topic/")) == {"topic": "Late"}
    # Nor will anybody give it.
    shared.peer.instead["event"] = lies.fails(404, "M_NOT_FOUND")
    refused(await shared.gets(topic.event_id), 404, "M_NOT_FOUND")
    assert await shared.sends(topic) == {topic.event_id: {}}
    ok(await shared.gets(topic.event_id))
    shared.peer.instead.clear()
    await shared.still_talks()


async def test_what_authorises_an_event_is_fetched(shared: Shared) -> None:
    creator = shared.peer.user("creator")
    # It stands on what we have, and cites a membership that we have never heard of.
    heads = shared.room.heads
    renamed = shared.room.make(creator, "m.room.member", {"membership": "join", "displayname": "New"}, creator)
    shared.room.know([renamed])
    auth = shared.room.auth_events_for("m.room.name", creator, "", {})
    auth = [renamed.event_id if shared.room.events[each].type == "m.room.member" else each for each in auth]
    named = shared.room.make(creator, "m.room.name", {"name": "Fetched"}, "", prev=heads, auth=auth)
    shared.room.add(named)
    assert await shared.sends(named) == {named.event_id: {}}
    assert len(shared.peer.asked_for("event_auth")) == 1
    name = ok(await shared.alice.get(f"/rooms/{q(shared.room.room_id)}/state/m.room.name/"))
    assert name == {"name": "Fetched"}


async def test_an_event_without_its_past_waits_for_a_later_one(shared: Shared) -> None:
    for ability in ("missing_events", "state_ids", "event_auth"):
        shared.peer.instead[ability] = lies.fails(404, "M_NOT_FOUND")
    said = says(shared, 3)
    assert "error" in (await shared.sends(said[-1]))[said[-1].event_id]
    shared.peer.instead.clear()
    (last,) = says(shared)
    assert await shared.sends(last) == {last.event_id: {}}
    for event in said:
        await shared.ear.hears(shared.room.room_id, event.event_id)


async def test_an_invented_past_costs_a_bounded_number_of_questions(shared: Shared) -> None:
    creator = shared.peer.user("creator")

    def invented(prev: str) -> Any:
        return shared.room.make(creator, "m.room.message", {"body": "evil"}, prev=[EventID(prev)], auth=[])

    async def ever_more(peer: Peer, asked: Asked) -> Reply:
        # Each answer holds what comes before, and that stands on something else again.
        shown = [peer_events[event_id] for event_id in asked.body["latest_events"] if event_id in peer_events]
        found = []
        for event in shown:
            before = chain[event.prev_events[0]]
            peer_events[before.event_id] = before
            found.append(wire(before))
        return {"events": found}

    chain: dict[str, Any] = {}
    latest = invented("$" + "A" * 43)
    for _ in range(100):
        later = invented(latest.event_id)
        chain[latest.event_id] = latest
        latest = later
    peer_events: dict[str, Any] = {latest.event_id: latest}
    shared.peer.instead["missing_events"] = ever_more
    assert "error" in (await shared.sends(latest))[latest.event_id]
    assert len(shared.peer.asked_for("missing_events")) <= missing.ROUNDS
    assert len(shared.peer.asked_for("state_ids")) <= missing.MOST_STATES
    shared.peer.instead.clear()
    await shared.still_talks()


async def test_a_room_that_waits_holds_up_no_other(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "FETCHING_SECONDS", 0.5)
    shared.peer.instead["missing_events"] = lies.silent
    said = says(shared, 2)
    elsewhere = shared.elsewhere.says(shared.peer.user("creator"))
    results = await shared.sends(said[-1], elsewhere)
    assert "error" in results[said[-1].event_id]
    assert results[elsewhere.event_id] == {}
    shared.peer.instead.clear()
    await shared.still_talks()


async def test_events_wait_for_what_goes_on_in_their_room_but_not_for_ever(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "TURN_SECONDS", 0.1)
    (said,) = says(shared)
    async with shared.ours.app.services.receiving.turns.of(shared.room.room_id):
        assert "busy" in (await shared.sends(said))[said.event_id]["error"]
    assert await shared.sends(said) == {said.event_id: {}}


async def test_a_server_that_the_room_refuses_is_not_heard(shared: Shared) -> None:
    heard: list[object] = []

    async def hear(origin: object, content: object) -> None:
        heard.append(content)

    shared.ours.app.services.receiving.on_edu.update({"m.typing": hear, "m.receipt": hear})
    levels = dict(shared.room.content("m.room.power_levels") or {})
    given = {**levels, "users": {**levels["users"], shared.alice.user_id: 100}}
    granted = shared.room.sets(shared.peer.user("creator"), "m.room.power_levels", given)
    assert await shared.sends(granted) == {granted.event_id: {}}
    acl = {"allow": ["*"], "deny": ["localhost"], "allow_ip_literals": True}
    await shared.peer.gets(await shared.alice.sets(shared.room.room_id, "m.room.server_acl", acl))

    (said,) = says(shared)
    elsewhere = shared.elsewhere.says(shared.peer.user("creator"))
    creator = shared.peer.user("creator")
    receipt = {"m.read": {creator: {"event_ids": [said.event_id], "data": {"ts": 1}}}}
    edus = [
        {"edu_type": "m.typing", "content": {"room_id": shared.room.room_id, "user_id": creator, "typing": True}},
        {"edu_type": "m.receipt", "content": {shared.room.room_id: receipt, shared.elsewhere.room_id: receipt}},
    ]
    status, answer = await shared.peer.sends(shared.ours.name, [said, elsewhere], edus)
    assert status == 200
    assert "error" in answer["pdus"][said.event_id]
    assert answer["pdus"][elsewhere.event_id] == {}
    assert heard == [{shared.elsewhere.room_id: receipt}]


async def test_a_handler_that_fails_keeps_no_other_edu_back(shared: Shared) -> None:
    heard: list[object] = []

    async def fail(origin: object, content: object) -> None:
        raise ValueError("a mistake of ours")

    async def hear(origin: object, content: object) -> None:
        heard.append(content)

    shared.ours.app.services.receiving.on_edu.update({"m.presence": fail, "m.typing": hear})
    creator = shared.peer.user("creator")
    typing = {"room_id": shared.room.room_id, "user_id": creator, "typing": True}
    edus = [
        {"edu_type": "m.presence", "content": {"push": [{"user_id": creator, "presence": "online"}]}},
        {"edu_type": "m.unheard_of", "content": {}},
        {"edu_type": "m.typing", "content": typing},
    ]
    assert await shared.peer.sends(shared.ours.name, [], edus) == (200, {"pdus": {}})
    assert heard == [typing]


async def test_a_room_that_nobody_here_is_in_any_more_is_left_alone(shared: Shared) -> None:
    ok(await shared.alice.post(f"/rooms/{q(shared.room.room_id)}/leave"))
    await shared.ear.is_now(shared.room.room_id, "leave")
    (said,) = says(shared)
    assert "error" in (await shared.sends(said))[said.event_id]
    unknown = shared.peer.creates_room("12")
    said = unknown.says(shared.peer.user("creator"))
    assert "error" in (await shared.sends(said))[said.event_id]

    # Who comes back later has it from the room.
    ok(await shared.alice.post(f"/join/{q(shared.room.room_id)}", via=shared.peer.name))
    await shared.still_talks()


async def test_branches_that_meet_are_one_room_again(shared: Shared) -> None:
    creator, guest = shared.peer.user("creator"), shared.peer.user("guest")
    heads = shared.room.heads
    one = shared.room.make(creator, "m.room.topic", {"topic": "one"}, "", prev=heads)
    other = shared.room.make(guest, "m.room.message", {"body": "other"}, prev=heads)
    for event in (one, other):
        shared.room.add(event)
    assert await shared.sends(other, one) == {other.event_id: {}, one.event_id: {}}
    await shared.still_talks()
