"""Other servers read events, state and auth chains of the rooms that they are in."""

import pytest

from federation.core.ids import RoomID
from tests.federation_api.asking import Asking
from tests.federation_api.rooms import pdus, public_room
from tests.support.world import User, World, ok, refused


@pytest.fixture
async def room_id(asks: Asking, ours: World, alice: User) -> RoomID:
    """A room of Alice's in which the peer's Bob is."""
    room_id = await public_room(alice, name="Hall")
    await asks.peer.joins(asks.peer.user("bob"), room_id, ours.name)
    return room_id


async def test_an_event_comes_as_a_transaction(asks: Asking, ours: World, alice: User, room_id: RoomID) -> None:
    said = await alice.says(room_id, "hello")
    answer = ok(await asks.event(said))
    assert answer["origin"] == ours.name
    assert isinstance(answer["origin_server_ts"], int)
    (event,) = pdus(answer["pdus"]).values()
    assert (event.event_id, event.content["body"]) == (said, "hello")
    assert set(answer["pdus"][0]) == {
        "auth_events", "content", "depth", "hashes", "origin_server_ts", "prev_events", "room_id", "sender",
        "signatures", "type",
    }  # fmt: skip


async def test_an_event_that_was_redacted_comes_redacted(asks: Asking, alice: User, room_id: RoomID) -> None:
    said = await alice.says(room_id, "hello")
    await alice.redacts(room_id, said)
    (event,) = pdus(ok(await asks.event(said))["pdus"]).values()
    assert (event.event_id, event.content) == (said, {})


async def test_the_state_is_that_before_the_event(asks: Asking, alice: User, room_id: RoomID) -> None:
    first = await alice.sets(room_id, "m.room.topic", {"topic": "first"})
    second = await alice.sets(room_id, "m.room.topic", {"topic": "second"})
    for event_id, topic in ((first, None), (second, first), (await alice.says(room_id), second)):
        answer = ok(await asks.state(room_id, event_id))
        state = pdus(answer["pdus"])
        topics = [pdu.event_id for pdu in state.values() if pdu.type == "m.room.topic"]
        assert topics == ([topic] if topic else [])
        chain = pdus(answer["auth_chain"])
        assert all(set(pdu.auth_events) <= chain.keys() for pdu in [*state.values(), *chain.values()])

        ids = ok(await asks.state_ids(room_id, event_id))
        assert set(ids["pdu_ids"]) == state.keys()
        assert set(ids["auth_chain_ids"]) == chain.keys()


async def test_an_auth_chain_leads_to_the_beginning(asks: Asking, alice: User, room_id: RoomID) -> None:
    await alice.sets(room_id, "m.room.topic", {"topic": "first"})
    said = await alice.says(room_id)
    chain = pdus(ok(await asks.event_auth(room_id, said))["auth_chain"])
    kinds = [pdu.type for pdu in chain.values()]
    assert kinds == ["m.room.create", "m.room.member", "m.room.power_levels"]
    (event,) = pdus(ok(await asks.event(said))["pdus"]).values()
    assert set(event.auth_events) <= chain.keys()


@pytest.mark.parametrize("version", ["1", "3", "11"])
async def test_rooms_of_old_versions_are_read_alike(asks: Asking, ours: World, alice: User, version: str) -> None:
    room_id = await public_room(alice, version)
    await asks.peer.joins(asks.peer.user("bob"), room_id, ours.name)
    said = await alice.says(room_id)
    (event,) = pdus(ok(await asks.event(said))["pdus"], version).values()
    answer = ok(await asks.state(room_id, said))
    state, chain = pdus(answer["pdus"], version), pdus(answer["auth_chain"], version)
    assert set(event.auth_events) <= chain.keys()
    assert all(set(pdu.auth_events) <= chain.keys() for pdu in [*state.values(), *chain.values()])


async def test_the_event_nearest_to_a_time_is_found(asks: Asking, alice: User, room_id: RoomID) -> None:
    said = [await alice.says(room_id, str(number)) for number in range(3)]
    (middle,) = pdus(ok(await asks.event(said[1]))["pdus"]).values()
    ts = middle.origin_server_ts
    found = ok(await asks.at_time(room_id, ts, "f"))
    assert found["origin_server_ts"] >= ts
    assert ok(await asks.at_time(room_id, 2**52, "b"))["event_id"] == said[2]
    refused(await asks.at_time(room_id, 2**52, "f"), 404, "M_NOT_FOUND")
    refused(await asks.at_time(room_id, 0, "b"), 404, "M_NOT_FOUND")
    refused(await asks.at_time(room_id, 2**60, "b"), 400, "M_INVALID_PARAM")


# Who gets nothing


async def test_a_server_that_is_not_in_the_room_reads_nothing(asks: Asking, alice: User) -> None:
    room_id = await public_room(alice)
    said = await alice.says(room_id)
    await refuses_everything(asks, room_id, said)
    refused(await asks.event(said), 404, "M_NOT_FOUND")


async def test_a_server_that_has_left_reads_nothing(asks: Asking, ours: World, alice: User, room_id: RoomID) -> None:
    said = await alice.says(room_id)
    await asks.peer.leaves(asks.peer.user("bob"), room_id, ours.name)
    await refuses_everything(asks, room_id, said)
    refused(await asks.event(said), 404, "M_NOT_FOUND")


async def test_a_server_that_the_room_refuses_reads_nothing(asks: Asking, alice: User, room_id: RoomID) -> None:
    said = await alice.says(room_id)
    await alice.sets(room_id, "m.room.server_acl", {"allow": ["*"], "deny": ["localhost"]})
    await refuses_everything(asks, room_id, said)
    refused(await asks.event(said), 403, "M_FORBIDDEN")


async def test_a_room_that_does_not_exist_looks_like_one_that_one_is_not_in(asks: Asking) -> None:
    await refuses_everything(asks, RoomID("!nowhere:example.org"), "$" + "A" * 43)


async def refuses_everything(asks: Asking, room_id: RoomID, event_id: str) -> None:
    """Ask for everything there is of a room."""
    answers = [
        await asks.state(room_id, event_id),
        await asks.state_ids(room_id, event_id),
        await asks.event_auth(room_id, event_id),
        await asks.backfill(room_id, event_id),
        await asks.missing(room_id, [], [event_id]),
        await asks.at_time(room_id, 0, "f"),
    ]
    for answer in answers:
        refused(answer, 403, "M_FORBIDDEN")


# What is not there


async def test_events_that_are_unknown_or_of_other_rooms_are_not_found(
    asks: Asking, ours: World, alice: User, room_id: RoomID
) -> None:
    elsewhere = await alice.says(await public_room(alice))
    for event_id in ("$" + "A" * 43, "nonsense", "$\x01", elsewhere):
        refused(await asks.state(room_id, event_id), 404, "M_NOT_FOUND")
        refused(await asks.state_ids(room_id, event_id), 404, "M_NOT_FOUND")
        refused(await asks.event_auth(room_id, event_id), 404, "M_NOT_FOUND")
        refused(await asks.event(event_id), 404, "M_NOT_FOUND")


async def test_the_event_at_which_the_state_is_wanted_must_be_named(asks: Asking, room_id: RoomID) -> None:
    refused(await asks.get(f"/v1/state/{room_id}"), 400, "M_MISSING_PARAM")
    refused(await asks.get(f"/v1/state_ids/{room_id}"), 400, "M_MISSING_PARAM")
