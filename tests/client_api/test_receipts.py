"""Receipts: https://spec.matrix.org/v1.19/client-server-api/#receipts, and read markers: #read-and-unread-markers."""

from typing import Any

import pytest

from tests.support.world import User, ok, q, refused


def receipt(room_id: str, kind: str, event_id: str) -> str:
    return f"/rooms/{q(room_id)}/receipt/{q(kind)}/{q(event_id)}"


async def reads(user: User, room_id: str, event_id: str, kind: str = "m.read", **body: Any) -> None:
    assert await user.post(receipt(room_id, kind, event_id), body) == (200, {})


async def shared_room(alice: User, bob: User) -> str:
    room = await alice.creates_room(bob)
    await bob.joins(room)
    return room


async def told(user: User, room_id: str) -> list[tuple[str, str, str, str | None]]:
    """The receipts in the user's next sync: event, kind, user, thread."""
    joined = (await user.syncs()).get("rooms", {}).get("join", {})
    events = joined.get(room_id, {}).get("ephemeral", {}).get("events", [])
    return [
        (event_id, kind, user_id, content.get("thread_id"))
        for event in events
        if event["type"] == "m.receipt"
        for event_id, kinds in event["content"].items()
        for kind, users in kinds.items()
        for user_id, content in users.items()
    ]


async def told_again(user: User, room_id: str) -> list[tuple[str, str, str, str | None]]:
    """The receipts that a fresh sync has."""
    user.since = None
    return await told(user, room_id)


async def test_others_are_told_how_far_someone_has_read(alice: User, bob: User) -> None:
    room = await shared_room(alice, bob)
    said = await alice.says(room)
    await alice.syncs()
    await reads(bob, room, said)
    assert await told(alice, room) == [(said, "m.read", bob.user_id, None)]
    assert await told_again(bob, room) == [(said, "m.read", bob.user_id, None)]


async def test_a_receipt_says_when_it_was_sent(alice: User, bob: User) -> None:
    room = await shared_room(alice, bob)
    said = await alice.says(room)
    await reads(bob, room, said)
    events = (await alice.syncs())["rooms"]["join"][room]["ephemeral"]["events"]
    (event,) = [event for event in events if event["type"] == "m.receipt"]
    assert isinstance(event["content"][said]["m.read"][bob.user_id]["ts"], int)


async def test_a_receipt_moves_forward_and_never_back(alice: User, bob: User) -> None:
    room = await shared_room(alice, bob)
    first, second = await alice.says(room), await alice.says(room)
    await reads(bob, room, second)
    await alice.syncs()
    await reads(bob, room, first)
    await reads(bob, room, second)
    assert await told(alice, room) == []
    assert await told_again(alice, room) == [(second, "m.read", bob.user_id, None)]


async def test_a_private_receipt_is_told_to_nobody_else(alice: User, bob: User) -> None:
    room = await shared_room(alice, bob)
    said = await alice.says(room)
    await alice.syncs()
    await bob.syncs()
    await reads(bob, room, said, "m.read.private")
    assert await told(alice, room) == []
    assert await told_again(alice, room) == []
    assert await told(bob, room) == [(said, "m.read.private", bob.user_id, None)]


@pytest.mark.parametrize("kind", ["m.read", "m.read.private"])
async def test_reading_clears_what_is_unread(alice: User, bob: User, kind: str) -> None:
    room = await shared_room(alice, bob)
    await bob.syncs()
    said = await alice.says(room)
    counts = (await bob.syncs())["rooms"]["join"][room]["unread_notifications"]
    assert counts["notification_count"] == 1
    await reads(bob, room, said, kind)
    counts = (await bob.syncs())["rooms"]["join"][room]["unread_notifications"]
    assert counts["notification_count"] == 0


async def test_receipts_are_kept_for_each_thread(alice: User, bob: User) -> None:
    room = await shared_room(alice, bob)
    root = await alice.says(room, "root")
    in_thread = await alice.says(room, "in", **{"m.relates_to": {"rel_type": "m.thread", "event_id": root}})
    main = await alice.says(room, "main")
    await reads(bob, room, root, thread_id="main")
    await reads(bob, room, in_thread, thread_id=root)
    await reads(bob, room, main)
    assert sorted(await told(alice, room), key=str) == sorted(
        [
            (root, "m.read", bob.user_id, "main"),
            (in_thread, "m.read", bob.user_id, root),
            (main, "m.read", bob.user_id, None),
        ],
        key=str,
    )


async def test_receipts_of_two_threads_for_one_event_are_both_told(alice: User, bob: User) -> None:
    room = await shared_room(alice, bob)
    said = await alice.says(room)
    await reads(bob, room, said)
    await reads(bob, room, said, thread_id="main")
    assert sorted(await told(alice, room), key=str) == [
        (said, "m.read", bob.user_id, "main"),
        (said, "m.read", bob.user_id, None),
    ]


async def test_an_event_must_be_related_to_the_thread(alice: User, bob: User) -> None:
    room = await shared_room(alice, bob)
    root, other = await alice.says(room), await alice.says(room)
    thread = {"m.relates_to": {"rel_type": "m.thread", "event_id": root}}
    reply = await alice.says(room, "in", **thread)
    reaction = await bob.sends(
        room, "m.reaction", {"m.relates_to": {"rel_type": "m.annotation", "event_id": reply, "key": "+"}}
    )
    on_root = await bob.sends(
        room, "m.reaction", {"m.relates_to": {"rel_type": "m.annotation", "event_id": root, "key": "+"}}
    )
    for event_id, thread_id in ((reply, root), (reaction, root), (root, root), (on_root, root)):
        await reads(alice, room, event_id, thread_id=thread_id)
    for event_id in (root, other, on_root):
        await reads(bob, room, event_id, thread_id="main")
    for event_id, thread_id in ((other, root), (reply, "main"), (reaction, "main"), (reply, other)):
        answer = await bob.post(receipt(room, "m.read", event_id), {"thread_id": thread_id})
        refused(answer, 400, "M_INVALID_PARAM")


@pytest.mark.parametrize("thread_id", ["", 5, None, ["main"], "thread"])
async def test_a_thread_must_be_one(alice: User, thread_id: Any) -> None:
    room = await alice.creates_room()
    said = await alice.says(room)
    refused(await alice.post(receipt(room, "m.read", said), {"thread_id": thread_id}), 400, "M_INVALID_PARAM")


async def test_the_read_marker_is_about_no_thread(alice: User) -> None:
    room = await alice.creates_room()
    said = await alice.says(room)
    refused(await alice.post(receipt(room, "m.fully_read", said), {"thread_id": "main"}), 400, "M_INVALID_PARAM")


async def test_a_kind_must_be_known(alice: User) -> None:
    room = await alice.creates_room()
    said = await alice.says(room)
    refused(await alice.post(receipt(room, "m.seen", said)), 400, "M_INVALID_PARAM")


async def test_only_members_send_receipts_and_only_for_events_of_the_room(alice: User, bob: User) -> None:
    room, other = await alice.creates_room(), await alice.creates_room()
    said = await alice.says(room)
    refused(await bob.post(receipt(room, "m.read", said)), 403, "M_FORBIDDEN")
    refused(await bob.post(receipt("!unknown:hs1", "m.read", said)), 403, "M_FORBIDDEN")
    refused(await alice.post(receipt(other, "m.read", said)), 404, "M_NOT_FOUND")
    refused(await alice.post(receipt(room, "m.read", "$unknown:hs1")), 404, "M_NOT_FOUND")
    refused(await alice.post(receipt(room, "m.read", "event")), 400, "M_INVALID_PARAM")


async def marker(user: User, room_id: str) -> str:
    path = f"/user/{q(user.user_id)}/rooms/{q(room_id)}/account_data/m.fully_read"
    return str(ok(await user.get(path))["event_id"])


async def test_the_read_marker_moves_forward_in_the_room_s_account_data(alice: User) -> None:
    room = await alice.creates_room()
    first, second = await alice.says(room), await alice.says(room)
    await alice.syncs()
    await reads(alice, room, second, "m.fully_read")
    assert await marker(alice, room) == second
    events = (await alice.syncs())["rooms"]["join"][room]["account_data"]["events"]
    assert events == [{"type": "m.fully_read", "content": {"event_id": second}}]
    await reads(alice, room, first, "m.fully_read")
    assert await marker(alice, room) == second


async def test_read_markers_move_all_at_once(alice: User, bob: User) -> None:
    room = await shared_room(alice, bob)
    first, second, third = [await alice.says(room) for _ in range(3)]
    await bob.syncs()
    body = {"m.fully_read": first, "m.read": second, "m.read.private": third}
    assert await bob.post(f"/rooms/{q(room)}/read_markers", body) == (200, {})
    assert await marker(bob, room) == first
    assert await told(bob, room) == [
        (second, "m.read", bob.user_id, None),
        (third, "m.read.private", bob.user_id, None),
    ]
    assert await bob.post(f"/rooms/{q(room)}/read_markers", {}) == (200, {})


async def test_of_read_markers_all_move_or_none(alice: User) -> None:
    room = await alice.creates_room()
    said = await alice.says(room)
    body = {"m.fully_read": said, "m.read": "$unknown:hs1"}
    refused(await alice.post(f"/rooms/{q(room)}/read_markers", body), 404, "M_NOT_FOUND")
    path = f"/user/{q(alice.user_id)}/rooms/{q(room)}/account_data/m.fully_read"
    refused(await alice.get(path), 404, "M_NOT_FOUND")
    refused(await alice.post(f"/rooms/{q(room)}/read_markers", {"m.read": "x"}), 400, "M_INVALID_PARAM")
