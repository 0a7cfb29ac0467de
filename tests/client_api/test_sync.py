"""What clients see of the world through /sync."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.waiting import until
from tests.support.world import NO_NEWS, User, World, ok, q, refused


def joined(answer: Any, room: str) -> Any:
    return answer["rooms"]["join"][room]


def bodies(room: Any) -> list[str]:
    return [e["content"]["body"] for e in room["timeline"]["events"] if e["type"] == "m.room.message"]


def types(events: Any) -> list[str]:
    return [e["type"] for e in events["events"]]


async def test_a_new_user_sees_nothing_but_their_push_rules(alice: User) -> None:
    answer = await alice.syncs()
    assert types(answer["account_data"]) == ["m.push_rules"]
    assert "rooms" not in answer
    assert "next_batch" in answer


async def test_an_initial_sync_has_the_room_its_state_and_its_newest_events(alice: User) -> None:
    room = await alice.creates_room(name="Kitchen")
    for number in range(3):
        await alice.says(room, f"message {number}")
    seen = joined(await alice.syncs(filter=json.dumps({"room": {"timeline": {"limit": 3}}})), room)
    assert bodies(seen) == ["message 0", "message 1", "message 2"]
    assert seen["timeline"]["limited"] is True
    assert {"m.room.create", "m.room.member", "m.room.power_levels", "m.room.name"} <= set(types(seen["state"]))
    assert seen["summary"]["m.joined_member_count"] == 1


async def test_state_in_the_timeline_is_not_told_twice(alice: User) -> None:
    room = await alice.creates_room(name="Kitchen")
    seen = joined(await alice.syncs(filter=json.dumps({"room": {"timeline": {"limit": 100}}})), room)
    assert seen["timeline"]["limited"] is False
    assert seen["state"]["events"] == []
    assert types(seen["timeline"])[0] == "m.room.create"


async def test_an_incremental_sync_has_only_what_is_new(alice: User) -> None:
    room = await alice.creates_room()
    other = await alice.creates_room()
    await alice.syncs()
    await alice.says(room, "new")
    answer = await alice.syncs()
    assert bodies(joined(answer, room)) == ["new"]
    assert joined(answer, room)["timeline"]["limited"] is False
    assert other not in answer["rooms"]["join"]
    assert "rooms" not in await alice.syncs()


async def test_a_gap_is_limited_and_its_state_is_told(alice: User) -> None:
    room = await alice.creates_room(name="before")
    await alice.syncs()
    await alice.sets(room, "m.room.name", {"name": "after"})
    for number in range(12):
        await alice.says(room, str(number))
    seen = joined(await alice.syncs(), room)
    assert seen["timeline"]["limited"] is True
    assert bodies(seen) == [str(number) for number in range(2, 12)]
    assert [e["content"]["name"] for e in seen["state"]["events"]] == ["after"]
    status, page = await alice.get(
        f"/rooms/{q(room)}/messages", dir="b", limit=3, **{"from": seen["timeline"]["prev_batch"]}
    )
    assert status == 200
    assert [e["content"].get("body", e["type"]) for e in page["chunk"]] == ["1", "0", "m.room.name"]


async def test_a_long_poll_wakes_when_something_is_said(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob)
    await bob.joins(room)
    await bob.syncs()
    waiting = asyncio.create_task(bob.syncs(timeout=30_000))
    await until(lambda: alice.world.app.services.live.waiting == 1)
    await alice.says(room, "wake up")
    answer = await asyncio.wait_for(waiting, 5)
    assert bodies(joined(answer, room)) == ["wake up"]


async def test_a_long_poll_without_news_ends_with_its_time(alice: User) -> None:
    await alice.syncs()
    answer = await asyncio.wait_for(alice.syncs(timeout=50), 5)
    assert set(answer) == NO_NEWS


async def test_a_client_that_hangs_up_stops_waiting(alice: User) -> None:
    await alice.syncs()
    live = alice.world.app.services.live
    waiting = asyncio.create_task(alice.syncs(timeout=30_000))
    await until(lambda: live.waiting == 1)
    waiting.cancel()
    await until(lambda: live.waiting == 0)


async def test_an_invite_comes_with_stripped_state(alice: User, bob: User) -> None:
    await bob.syncs()
    room = await alice.creates_room(bob, name="Party")
    answer = await bob.syncs()
    events = answer["rooms"]["invite"][room]["invite_state"]["events"]
    named = {e["type"]: e for e in events}
    assert named["m.room.name"]["content"] == {"name": "Party"}
    assert "m.room.create" in named
    own = next(e for e in events if e["type"] == "m.room.member" and e["state_key"] == bob.user_id)
    assert own["content"]["membership"] == "invite"
    assert alice.user_id in {e["state_key"] for e in events if e["type"] == "m.room.member"}
    assert "rooms" not in await bob.syncs()


async def test_joining_brings_the_whole_room(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob, name="Party")
    await alice.says(room, "before")
    await bob.syncs()
    await bob.joins(room)
    seen = joined(await bob.syncs(), room)
    everything = types(seen["state"]) + types(seen["timeline"])
    assert {"m.room.create", "m.room.name", "m.room.power_levels"} <= set(everything)
    assert bodies(seen) == ["before"]
    assert seen["summary"]["m.joined_member_count"] == 2


async def test_someone_who_leaves_is_told_up_to_there(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob)
    await bob.joins(room)
    await bob.syncs()
    await alice.says(room, "last words")
    ok(await bob.post(f"/rooms/{q(room)}/leave"))
    await alice.says(room, "gossip")
    answer = await bob.syncs()
    seen = answer["rooms"]["leave"][room]
    assert bodies(seen) == ["last words"]
    assert seen["timeline"]["events"][-1]["content"]["membership"] == "leave"
    assert room not in answer["rooms"].get("join", {})
    assert "rooms" not in await bob.syncs()
    bob.since = None
    assert "rooms" not in await bob.syncs()
    bob.since = None
    again = await bob.syncs(filter=json.dumps({"room": {"include_leave": True}}))
    assert "gossip" not in bodies(again["rooms"]["leave"][room])


async def test_declining_an_invite_shows_nothing_of_the_room(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob, name="Secret")
    await bob.syncs()
    await alice.says(room, "secret")
    ok(await bob.post(f"/rooms/{q(room)}/leave"))
    seen = (await bob.syncs())["rooms"]["leave"][room]
    assert types(seen["timeline"]) == ["m.room.member"]
    assert seen["state"]["events"] == []


async def test_the_sender_is_told_its_transaction_id_and_nobody_else(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob)
    await bob.joins(room)
    await alice.syncs()
    await bob.syncs()
    ok(await alice.put(f"/rooms/{q(room)}/send/m.room.message/txn77", {"msgtype": "m.text", "body": "hi"}))
    own = joined(await alice.syncs(), room)["timeline"]["events"][-1]
    assert own["unsigned"]["transaction_id"] == "txn77"
    others = joined(await bob.syncs(), room)["timeline"]["events"][-1]
    assert "transaction_id" not in others["unsigned"]
    assert others["unsigned"]["membership"] == "join"


async def test_the_same_message_twice_is_one_event(alice: User) -> None:
    room = await alice.creates_room()
    path = f"/rooms/{q(room)}/send/m.room.message/once"
    first = ok(await alice.put(path, {"msgtype": "m.text", "body": "hi"}))
    assert ok(await alice.put(path, {"msgtype": "m.text", "body": "hi"})) == first
    assert bodies(joined(await alice.syncs(), room)) == ["hi"]


@pytest.mark.parametrize("name", ["use_state_after", "org.matrix.msc4222.use_state_after"])
async def test_state_after_has_the_state_at_the_end_of_the_timeline(alice: User, name: str) -> None:
    told = "state_after" if name == "use_state_after" else "org.matrix.msc4222.state_after"
    room = await alice.creates_room(name="one")
    first = joined(await alice.syncs(**{name: "true"}), room)
    assert "state" not in first
    assert {e["type"] for e in first[told]["events"]} >= {"m.room.create", "m.room.name"}
    await alice.sets(room, "m.room.name", {"name": "two"})
    await alice.says(room)
    second = joined(await alice.syncs(**{name: "true"}), room)
    assert [e["content"] for e in second[told]["events"]] == [{"name": "two"}]
    await alice.says(room)
    assert joined(await alice.syncs(**{name: "true"}), room)[told]["events"] == []


async def test_full_state_tells_all_state_again(alice: User) -> None:
    room = await alice.creates_room(name="one")
    await alice.syncs()
    seen = joined(await alice.syncs(full_state="true", timeout=30_000), room)
    assert {"m.room.create", "m.room.name"} <= set(types(seen["state"]))
    assert seen["timeline"]["events"] == []


async def test_lazy_members_are_those_who_speak(world: World, alice: User, bob: User) -> None:
    carol = await world.user("carol")
    room = await alice.creates_room(bob, carol)
    await bob.joins(room)
    await carol.joins(room)
    for _ in range(12):
        await bob.says(room)
    lazy = json.dumps({"room": {"state": {"lazy_load_members": True}}})
    seen = joined(await alice.syncs(filter=lazy), room)
    members = {e["state_key"] for e in seen["state"]["events"] if e["type"] == "m.room.member"}
    assert members >= {alice.user_id, bob.user_id}
    await carol.says(room)
    news = joined(await alice.syncs(filter=lazy), room)
    assert carol.user_id in {e["state_key"] for e in news["state"]["events"]} | members
    await carol.says(room)
    assert joined(await alice.syncs(filter=lazy), room)["state"]["events"] == []


async def test_a_room_without_a_name_has_heroes(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob)
    await bob.joins(room)
    summary = joined(await alice.syncs(), room)["summary"]
    assert summary == {"m.heroes": [bob.user_id], "m.joined_member_count": 2, "m.invited_member_count": 0}
    named = await alice.creates_room(bob, name="Named")
    assert "m.heroes" not in joined(await alice.syncs(), named)["summary"]


async def test_filters_choose_rooms_and_events(alice: User) -> None:
    kitchen = await alice.creates_room(name="Kitchen")
    cellar = await alice.creates_room(name="Cellar")
    await alice.says(kitchen, "hello")
    only = json.dumps({"room": {"rooms": [kitchen], "timeline": {"types": ["m.room.message"]}}})
    answer = await alice.syncs(filter=only)
    assert list(answer["rooms"]["join"]) == [kitchen]
    assert cellar not in answer["rooms"]["join"]
    assert types(joined(answer, kitchen)["timeline"]) == ["m.room.message"]


async def test_state_that_a_filter_hides_from_the_timeline_is_told_as_state(alice: User) -> None:
    room = await alice.creates_room()
    only = json.dumps({"room": {"timeline": {"types": ["m.room.message"]}}})
    await alice.syncs(filter=only)
    await alice.sets(room, "m.room.name", {"name": "new"})
    seen = joined(await alice.syncs(filter=only), room)
    assert [e["content"] for e in seen["state"]["events"]] == [{"name": "new"}]


async def test_event_fields_leave_out_the_rest(alice: User) -> None:
    room = await alice.creates_room()
    await alice.says(room, "hello")
    seen = joined(await alice.syncs(filter=json.dumps({"event_fields": ["type", "content.body"]})), room)
    assert seen["timeline"]["events"][-1] == {"type": "m.room.message", "content": {"body": "hello"}}


async def test_unread_messages_are_counted_until_they_are_read(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob)
    await bob.joins(room)
    await bob.syncs()
    await alice.says(room, "one")
    last = await alice.says(room, f"two {bob.user_id}", **{"m.mentions": {"user_ids": [bob.user_id]}})
    seen = joined(await bob.syncs(), room)
    assert seen["unread_notifications"] == {"highlight_count": 1, "notification_count": 2}
    assert joined(await alice.syncs(), room)["unread_notifications"]["notification_count"] == 0
    ok(await bob.post(f"/rooms/{q(room)}/receipt/m.read/{q(last)}"))
    seen = joined(await bob.syncs(), room)
    assert seen["unread_notifications"] == {"highlight_count": 0, "notification_count": 0}
    receipt = next(e for e in seen["ephemeral"]["events"] if e["type"] == "m.receipt")
    assert bob.user_id in receipt["content"][last]["m.read"]


async def test_what_someone_has_read_counts_even_if_they_want_no_receipts(alice: User, bob: User) -> None:
    quiet = json.dumps({"room": {"ephemeral": {"types": []}}})
    room = await alice.creates_room(bob)
    await bob.joins(room)
    await bob.syncs(filter=quiet)
    event = await alice.says(room)
    seen = joined(await bob.syncs(filter=quiet), room)
    assert seen["unread_notifications"]["notification_count"] > 0
    ok(await bob.post(f"/rooms/{q(room)}/receipt/m.read/{q(event)}"))
    seen = joined(await bob.syncs(filter=quiet), room)
    assert seen["unread_notifications"]["notification_count"] == 0
    assert seen["ephemeral"]["events"] == []


async def test_threads_are_counted_apart_for_those_who_ask(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob)
    await bob.joins(room)
    root = await alice.says(room, "root")
    await alice.says(room, "in thread", **{"m.relates_to": {"rel_type": "m.thread", "event_id": root}})
    asked = json.dumps({"room": {"timeline": {"unread_thread_notifications": True}}})
    seen = joined(await bob.syncs(filter=asked), room)
    assert seen["unread_notifications"]["notification_count"] == 1
    assert seen["unread_thread_notifications"] == {root: {"highlight_count": 0, "notification_count": 1}}
    ok(await bob.post(f"/rooms/{q(room)}/receipt/m.read/{q(root)}", {"thread_id": "main"}))
    seen = joined(await bob.syncs(filter=asked), room)
    assert seen["unread_notifications"]["notification_count"] == 0
    assert seen["unread_thread_notifications"][root]["notification_count"] == 1


async def test_a_receipt_of_another_is_told_live(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob)
    await bob.joins(room)
    event = await alice.says(room)
    await alice.syncs()
    ok(await bob.post(f"/rooms/{q(room)}/receipt/m.read/{q(event)}"))
    seen = joined(await alice.syncs(), room)
    assert [e["type"] for e in seen["ephemeral"]["events"]] == ["m.receipt"]
    assert seen["timeline"]["events"] == []


async def test_typing_is_told_and_ends(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob)
    await bob.joins(room)
    await alice.syncs()
    path = f"/rooms/{q(room)}/typing/{q(bob.user_id)}"
    ok(await bob.put(path, {"typing": True, "timeout": 20_000}))
    seen = joined(await alice.syncs(timeout=5_000), room)
    assert seen["ephemeral"]["events"] == [{"type": "m.typing", "content": {"user_ids": [bob.user_id]}}]
    ok(await bob.put(path, {"typing": False}))
    seen = joined(await alice.syncs(timeout=5_000), room)
    assert seen["ephemeral"]["events"] == [{"type": "m.typing", "content": {"user_ids": []}}]


async def test_account_data_and_tags_are_told(alice: User) -> None:
    room = await alice.creates_room()
    await alice.syncs()
    ok(await alice.put(f"/user/{q(alice.user_id)}/account_data/org.example", {"a": 1}))
    ok(await alice.put(f"/user/{q(alice.user_id)}/rooms/{q(room)}/tags/m.favourite", {"order": 0.5}))
    answer = await alice.syncs()
    assert answer["account_data"]["events"] == [{"type": "org.example", "content": {"a": 1}}]
    tags = joined(answer, room)["account_data"]["events"]
    assert tags == [{"type": "m.tag", "content": {"tags": {"m.favourite": {"order": 0.5}}}}]


async def test_messages_to_a_device_are_told_until_they_are_acknowledged(alice: User, bob: User) -> None:
    await bob.syncs()
    body = {"messages": {bob.user_id: {bob.device_id: {"n": 1}}}}
    ok(await alice.put("/sendToDevice/org.example/t1", body))
    before = bob.since
    first = await bob.syncs()
    expected = [{"type": "org.example", "sender": alice.user_id, "content": {"n": 1}}]
    assert first["to_device"]["events"] == expected
    bob.since = before
    assert (await bob.syncs())["to_device"]["events"] == expected
    assert "to_device" not in await bob.syncs()
    bob.since = None
    assert "to_device" not in await bob.syncs()


async def test_more_messages_to_a_device_than_fit_come_with_the_next_answers(alice: User, bob: User) -> None:
    await bob.syncs()
    for number in range(250):
        ok(await alice.put(f"/sendToDevice/org.example/t{number}", {"messages": {bob.user_id: {"*": {"n": number}}}}))
    got: list[int] = []
    for _ in range(4):
        answer = await bob.syncs()
        got += [e["content"]["n"] for e in answer.get("to_device", {}).get("events", [])]
    assert got == list(range(250))


async def test_what_ignored_users_say_vanishes(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob)
    await bob.joins(room)
    path = f"/user/{q(alice.user_id)}/account_data/m.ignored_user_list"
    ok(await alice.put(path, {"ignored_users": {bob.user_id: {}}}))
    await alice.syncs()
    await bob.says(room, "nasty")
    await alice.says(room, "nice")
    seen = joined(await alice.syncs(), room)
    assert bodies(seen) == ["nice"]
    assert seen["unread_notifications"]["notification_count"] == 0


async def test_presence_of_those_in_the_same_rooms_is_told(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob)
    await bob.joins(room)
    await alice.syncs()
    ok(await bob.put(f"/presence/{q(bob.user_id)}/status", {"presence": "online", "status_msg": "cooking"}))
    answer = await alice.syncs(timeout=5_000)
    told = [e for e in answer["presence"]["events"] if e["sender"] == bob.user_id]
    assert told[-1]["content"]["presence"] == "online"
    assert told[-1]["content"]["status_msg"] == "cooking"


@pytest.mark.parametrize(
    "query",
    [
        {"since": "nonsense"},
        {"timeout": "soon"},
        {"full_state": "perhaps"},
        {"set_presence": "dancing"},
        {"filter": "{"},
        {"filter": json.dumps({"room": {"timeline": {"limit": -1}}})},
    ],
)
async def test_bad_parameters_are_refused(alice: User, query: dict[str, str]) -> None:
    status, body = await alice.get("/sync", **query)
    assert status == 400
    assert body["errcode"] in ("M_INVALID_PARAM", "M_BAD_JSON", "M_NOT_JSON")


async def test_nobody_syncs_without_a_token(world: World) -> None:
    refused(await world.request("GET", "/_matrix/client/v3/sync"), 401, "M_MISSING_TOKEN")


async def test_whoever_syncs_without_end_is_slowed_down(database_url: str, tmp_path: Path) -> None:
    options = {
        "RATE_LIMITS__ENABLED": "true",
        "RATE_LIMITS__DEFAULT_BURST": "5",
        "RATE_LIMITS__DEFAULT_PER_SECOND": "0.1",
    }
    async with World.start(database_url, tmp_path, **options) as world:
        alice = await world.user("alice")
        answers = [await alice.get("/sync") for _ in range(6)]
    assert [status for status, _ in answers[:5]] == [200] * 5
    assert refused(answers[5], 429, "M_LIMIT_EXCEEDED")["retry_after_ms"] > 0
