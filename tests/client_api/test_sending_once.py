"""A transaction happens once: https://spec.matrix.org/v1.19/client-server-api/#transaction-identifiers."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.support.world import User, World, ok, q

CONTENT = {"msgtype": "m.text", "body": "once"}


async def _send(user: User, room: str, txn_id: str, event_type: str = "m.room.message") -> str:
    answer = ok(await user.put(f"/rooms/{q(room)}/send/{event_type}/{txn_id}", CONTENT))
    return str(answer["event_id"])


async def _messages(user: User, room: str) -> list[Any]:
    page = ok(await user.get(f"/rooms/{q(room)}/messages", dir="b", limit=100))
    return [event for event in page["chunk"] if event["content"].get("body") == "once"]


async def test_twenty_at_the_same_time_are_one_event(alice: User) -> None:
    room = await alice.creates_room()
    sent = await asyncio.gather(*(_send(alice, room, "same") for _ in range(20)))
    assert len(set(sent)) == 1
    assert [event["event_id"] for event in await _messages(alice, room)] == sent[:1]


async def test_twenty_redactions_at_the_same_time_are_one_event(alice: User) -> None:
    room = await alice.creates_room()
    event = await alice.says(room)
    path = f"/rooms/{q(room)}/redact/{q(event)}/same"
    answers = await asyncio.gather(*(alice.put(path, {}) for _ in range(20)))
    assert len({ok(answer)["event_id"] for answer in answers}) == 1


async def test_each_device_room_and_type_has_transactions_of_its_own(alice: User) -> None:
    room, other = await alice.creates_room(), await alice.creates_room()
    phone = await alice.login_again("PHONE")
    sent = await asyncio.gather(
        _send(alice, room, "same"), _send(phone, room, "same"), _send(alice, other, "same"),
        _send(alice, room, "same", "org.example"),
    )  # fmt: skip
    assert len(set(sent)) == 4


async def test_a_retry_after_a_restart_finds_what_was_sent(database_url: str, tmp_path: Path) -> None:
    async with World.start(database_url, tmp_path) as world:
        alice = await world.user("alice")
        room = await alice.creates_room()
        sent = await _send(alice, room, "same")
    async with World.start(database_url, tmp_path) as world:
        alice = replace(alice, world=world)
        assert await _send(alice, room, "same") == sent
        assert len(await _messages(alice, room)) == 1


async def test_who_may_send_no_longer_still_learns_what_they_sent(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob)
    await bob.joins(room)
    sent = await _send(bob, room, "same")
    ok(await alice.post(f"/rooms/{q(room)}/kick", {"user_id": bob.user_id}))
    assert await _send(bob, room, "same") == sent
