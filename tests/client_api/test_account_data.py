"""Account data: https://spec.matrix.org/v1.19/client-server-api/#client-config, and tags: #room-tagging."""

from typing import Any

import pytest

from tests.support.world import User, ok, q, refused


def account(user: User, data_type: str) -> str:
    return f"/user/{q(user.user_id)}/account_data/{q(data_type)}"


def in_room(user: User, room_id: str, data_type: str) -> str:
    return f"/user/{q(user.user_id)}/rooms/{q(room_id)}/account_data/{q(data_type)}"


def tags(user: User, room_id: str, tag: str | None = None) -> str:
    path = f"/user/{q(user.user_id)}/rooms/{q(room_id)}/tags"
    return path if tag is None else f"{path}/{q(tag)}"


@pytest.mark.parametrize("content", [{}, {"key": "value"}, {"ü": [1, 0.5, None, {"a": True}]}])
async def test_what_was_stored_is_returned(alice: User, content: dict[str, Any]) -> None:
    refused(await alice.get(account(alice, "org.example")), 404, "M_NOT_FOUND")
    assert await alice.put(account(alice, "org.example"), content) == (200, {})
    assert await alice.get(account(alice, "org.example")) == (200, content)

    room = await alice.creates_room()
    refused(await alice.get(in_room(alice, room, "org.example")), 404, "M_NOT_FOUND")
    assert await alice.put(in_room(alice, room, "org.example"), content) == (200, {})
    assert await alice.get(in_room(alice, room, "org.example")) == (200, content)


async def test_new_content_takes_the_place_of_the_old(alice: User) -> None:
    for number in (1, 2):
        ok(await alice.put(account(alice, "org.example"), {"number": number}))
    assert ok(await alice.get(account(alice, "org.example"))) == {"number": 2}


async def test_account_and_rooms_are_kept_apart(alice: User) -> None:
    one, other = await alice.creates_room(), await alice.creates_room()
    ok(await alice.put(in_room(alice, one, "org.example"), {"in": "one"}))
    refused(await alice.get(account(alice, "org.example")), 404, "M_NOT_FOUND")
    refused(await alice.get(in_room(alice, other, "org.example")), 404, "M_NOT_FOUND")


async def test_nobody_sees_or_changes_what_is_another_s(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob)
    ok(await alice.put(account(alice, "org.example"), {"secret": 1}))
    for path in (account(alice, "org.example"), in_room(alice, room, "org.example")):
        refused(await bob.get(path), 403, "M_FORBIDDEN")
        refused(await bob.put(path, {}), 403, "M_FORBIDDEN")
    refused(await bob.get(tags(alice, room)), 403, "M_FORBIDDEN")
    refused(await bob.put(tags(alice, room, "u.x"), {}), 403, "M_FORBIDDEN")
    refused(await bob.delete(tags(alice, room, "u.x")), 403, "M_FORBIDDEN")


@pytest.mark.parametrize("data_type", ["m.push_rules", "m.fully_read"])
async def test_what_the_server_keeps_cannot_be_set(alice: User, data_type: str) -> None:
    room = await alice.creates_room()
    refused(await alice.put(account(alice, data_type), {}), 405, "M_BAD_JSON")
    refused(await alice.put(in_room(alice, room, data_type), {}), 405, "M_BAD_JSON")


async def test_push_rules_are_read_as_account_data(alice: User) -> None:
    rules = ok(await alice.get(account(alice, "m.push_rules")))
    assert rules == ok(await alice.get("/pushrules/"))


async def test_a_room_one_has_nothing_to_do_with_holds_no_data(alice: User, bob: User) -> None:
    room = await alice.creates_room()
    for room_id in (room, "!unknown:hs1"):
        refused(await bob.put(in_room(bob, room_id, "org.example"), {}), 403, "M_FORBIDDEN")
        refused(await bob.put(tags(bob, room_id, "u.x"), {}), 403, "M_FORBIDDEN")
        refused(await bob.get(in_room(bob, room_id, "org.example")), 404, "M_NOT_FOUND")
    refused(await bob.put(in_room(bob, "room", "org.example"), {}), 400, "M_INVALID_PARAM")


async def test_an_invited_user_may_tag_the_room(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob)
    ok(await bob.put(tags(bob, room, "m.favourite"), {"order": 0.5}))


@pytest.mark.parametrize("raw", [b"[]", b'"text"', b"5"])
async def test_content_must_be_an_object(alice: User, raw: bytes) -> None:
    answer = await alice.world.request(
        "PUT", "/_matrix/client/v3" + account(alice, "org.example"), raw=raw, token=alice.token
    )
    refused(answer, 400, "M_BAD_JSON")


async def test_content_and_type_are_bounded(alice: User) -> None:
    refused(await alice.put(account(alice, "org.example"), {"much": "x" * 600_000}), 413, "M_TOO_LARGE")
    refused(await alice.put(account(alice, "x" * 300), {}), 400, "M_INVALID_PARAM")


async def test_changes_come_with_the_next_sync_and_once(alice: User) -> None:
    room = await alice.creates_room()
    ok(await alice.put(account(alice, "org.example.old"), {"a": 1}))
    first = await alice.syncs()
    assert {"type": "org.example.old", "content": {"a": 1}} in first["account_data"]["events"]

    ok(await alice.put(account(alice, "org.example"), {"b": 2}))
    ok(await alice.put(in_room(alice, room, "org.example.room"), {"c": 3}))
    second = await alice.syncs()
    assert second["account_data"]["events"] == [{"type": "org.example", "content": {"b": 2}}]
    assert second["rooms"]["join"][room]["account_data"]["events"] == [
        {"type": "org.example.room", "content": {"c": 3}}
    ]
    third = await alice.syncs()
    assert "account_data" not in third or not third["account_data"]["events"]


async def test_other_devices_are_told(alice: User) -> None:
    phone = await alice.login_again()
    await phone.syncs()
    ok(await alice.put(account(alice, "org.example"), {"b": 2}))
    assert (await phone.syncs())["account_data"]["events"] == [{"type": "org.example", "content": {"b": 2}}]


async def test_a_room_is_tagged_and_untagged(alice: User) -> None:
    room = await alice.creates_room()
    assert await alice.get(tags(alice, room)) == (200, {"tags": {}})
    assert await alice.put(tags(alice, room, "m.favourite"), {"order": 0.1}) == (200, {})
    assert await alice.put(tags(alice, room, "u.Work/2"), {}) == (200, {})
    both = {"m.favourite": {"order": 0.1}, "u.Work/2": {}}
    assert ok(await alice.get(tags(alice, room))) == {"tags": both}
    assert ok(await alice.get(in_room(alice, room, "m.tag"))) == {"tags": both}

    assert await alice.delete(tags(alice, room, "m.favourite")) == (200, {})
    assert await alice.delete(tags(alice, room, "m.favourite")) == (200, {})
    assert ok(await alice.get(tags(alice, room))) == {"tags": {"u.Work/2": {}}}


@pytest.mark.parametrize(
    ("tag", "content", "errcode"),
    [
        ("u." + "x" * 254, {}, "M_INVALID_PARAM"),
        ("u.x", {"order": "0.5"}, "M_BAD_JSON"),
        ("u.x", {"order": 1.5}, "M_BAD_JSON"),
        ("u.x", {"order": -0.1}, "M_BAD_JSON"),
        ("u.x", {"order": True}, "M_BAD_JSON"),
    ],
)
async def test_what_is_no_tag_is_refused(alice: User, tag: str, content: dict[str, Any], errcode: str) -> None:
    room = await alice.creates_room()
    refused(await alice.put(tags(alice, room, tag), content), 400, errcode)


async def test_tags_written_as_account_data_are_tags(alice: User) -> None:
    room = await alice.creates_room()
    ok(await alice.put(in_room(alice, room, "m.tag"), {"tags": {"u.a": {"order": 1}}}))
    assert ok(await alice.get(tags(alice, room))) == {"tags": {"u.a": {"order": 1}}}
    ok(await alice.put(in_room(alice, room, "m.tag"), {"tags": "nonsense"}))
    assert ok(await alice.get(tags(alice, room))) == {"tags": {}}


async def test_messages_of_ignored_users_vanish_and_come_back(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob)
    await bob.joins(room)
    await alice.syncs()
    ok(await alice.put(account(alice, "m.ignored_user_list"), {"ignored_users": {bob.user_id: {}, "nonsense": {}}}))
    await bob.says(room, "unheard")
    topic = await bob_sets_name(alice, bob, room)
    events = (await alice.syncs())["rooms"]["join"][room]["timeline"]["events"]
    assert [event["event_id"] for event in events if event["sender"] == bob.user_id] == [topic]

    ok(await alice.put(account(alice, "m.ignored_user_list"), {"ignored_users": {}}))
    heard = await bob.says(room, "heard")
    events = (await alice.syncs())["rooms"]["join"][room]["timeline"]["events"]
    assert [event["event_id"] for event in events] == [heard]


async def bob_sets_name(alice: User, bob: User, room: str) -> str:
    """Let Bob send state, which ignoring him does not hide; return its event ID."""
    levels = ok(await alice.get(f"/rooms/{q(room)}/state/m.room.power_levels/"))
    await alice.sets(room, "m.room.power_levels", {**levels, "users": {**levels["users"], bob.user_id: 50}})
    return await bob.sets(room, "m.room.topic", {"topic": "state is shown"})


async def test_a_list_of_ignored_users_that_cannot_be_read_ignores_nobody(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob)
    await bob.joins(room)
    for content in ({"ignored_users": [bob.user_id]}, {"ignored_users": {alice.user_id: {}}}, {}):
        ok(await alice.put(account(alice, "m.ignored_user_list"), content))
        await alice.syncs()
        said = await bob.says(room)
        events = (await alice.syncs())["rooms"]["join"][room]["timeline"]["events"]
        assert [event["event_id"] for event in events] == [said]
