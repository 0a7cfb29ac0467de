"""Presence: who shares a room sees who is there; nobody else does."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from homeserver.services import live
from homeserver.services.presence import GONE_SECONDS, IDLE_SECONDS, SETTLE_SECONDS
from tests.support.clock import MovableClock
from tests.support.world import PASSWORD, User, World, ok, q, refused


async def says(user: User, presence: str, **body: Any) -> None:
    ok(await user.put(f"/presence/{q(user.user_id)}/status", {"presence": presence, **body}))


async def asks(user: User, other: User) -> Any:
    return ok(await user.get(f"/presence/{q(other.user_id)}/status"))


async def looks(user: User, **query: Any) -> dict[str, Any]:
    """Sync without being seen; return what is told of presence, by user."""
    answer = await user.syncs(set_presence="offline", **query)
    events = answer.get("presence", {}).get("events", [])
    assert all(event["type"] == "m.presence" for event in events)
    return {event["sender"]: event["content"] for event in events}


async def until_told_of(user: User, other: User) -> Any:
    """Sync, waiting, until something is told of another user; return it."""
    async with asyncio.timeout(15):
        while True:
            told = await looks(user, timeout=10_000)
            if other.user_id in told:
                return told[other.user_id]


async def share_a_room(*users: User) -> str:
    """Put all into one room, and let them see all that there is to see."""
    room = await users[0].creates_room(*users[1:])
    for user in users[1:]:
        await user.joins(room)
    for user in users:
        await looks(user)
    return room


@pytest.fixture
def clock() -> MovableClock:
    """The time in `later`."""
    return MovableClock()


@pytest.fixture
async def later(database_url: str, tmp_path: Path, clock: MovableClock) -> AsyncIterator[World]:
    """A server whose time a test moves on."""
    async with World.start(database_url, tmp_path, clock=clock) as world:
        yield world


# Who sees it


async def test_who_shares_a_room_sees_it_change(alice: User, bob: User) -> None:
    await share_a_room(alice, bob)
    await says(bob, "unavailable", status_msg="lunch")
    told = await looks(alice)
    assert told[bob.user_id]["presence"] == "unavailable"
    assert told[bob.user_id]["status_msg"] == "lunch"
    assert 0 <= told[bob.user_id]["last_active_ago"] < 60_000
    assert bob.user_id in await looks(bob), "one sees one's own"


async def test_a_waiting_sync_is_told_at_once(alice: User, bob: User) -> None:
    await share_a_room(alice, bob)
    waits = asyncio.create_task(until_told_of(alice, bob))
    await says(bob, "online")
    told = await waits
    assert told["presence"] == "online"
    assert told["currently_active"] is True


async def test_strangers_see_nothing_and_may_not_ask(world: World, alice: User, bob: User) -> None:
    await says(bob, "online", status_msg="hello")
    assert bob.user_id not in await looks(alice)
    refused(await alice.get(f"/presence/{q(bob.user_id)}/status"), 403, "M_FORBIDDEN")
    refused(await alice.get(f"/presence/{q('@nobody:hs1')}/status"), 403, "M_FORBIDDEN")


async def test_who_was_invited_shares_no_room_yet(alice: User, bob: User) -> None:
    await alice.creates_room(bob)
    refused(await alice.get(f"/presence/{q(bob.user_id)}/status"), 403, "M_FORBIDDEN")


async def test_who_left_sees_nothing_any_more(alice: User, bob: User) -> None:
    room = await share_a_room(alice, bob)
    ok(await alice.post(f"/rooms/{q(room)}/leave"))
    await says(bob, "online")
    assert bob.user_id not in await looks(alice)
    refused(await alice.get(f"/presence/{q(bob.user_id)}/status"), 403, "M_FORBIDDEN")


async def test_one_may_ask_for_it(alice: User, bob: User) -> None:
    await share_a_room(alice, bob)
    assert (await asks(alice, bob))["presence"] == "offline"
    await says(bob, "online", status_msg="here")
    for answer in (await asks(alice, bob), await asks(bob, bob)):
        assert (answer["presence"], answer["status_msg"], answer["currently_active"]) == ("online", "here", True)


async def test_an_initial_sync_tells_of_those_who_are_not_offline(world: World, alice: User, bob: User) -> None:
    carol = await world.user("carol")
    await share_a_room(alice, bob, carol)
    await says(bob, "online")
    await says(carol, "offline")
    alice.since = None
    assert set(await looks(alice)) == {bob.user_id}


async def test_a_sync_without_news_tells_nothing(alice: User, bob: User) -> None:
    await share_a_room(alice, bob)
    await says(bob, "online")
    assert bob.user_id in await looks(alice)
    await bob.syncs()
    assert await looks(alice) == {}


async def test_who_comes_into_a_room_sees_who_is_there_and_is_seen(world: World, alice: User, bob: User) -> None:
    carol = await world.user("carol")
    room = await share_a_room(alice, bob)
    await says(bob, "online")
    await says(carol, "online")
    for user in (alice, carol):
        await looks(user)
    ok(await alice.post(f"/rooms/{q(room)}/invite", {"user_id": carol.user_id}))
    await carol.joins(room)
    assert (await looks(carol))[bob.user_id]["presence"] == "online"
    assert (await looks(alice))[carol.user_id]["presence"] == "online"
    assert await looks(carol) == {}


async def test_the_rooms_of_who_never_syncs_are_known_too(alice: User, bob: User) -> None:
    await says(bob, "online")
    room = await alice.creates_room(bob)
    await bob.joins(room)
    assert (await looks(alice))[bob.user_id]["presence"] == "online"
    ok(await bob.post(f"/rooms/{q(room)}/leave"))
    await says(bob, "unavailable")
    assert bob.user_id not in await looks(alice)


async def test_who_was_away_long_is_told_what_changed_meanwhile(later: World, clock: MovableClock) -> None:
    alice, bob = await later.user("alice"), await later.user("bob")
    await share_a_room(alice, bob)
    await says(bob, "online")
    await looks(alice)
    clock.advance(live.IDLE_SECONDS + 1)
    later.app.services.live.prune()
    await says(bob, "unavailable")
    assert (await looks(alice))[bob.user_id]["presence"] == "unavailable"


# What makes it


async def test_syncing_makes_one_online(alice: User, bob: User) -> None:
    await share_a_room(alice, bob)
    await bob.syncs()
    assert (await looks(alice))[bob.user_id]["presence"] == "online"
    await bob.syncs(set_presence="unavailable")
    assert (await looks(alice))[bob.user_id]["presence"] == "unavailable"


async def test_a_sync_that_crosses_what_was_set_does_not_undo_it(later: World, clock: MovableClock) -> None:
    alice, bob = await later.user("alice"), await later.user("bob")
    await share_a_room(alice, bob)
    await says(bob, "online", status_msg="here")
    await bob.syncs(set_presence="unavailable")
    assert (await looks(alice))[bob.user_id]["presence"] == "online"
    clock.advance(SETTLE_SECONDS)
    await bob.syncs(set_presence="unavailable")
    assert (await looks(alice))[bob.user_id]["presence"] == "unavailable"


async def test_a_sync_that_says_offline_shows_nothing(alice: User, bob: User) -> None:
    await share_a_room(alice, bob)
    await looks(bob)
    assert await looks(alice) == {}
    assert (await asks(alice, bob))["presence"] == "offline"


async def test_the_most_present_device_counts(alice: User, bob: User) -> None:
    await share_a_room(alice, bob)
    other = await bob.login_again()
    await bob.syncs()
    await other.syncs(set_presence="unavailable")
    assert (await asks(alice, bob))["presence"] == "online"


async def test_who_does_nothing_becomes_unavailable(later: World, clock: MovableClock) -> None:
    alice, bob = await later.user("alice"), await later.user("bob")
    await share_a_room(alice, bob)
    await bob.syncs()
    await looks(alice)
    clock.advance(IDLE_SECONDS + 1)
    await bob.syncs()
    later.app.services.presence.look()
    assert (await looks(alice))[bob.user_id]["presence"] == "unavailable"


async def test_who_does_something_is_online_again(alice: User, bob: User) -> None:
    room = await share_a_room(alice, bob)
    await bob.syncs(set_presence="unavailable")
    assert (await looks(alice))[bob.user_id]["presence"] == "unavailable"
    ok(await bob.put(f"/rooms/{q(room)}/typing/{q(bob.user_id)}", {"typing": True}))
    assert (await looks(alice))[bob.user_id]["presence"] == "online"


async def test_who_logs_out_is_offline_at_once(alice: User, bob: User) -> None:
    await share_a_room(alice, bob)
    await bob.syncs()
    await looks(alice)
    ok(await bob.post("/logout"))
    assert (await looks(alice))[bob.user_id]["presence"] == "offline"


async def test_who_syncs_no_more_goes_offline(later: World, clock: MovableClock) -> None:
    alice, bob = await later.user("alice"), await later.user("bob")
    await share_a_room(alice, bob)
    await bob.syncs()
    assert (await looks(alice))[bob.user_id]["presence"] == "online"
    clock.advance(GONE_SECONDS - 5)
    later.app.services.presence.look()
    assert await looks(alice) == {}
    clock.advance(10)
    later.app.services.presence.look()
    assert (await looks(alice))[bob.user_id]["presence"] == "offline"


async def test_a_sync_that_waits_keeps_one_there(later: World, clock: MovableClock) -> None:
    alice, bob = await later.user("alice"), await later.user("bob")
    await share_a_room(alice, bob)
    await bob.syncs()
    waits = asyncio.create_task(bob.syncs(timeout=60_000))
    async with asyncio.timeout(10):
        while later.app.services.live.waiting == 0:  # noqa: ASYNC110 - a condition of the server
            await asyncio.sleep(0.005)
    clock.advance(GONE_SECONDS + 10)
    later.app.services.presence.look()
    assert (await asks(alice, bob))["presence"] == "online"
    waits.cancel()


async def test_the_status_message_outlives_a_restart(database_url: str, tmp_path: Path) -> None:
    async with World.start(database_url, tmp_path) as world:
        alice, bob = await world.user("alice"), await world.user("bob")
        await share_a_room(alice, bob)
        await says(bob, "offline", status_msg="on holiday")
    async with World.start(database_url, tmp_path) as world:
        alice.world = bob.world = world
        answer = await asks(alice, bob)
        assert (answer["presence"], answer["status_msg"]) == ("offline", "on holiday")
        await bob.syncs()
        assert (await looks(alice))[bob.user_id]["status_msg"] == "on holiday"


async def test_who_does_not_come_back_after_a_restart_goes_offline(
    database_url: str, tmp_path: Path, clock: MovableClock
) -> None:
    async with World.start(database_url, tmp_path) as world:
        alice, bob = await world.user("alice"), await world.user("bob")
        await share_a_room(alice, bob)
        await bob.syncs()
        assert (await looks(alice))[bob.user_id]["presence"] == "online"
    async with World.start(database_url, tmp_path, clock=clock) as world:
        alice.world = bob.world = world
        assert (await asks(alice, bob))["presence"] == "online"
        await looks(alice)
        clock.advance(GONE_SECONDS + 1)
        world.app.services.presence.look()
        assert (await looks(alice))[bob.user_id]["presence"] == "offline"


# What is refused


async def test_nobody_sets_the_presence_of_somebody_else(alice: User, bob: User) -> None:
    refused(await alice.put(f"/presence/{q(bob.user_id)}/status", {"presence": "online"}), 403, "M_FORBIDDEN")


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        ({"presence": "asleep"}, "M_BAD_JSON"),
        ({}, "M_MISSING_PARAM"),
        ({"presence": "online", "status_msg": 1}, "M_BAD_JSON"),
        ({"presence": "online", "status_msg": "x" * 2000}, "M_INVALID_PARAM"),
    ],
)
async def test_what_is_no_presence_is_refused(alice: User, body: Any, errcode: str) -> None:
    refused(await alice.put(f"/presence/{q(alice.user_id)}/status", body), 400, errcode)


async def test_a_server_without_presence_shows_none(database_url: str, tmp_path: Path) -> None:
    async with World.start(database_url, tmp_path, PRESENCE__ENABLED="false") as world:
        alice, bob = await world.user("alice", PASSWORD), await world.user("bob", PASSWORD)
        await share_a_room(alice, bob)
        await bob.syncs()
        refused(await bob.put(f"/presence/{q(bob.user_id)}/status", {"presence": "online"}), 403, "M_FORBIDDEN")
        assert await looks(alice) == {}
        alice.since = None
        assert await looks(alice) == {}
        assert await asks(alice, bob) == {"presence": "offline"}
