"""What /sync tells those who have left a room, and those who have come back."""

import json
from typing import Any

from tests.support.world import User, ok, q

MESSAGES_ONLY = json.dumps({"room": {"timeline": {"types": ["m.room.message"]}}})


def _memberships(room: Any) -> list[str]:
    return [e["content"]["membership"] for e in room["timeline"]["events"] if e["type"] == "m.room.member"]


def _bodies(room: Any) -> list[str]:
    return [e["content"]["body"] for e in room["timeline"]["events"] if e["type"] == "m.room.message"]


async def _together(alice: User, bob: User, **body: Any) -> str:
    room = await alice.creates_room(bob, **body)
    await bob.joins(room)
    await bob.syncs()
    return room


async def test_who_was_kicked_and_then_banned_is_told_both_and_nothing_in_between(alice: User, bob: User) -> None:
    room = await _together(alice, bob)
    await alice.says(room, "last words")
    ok(await alice.post(f"/rooms/{q(room)}/kick", {"user_id": bob.user_id}))
    await alice.says(room, "gossip")
    await alice.sets(room, "m.room.topic", {"topic": "more gossip"})
    ok(await alice.post(f"/rooms/{q(room)}/ban", {"user_id": bob.user_id}))

    seen = (await bob.syncs())["rooms"]["leave"][room]

    assert _bodies(seen) == ["last words"]
    assert _memberships(seen) == ["leave", "ban"]
    assert seen["state"]["events"] == []


async def test_other_devices_are_told_of_a_room_that_was_left_and_forgotten(alice: User, bob: User) -> None:
    room = await _together(alice, bob)
    phone = await bob.login_again()
    ok(await phone.post(f"/rooms/{q(room)}/leave"))
    ok(await phone.post(f"/rooms/{q(room)}/forget"))

    assert _memberships((await bob.syncs())["rooms"]["leave"][room]) == ["leave"]
    bob.since = None
    everything = json.dumps({"room": {"include_leave": True}})
    assert room not in (await bob.syncs(filter=everything)).get("rooms", {}).get("leave", {})


async def test_a_room_goes_even_if_the_filter_hides_how(alice: User, bob: User) -> None:
    room = await _together(alice, bob)
    ok(await bob.post(f"/rooms/{q(room)}/leave"))
    assert room in (await bob.syncs(filter=MESSAGES_ONLY))["rooms"]["leave"]

    ok(await alice.post(f"/rooms/{q(room)}/invite", {"user_id": bob.user_id}))
    await bob.syncs()
    ok(await bob.post(f"/rooms/{q(room)}/leave"))
    assert room in (await bob.syncs(filter=MESSAGES_ONLY))["rooms"]["leave"]


async def test_who_came_and_went_between_two_syncs_gets_the_whole_state(alice: User, bob: User) -> None:
    await bob.syncs()
    room = await alice.creates_room(bob, name="Inn")
    await bob.joins(room)
    await alice.says(room, "welcome")
    ok(await bob.post(f"/rooms/{q(room)}/leave"))

    seen = (await bob.syncs())["rooms"]["leave"][room]

    assert _bodies(seen) == ["welcome"]
    everything = [e["type"] for e in seen["state"]["events"] + seen["timeline"]["events"]]
    assert {"m.room.create", "m.room.name"} <= set(everything)


async def test_who_comes_back_is_not_told_the_past_as_if_it_were_new(alice: User, bob: User) -> None:
    room = await _together(alice, bob)
    ok(await bob.post(f"/rooms/{q(room)}/leave"))
    ok(await alice.post(f"/rooms/{q(room)}/invite", {"user_id": bob.user_id}))
    await bob.joins(room)

    everything = json.dumps({"room": {"timeline": {"limit": 100}}})
    seen = (await bob.syncs(filter=everything))["rooms"]["join"][room]

    assert seen["timeline"]["limited"] is True
