"""The window of recent events: what it holds is bounded in bytes, and what it has forgotten it does not deny."""

import random

import pytest

from federation.core.ids import EventID, RoomID, UserID
from federation.core.room_versions import ROOM_VERSIONS
from homeserver.model.events import Event, Status
from homeserver.model.nids import DeviceNid, EventNid, RoomNid, SlotNid, UserNid
from homeserver.model.receipts import Receipt, ReceiptKind
from homeserver.services.recent import Recent

MOST = 100_000


def event(place: int, room: int, text: str = "hello") -> Event:
    return Event(
        nid=EventNid(place), place=place, room=RoomNid(room), room_id=RoomID(f"!{room}"), version=ROOM_VERSIONS["12"],
        event_id=EventID(f"${place}"), type="m.room.message", state_key=None, slot=SlotNid(0),
        sender=UserID("@alice:hs1"), sender_nid=UserNid(1), sent_at=1, depth=1,
        content_json=b'{"body":"%b"}' % text.encode(), envelope=b"{}", snapshot=None, room_snapshot=None, replaces=None,
        stood=None, redacted_by=None, status=Status.ACCEPTED,
    )  # fmt: skip


def receipt(place: int, room: int) -> Receipt:
    event_id = EventID(f"${place}")
    return Receipt(RoomNid(room), UserNid(2), ReceiptKind.READ, "", event_id, EventNid(place), 1)


def places(found: list[Event] | None) -> list[int] | None:
    return None if found is None else [event.at for event in found]


@pytest.mark.parametrize("seed", range(5))
def test_it_stays_within_its_bytes_and_says_all_or_that_it_does_not_know(seed: int) -> None:
    chance = random.Random(seed)
    recent, sent, told = Recent(0, MOST, most_in_a_room=40), dict[int, list[int]](), 0
    for place in range(1, 2000):
        room = int(chance.expovariate(0.2))
        if chance.random() < 0.1:
            recent.add_receipt(place, receipt(place, room))
        else:
            recent.add(event(place, room, "x" * chance.choice([1, 100, 5000])))
            recent.sent_as(EventNid(place), DeviceNid(1), f"t{place}")
            sent.setdefault(room, []).append(place)
        assert recent.size <= MOST
        since = chance.randrange(max(0, place - 100), place)
        found = places(recent.since(RoomNid(room), since))
        assert found is None or found == [at for at in sent.get(room, []) if at > since]
        told += bool(found)
    assert told > 100


def test_a_busy_room_alone_keeps_its_newest_events() -> None:
    recent = Recent(0, MOST)
    for place in range(1, 1000):
        recent.add(event(place, 1))
    assert recent.size <= MOST
    assert recent.since(RoomNid(1), 1) is None
    assert places(recent.since(RoomNid(1), 995)) == [996, 997, 998, 999]


def test_how_an_event_was_sent_is_forgotten_with_the_event() -> None:
    recent = Recent(0, MOST)
    for place in range(1, 1000):
        recent.add(event(place, 1))
        recent.sent_as(EventNid(place), DeviceNid(7), f"t{place}")
    assert recent.transaction_id(EventNid(1), DeviceNid(7)) is None
    assert recent.transaction_id(EventNid(999), DeviceNid(7)) == "t999"
    assert recent.transaction_id(EventNid(999), DeviceNid(8)) is None


def test_an_event_that_was_redacted_is_counted_as_it_is_now() -> None:
    recent = Recent(0, MOST)
    recent.add(event(1, 1, "x" * 1000))
    before = recent.size
    recent.replace(event(1, 1, ""))
    assert before - recent.size == 3000
