"""A peer that sends what is no event, is not signed, is not allowed, or has no place: none of it is seen, and all else
goes on."""

from pathlib import Path

import pytest

from federation.core.events.pdu import Pdu
from federation.core.ids import EventID
from tests.federation.sharing import Shared
from tests.support import lies
from tests.support.answers import Asked, Reply
from tests.support.forgery import EVIL, Endless
from tests.support.peer import Peer
from tests.support.shared_room import signed_again, wire
from tests.support.waiting import asking
from tests.support.world import World, ok, q

VERSIONS = ("1", "6", "11", "12")
KINDS = ("not_events", "unsigned", "refused", "misplaced")


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """SQLite: nothing here depends on which database it is."""
    return f"sqlite:///{tmp_path}/isthmus.db"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_bad_event_is_not_taken_and_stops_nothing(ours: World, peer: Peer, version: str, kind: str) -> None:
    shared = await Shared.of(ours, peer, version)
    for what, bad in getattr(shared.forger, kind)():
        before = len(peer.asked)
        good = shared.room.says(peer.user("creator"), f"after {what}")
        results = await shared.sends(bad, good)
        assert results[good.event_id] == {}, what
        await shared.ear.hears(shared.room.room_id, good.event_id)
        assert len(peer.asked) - before < 30, f"{what}: that is much to ask for one event"
    await shared.still_talks()


async def test_bad_events_in_one_transaction_take_nobody_with_them(ours: World, peer: Peer) -> None:
    shared = await Shared.of(ours, peer)
    bad = [pdu for _, pdu in shared.forger.all() if len(str(pdu)) < 50_000]
    good = [shared.room.says(peer.user("creator"), f"message {number}") for number in range(2)]
    for start in range(0, len(bad), 48):
        await shared.sends(good[0], *bad[start : start + 48], good[1])
    for event in good:
        await shared.ear.hears(shared.room.room_id, event.event_id)
    await shared.still_talks()


@pytest.mark.parametrize("version", VERSIONS)
async def test_of_an_event_with_a_wrong_hash_the_redacted_form_is_taken(ours: World, peer: Peer, version: str) -> None:
    shared = await Shared.of(ours, peer, version)
    event = shared.room.says(peer.user("creator"), "true")
    await shared.sends({**wire(event), "content": {"msgtype": "m.text", "body": EVIL}})
    heard = await shared.ear.hears(shared.room.room_id, event.event_id)
    assert heard["content"] == {}
    await shared.still_talks()


async def test_an_event_id_is_that_of_one_event(ours: World, peer: Peer) -> None:
    shared = await Shared.of(ours, peer, "1")
    first = shared.room.says(peer.user("creator"), "first")
    await shared.sends(first)
    await shared.ear.hears(shared.room.room_id, first.event_id)
    await shared.sends(shared.forger.signed(event_id=first.event_id))
    await shared.still_talks()
    assert (await shared.gets(first.event_id))[1]["content"]["body"] == "first"


async def test_an_event_of_another_room_with_the_same_id_is_not_taken(ours: World, peer: Peer) -> None:
    shared = await Shared.of(ours, peer, "1")
    first = shared.elsewhere.says(peer.user("creator"), "first")
    await shared.sends(first)
    await shared.ear.hears(shared.elsewhere.room_id, first.event_id)
    await shared.sends(shared.forger.signed(event_id=first.event_id))
    await shared.still_talks()
    assert (await shared.gets(first.event_id))[0] == 404


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_greatest_depth_is_no_end(ours: World, peer: Peer, version: str) -> None:
    shared = await Shared.of(ours, peer, version)
    shared.room.says(peer.user("creator"), "deep", depth=shared.room.version.max_depth)
    await shared.sends(shared.room.timeline()[-1])
    await shared.still_talks()
    await shared.still_talks()


async def test_an_event_with_an_event_id_that_lies_changes_no_other(ours: World, peer: Peer) -> None:
    shared = await Shared.of(ours, peer)
    first = shared.room.says(peer.user("creator"), "first")
    await shared.sends(first)
    honest = wire(shared.room.make(peer.user("creator"), "m.room.message", {"body": "second"}))
    second = signed_again({**honest, "event_id": first.event_id}, shared.room.version, peer.name, peer.key)
    await shared.sends(second)
    event = Pdu.from_wire(second, shared.room.version)
    shared.room.add(event)
    await shared.ear.hears(shared.room.room_id, event.event_id)
    assert (await shared.gets(first.event_id))[1]["content"]["body"] == "first"
    assert (await shared.gets(event.event_id))[1]["event_id"] == event.event_id
    await shared.still_talks()


async def test_a_transaction_that_comes_again_does_nothing_again(ours: World, peer: Peer) -> None:
    shared = await Shared.of(ours, peer)
    event = shared.room.says(peer.user("creator"), "once")
    edu = {"edu_type": "m.direct_to_device", "content": {
        "sender": peer.user("creator"), "type": "org.example.once", "message_id": "1",
        "messages": {shared.alice.user_id: {"*": {}}},
    }}  # fmt: skip
    first = await peer.sends(ours.name, [event], [edu], txn_id="again")
    assert first == (200, {"pdus": {event.event_id: {}}})
    for _ in range(3):
        assert await peer.sends(ours.name, [event], [edu], txn_id="again") == first
    # The same event and message under other names, and another event under the same.
    await peer.sends(ours.name, [event], [edu], txn_id="other")
    late = shared.room.says(peer.user("creator"), "late")
    assert await peer.sends(ours.name, [late], [], txn_id="again") == first
    await shared.sends(late)
    await shared.ear.hears(shared.room.room_id, late.event_id)
    assert shared.ear.messages(shared.room.room_id).count("once") == 1
    assert [message["type"] for message in shared.ear.to_device] == ["org.example.once"]


async def test_a_transaction_that_is_too_long_is_refused(ours: World, peer: Peer) -> None:
    shared = await Shared.of(ours, peer)
    events = [wire(shared.room.says(peer.user("creator"), str(number))) for number in range(51)]
    typing = {"edu_type": "m.typing", "content": {}}
    for pdus, edus in ((events, []), ([], [typing] * 101)):
        status, answer = await peer.sends(ours.name, pdus, edus)
        assert (status, answer["errcode"][:2]) == (400, "M_")
    await shared.sends(*events[:50])
    await shared.sends(events[50])
    await shared.still_talks()


async def test_ancestors_without_end_cost_a_bounded_amount(ours: World, peer: Peer) -> None:
    shared = await Shared.of(ours, peer, "1")
    endless = Endless(shared.forger)

    async def missing(peer: Peer, asked: Asked) -> Reply:
        wanted = [f"$more{endless.made}x{number}:{peer.name}" for number in range(asked.body.get("limit", 10))]
        return {"events": [endless.event(event_id) for event_id in wanted]}

    async def one(peer: Peer, asked: Asked) -> Reply:
        return {"origin": peer.name, "origin_server_ts": peer.now_ms(), "pdus": [endless.event(asked.values[0])]}

    async def ids(peer: Peer, asked: Asked) -> Reply:
        return {"pdu_ids": [f"$s{n}:{peer.name}" for n in range(2000)], "auth_chain_ids": []}

    peer.instead |= {"missing_events": missing, "event": one, "state_ids": ids, "backfill": missing}
    peer.instead["event_auth"] = peer.instead["state"] = lies.fails(404, "M_NOT_FOUND")
    await shared.sends(endless.event(f"$first:{peer.name}"))
    # Another room is not held up.
    event = shared.elsewhere.says(peer.user("creator"), "meanwhile")
    await shared.sends(event)
    await shared.ear.hears(shared.elsewhere.room_id, event.event_id)
    peer.instead.clear()
    await shared.still_talks()
    assert len(peer.asked) < 3000
    assert endless.made < 5000


async def test_auth_chains_without_end_cost_a_bounded_amount(ours: World, peer: Peer) -> None:
    shared = await Shared.of(ours, peer, "1")
    endless = Endless(shared.forger)

    def cited(event_id: str) -> dict[str, object]:
        return endless.event(event_id, auth_events=[])

    async def one(peer: Peer, asked: Asked) -> Reply:
        return {"origin": peer.name, "origin_server_ts": peer.now_ms(), "pdus": [cited(asked.values[0])]}

    async def chain(peer: Peer, asked: Asked) -> Reply:
        return {"auth_chain": [cited(f"$chain{endless.made}:{peer.name}") for _ in range(1000)]}

    peer.instead |= {"event": one, "event_auth": chain}
    for number in range(3):
        await shared.sends(cited(f"$first{number}:{peer.name}"))
    peer.instead.clear()
    await shared.still_talks()
    assert len(peer.asked) < 2000
    assert endless.made < 20_000


async def test_auth_events_that_cite_each_other_in_a_circle_end_nowhere(ours: World, peer: Peer) -> None:
    shared = await Shared.of(ours, peer, "1")
    names = [f"$circle{number}:{peer.name}" for number in range(3)]
    circle = {
        name: shared.forger.signed(
            type="m.room.member", state_key=peer.user("creator"), event_id=name, content={"membership": "join"},
            auth_events=shared.forger.ids(names[number - 1], shared.room.state["m.room.create", ""]),
        )
        for number, name in enumerate(names)
    }  # fmt: skip

    async def one(peer: Peer, asked: Asked) -> Reply:
        return {"origin": peer.name, "origin_server_ts": 1, "pdus": [circle[asked.values[0]]]}

    async def chain(peer: Peer, asked: Asked) -> Reply:
        return {"auth_chain": list(circle.values())}

    peer.instead |= {"event": one, "event_auth": chain}
    await shared.sends(shared.forger.signed(auth_events=shared.forger.ids(*names)))
    await shared.sends(*circle.values())
    peer.instead.clear()
    await shared.still_talks()
    assert len(peer.asked) < 100


async def test_a_long_auth_chain_that_is_true_is_taken(ours: World, peer: Peer) -> None:
    shared = await Shared.of(ours, peer)
    guest = peer.user("guest")
    for number in range(500):
        shared.room.send(guest, "m.room.member", {"membership": "join", "displayname": f"guest {number}"}, guest)
    said = shared.room.says(guest, "at last")
    await shared.sends(said)
    await shared.ear.hears(shared.room.room_id, said.event_id)
    await shared.still_talks()
    assert len(peer.asked) < 1500


@pytest.mark.parametrize("how", ["state_ids", "state", "missing_events", "event", "event_auth"])
async def test_a_peer_that_cannot_tell_what_was_before_is_not_waited_for(ours: World, peer: Peer, how: str) -> None:
    shared = await Shared.of(ours, peer)
    others = {"missing_events", "state_ids", "state"} - {how}
    for name, lie in lies.BROKEN.items():
        peer.poured = 0
        peer.instead[how] = lie
        peer.abilities -= others
        unsent = shared.room.make(peer.user("creator"), "m.room.message", {"body": EVIL})
        await shared.sends(
            shared.room.make(
                peer.user("creator"), "m.room.message", {"body": EVIL}, prev=[unsent.event_id], auth=unsent.auth_events
            )
        )
        event = shared.elsewhere.says(peer.user("creator"), "elsewhere")
        await shared.sends(event)
        await shared.ear.hears(shared.elsewhere.room_id, event.event_id)
        assert peer.poured < 64 * lies.MIB, name
    peer.instead.clear()
    peer.abilities |= others
    await shared.still_talks()


async def test_a_state_that_lies_brings_nothing_into_the_room(ours: World, peer: Peer) -> None:
    shared = await Shared.of(ours, peer)
    forger, room = shared.forger, shared.room
    lie = [
        forger.state("m.room.topic", {"topic": EVIL}, sender=peer.user("stranger")),
        *(bad for _, bad in forger.unsigned() if isinstance(bad, dict)),
        *(wire(event) for event in shared.elsewhere.events.values()),
        forger.state("m.room.name", {"name": EVIL}),
        forger.state("m.room.name", {"name": f"{EVIL} too"}),
    ]

    async def state(peer: Peer, asked: Asked) -> Reply:
        return {"pdus": lie, "auth_chain": lie}

    async def ids(peer: Peer, asked: Asked) -> Reply:
        known = [Pdu.from_wire(each, room.version).event_id for each in lie]
        return {"pdu_ids": known, "auth_chain_ids": known}

    async def one(peer: Peer, asked: Asked) -> Reply:
        return {"origin": peer.name, "origin_server_ts": 1, "pdus": lie[:1]}

    peer.instead |= {"state": state, "state_ids": ids, "event": one}
    peer.abilities -= {"missing_events"}
    unknown = EventID("$" + "A" * 43)
    await shared.sends(room.make(peer.user("creator"), "m.room.message", {"body": EVIL}, prev=[unknown]))
    peer.instead.clear()
    peer.abilities |= {"missing_events"}
    await shared.still_talks()


async def test_pages_of_the_past_without_end_are_not_all_asked_for(ours: World, peer: Peer) -> None:
    shared = await Shared.of(ours, peer, "1")
    endless = Endless(shared.forger)

    async def pages(peer: Peer, asked: Asked) -> Reply:
        count = int(asked.one("limit", "10"))
        events = [endless.event(f"$page{endless.made}:{peer.name}") for _ in range(count)]
        return {"origin": peer.name, "origin_server_ts": 1, "pdus": events}

    peer.instead["backfill"] = pages
    answer = await asking(
        lambda: shared.alice.get(f"/rooms/{q(shared.room.room_id)}/messages", dir="b", limit=50), lambda a: a[0] == 200
    )
    assert EVIL not in str(ok(answer))
    assert len(peer.asked_for("backfill")) < 20
    assert endless.made < 5000
    peer.instead.clear()
    await shared.still_talks()
