"""What other servers see of rooms' pasts: https://spec.matrix.org/v1.19/client-server-api/#room-history-visibility."""

from typing import Any

import pytest

from federation.core.ids import EventID, RoomID
from homeserver.services.auth_chains import AuthChains
from homeserver.services.server_access import ServerAccess
from homeserver.services.server_visibility import ServerVisibility
from homeserver.services.serving import Serving
from homeserver.services.states_before import StatesBefore
from homeserver.storage.events import Events
from homeserver.storage.names import Names
from homeserver.storage.room_servers import RoomServers
from homeserver.storage.snapshots import Snapshots
from tests.federation_api.asking import Asking
from tests.federation_api.rooms import offered, pdus, public_room
from tests.support.statements import statements
from tests.support.world import User, World, ok, q


async def room_with_history(alice: User, visibility: str, **content: Any) -> RoomID:
    """Let Alice create a room whose past may be seen by some."""
    setting = {"type": "m.room.history_visibility", "state_key": "", "content": {"history_visibility": visibility}}
    return await public_room(alice, initial_state=[setting], **content)


async def seen(asks: Asking, event_id: str) -> bool:
    """Return whether an event comes with its content."""
    (event,) = pdus(ok(await asks.event(event_id))["pdus"]).values()
    assert event.event_id == event_id
    return bool(event.content)


@pytest.mark.parametrize(
    ("visibility", "before_invite", "invited"),
    [
        ("world_readable", True, True),
        ("shared", True, True),
        ("invited", False, True),
        ("joined", False, False),
    ],
)
async def test_what_was_before_the_join_is_seen_by_the_rooms_rule(
    asks: Asking, ours: World, alice: User, visibility: str, before_invite: bool, invited: bool
) -> None:
    room_id, bob = await room_with_history(alice, visibility), asks.peer.user("bob")
    early = await alice.says(room_id, "early")
    ok(await alice.post(f"/rooms/{q(room_id)}/invite", {"user_id": bob}))
    late = await alice.says(room_id, "late")
    await asks.peer.joins(bob, room_id, ours.name)
    after = await alice.says(room_id, "after")
    assert [await seen(asks, event_id) for event_id in (early, late, after)] == [before_invite, invited, True]

    past = pdus(ok(await asks.backfill(room_id, after, limit=50))["pdus"])
    assert bool(past[early].content) == before_invite  # type: ignore[index]
    assert bool(past[late].content) == invited  # type: ignore[index]
    missing = pdus(ok(await asks.missing(room_id, [], [after], limit=50))["events"])
    assert bool(missing[early].content) == before_invite  # type: ignore[index]


async def test_who_came_back_does_not_see_what_was_said_meanwhile(asks: Asking, ours: World, alice: User) -> None:
    room_id, bob = await room_with_history(alice, "joined"), asks.peer.user("bob")
    await asks.peer.joins(bob, room_id, ours.name)
    first = await alice.says(room_id)
    leave = await offered(asks, "leave", room_id, bob)
    ok(await asks.send("leave", leave))
    meanwhile = await alice.says(room_id)
    ok(await asks.send("join", await offered(asks, "join", room_id, bob)))
    again = await alice.says(room_id)
    assert [await seen(asks, event_id) for event_id in (first, meanwhile, again)] == [True, False, True]
    assert await seen(asks, leave.event_id)


async def test_it_is_enough_that_one_user_of_the_server_was_there(asks: Asking, ours: World, alice: User) -> None:
    room_id = await room_with_history(alice, "joined")
    people = [asks.peer.user(f"user{number}") for number in range(25)]
    for one in people:
        ok(await asks.send("join", await offered(asks, "join", room_id, one)))
    said = await alice.says(room_id)
    for one in people[:24]:
        ok(await asks.send("leave", await offered(asks, "leave", room_id, one)))
    alone = await alice.says(room_id)
    assert await seen(asks, said)
    assert await seen(asks, alone)


async def test_the_rule_of_the_time_counts_and_not_that_of_today(asks: Asking, ours: World, alice: User) -> None:
    room_id = await room_with_history(alice, "joined")
    hidden = await alice.says(room_id)
    await alice.sets(room_id, "m.room.history_visibility", {"history_visibility": "shared"})
    shown = await alice.says(room_id)
    await asks.peer.joins(asks.peer.user("bob"), room_id, ours.name)
    assert [await seen(asks, event_id) for event_id in (hidden, shown)] == [False, True]


async def test_what_the_room_is_called_now_is_told_whenever_it_was_set(asks: Asking, ours: World, alice: User) -> None:
    room_id = await room_with_history(alice, "joined")
    old = await alice.sets(room_id, "m.room.name", {"name": "Old"})
    new = await alice.sets(room_id, "m.room.name", {"name": "New"})
    await asks.peer.joins(asks.peer.user("bob"), room_id, ours.name)
    assert [await seen(asks, event_id) for event_id in (old, new)] == [False, True]


async def test_the_state_at_a_point_that_is_not_seen_still_authorises(asks: Asking, ours: World, alice: User) -> None:
    room_id = await room_with_history(alice, "joined")
    await alice.sets(room_id, "m.room.topic", {"topic": "secret"})
    said = await alice.says(room_id)
    await alice.sets(room_id, "m.room.topic", {"topic": "public"})
    await asks.peer.joins(asks.peer.user("bob"), room_id, ours.name)
    state = {pdu.slot: pdu for pdu in pdus(ok(await asks.state(room_id, said))["pdus"]).values()}
    assert state["m.room.topic", ""].content == {}
    assert state["m.room.member", alice.user_id].content["membership"] == "join"
    assert state["m.room.power_levels", ""].content["users"] is not None

    now = {pdu.slot: pdu for pdu in pdus(ok(await asks.state(room_id, await alice.says(room_id)))["pdus"]).values()}
    assert now["m.room.topic", ""].content == {"topic": "public"}


async def test_a_moment_that_is_not_seen_is_passed_over(asks: Asking, ours: World, alice: User) -> None:
    room_id = await room_with_history(alice, "joined")
    hidden = await alice.says(room_id)
    await asks.peer.joins(asks.peer.user("bob"), room_id, ours.name)
    shown = await alice.says(room_id)
    (event,) = pdus(ok(await asks.event(hidden))["pdus"]).values()
    found = ok(await asks.at_time(room_id, event.origin_server_ts, "f"))
    assert found["event_id"] != hidden
    assert ok(await asks.at_time(room_id, 2**52, "b"))["event_id"] == shown


async def test_many_events_cost_no_more_statements_than_few(asks: Asking, ours: World, alice: User) -> None:
    room_id, peer = await room_with_history(alice, "joined"), asks.peer
    last = ""
    for number in range(40):
        # Each has a state of its own.
        await alice.sets(room_id, "m.room.topic", {"topic": str(number)})
        last = await alice.says(room_id)
    await peer.joins(peer.user("bob"), room_id, ours.name)
    app = ours.app

    async def cost(limit: int) -> int:
        names = Names()
        events, snapshots = Events(names), Snapshots()
        access = ServerAccess(app.services.serving.access.server_name, names, events, snapshots, RoomServers())
        visibility = ServerVisibility(names, events, snapshots)
        serving = Serving(app.db, events, StatesBefore(snapshots), access, visibility, AuthChains())
        with statements() as run:
            found = await serving.backfill(peer.name, room_id, [EventID(last)], limit)
        assert len(found) == limit
        return len(run)

    assert await cost(80) <= await cost(8)
