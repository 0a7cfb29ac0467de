"""Events are taken after what they build on, in whatever order they come."""

import random

from federation.core.auth.receipt import Received
from federation.core.events.pdu import Pdu
from federation.core.ids import EventID
from homeserver.services.receiving.order import in_order, reachable
from tests.support.rooms import ALICE, BOB, Room


def received(*events: Pdu) -> dict[EventID, Received]:
    """Return events as they come from a server."""
    return {event.event_id: Received(event) for event in events}


def test_each_event_comes_after_its_previous_and_auth_events() -> None:
    room = Room.public("11", joined=[BOB])
    for _ in range(20):
        room.says(ALICE)
        room.sets(BOB, "m.test", {})
    events = list(room.events.values())
    for seed in range(10):
        random.Random(seed).shuffle(events)
        ordered = [each.event for each in in_order(received(*events))]
        seen: set[EventID] = set()
        for event in ordered:
            assert {*event.prev_events, *event.auth_events} <= seen
            seen.add(event.event_id)
        assert len(ordered) == len(events)


def test_what_depends_on_nothing_keeps_its_order() -> None:
    room = Room.public("11")
    heads = room.heads
    events = [room.says(ALICE, prev=heads) for _ in range(5)]
    assert [each.event for each in in_order(received(*events))] == events


def test_a_circle_is_walked_once() -> None:
    room = Room.public("1")
    first = room.says(ALICE, prev=[EventID("$event9:a.example")])
    chain = [first]
    while len(chain) < 50:
        chain.append(room.says(ALICE, prev=[chain[-1].event_id]))
    fields = {**first.fields, "prev_events": [[chain[-1].event_id, {}]]}
    circle = [Pdu.trusted(fields, first.version, first.event_id), *chain[1:]]
    assert {each.event.event_id for each in in_order(received(*circle))} == {each.event_id for each in chain}
    assert len(reachable(received(*circle), {first.event_id})) == 50


def test_chains_of_any_length_are_followed() -> None:
    room = Room.public("11")
    events = [room.says(ALICE) for _ in range(3000)]
    ordered = [each.event for each in in_order(received(*reversed(events)))]
    assert ordered == events


def test_only_what_leads_to_something_wanted_is_reachable() -> None:
    room = Room.public("11")
    wanted = [room.says(ALICE) for _ in range(3)]
    beside = room.says(ALICE, prev=[EventID("$" + "A" * 43)])
    after = room.says(ALICE, prev=[wanted[-1].event_id])
    found = reachable(received(after, beside, *wanted), {wanted[-1].event_id})
    assert set(found) == {each.event_id for each in wanted}
    assert reachable(received(*wanted), {EventID("$" + "A" * 43)}) == {}
