"""Messages from device to device: https://spec.matrix.org/v1.19/client-server-api/#send-to-device-messaging."""

from typing import Any

import pytest

from tests.support.world import User, ok, q, refused


async def sends(user: User, messages: dict[str, Any], txn_id: str = "1", kind: str = "org.example") -> tuple[int, Any]:
    return await user.put(f"/sendToDevice/{q(kind)}/{q(txn_id)}", {"messages": messages})


async def receives(user: User) -> list[Any]:
    """The messages in the device's next sync."""
    return list((await user.syncs()).get("to_device", {}).get("events", []))


def message(sender: User, content: dict[str, Any], kind: str = "org.example") -> dict[str, Any]:
    return {"type": kind, "sender": sender.user_id, "content": content}


async def test_a_message_reaches_the_device_once(alice: User, bob: User) -> None:
    phone = await bob.login_again()
    assert await sends(alice, {bob.user_id: {bob.device_id: {"a": 1}}}) == (200, {})
    assert await receives(bob) == [message(alice, {"a": 1})]
    assert await receives(bob) == []
    assert await receives(phone) == []


async def test_a_message_waits_until_it_is_acknowledged(alice: User, bob: User) -> None:
    ok(await sends(alice, {bob.user_id: {bob.device_id: {"a": 1}}}))
    assert await receives(bob) == [message(alice, {"a": 1})]
    bob.since = None
    assert await receives(bob) == [message(alice, {"a": 1})]
    assert await receives(bob) == []
    bob.since = None
    assert await receives(bob) == []


async def test_a_star_means_all_devices(alice: User, bob: User) -> None:
    phone = await bob.login_again()
    ok(await sends(alice, {bob.user_id: {"*": {"to": "all"}, phone.device_id: {"to": "phone"}}}))
    assert await receives(bob) == [message(alice, {"to": "all"})]
    assert await receives(phone) == [message(alice, {"to": "phone"})]


async def test_messages_arrive_in_order(alice: User, bob: User) -> None:
    for number in range(5):
        ok(await sends(alice, {bob.user_id: {"*": {"number": number}}}, f"t{number}"))
    assert [event["content"]["number"] for event in await receives(bob)] == list(range(5))


async def test_many_messages_come_in_several_syncs(alice: User, bob: User) -> None:
    for number in range(150):
        ok(await sends(alice, {bob.user_id: {"*": {"number": number}}}, f"t{number}"))
    first, second = await receives(bob), await receives(bob)
    assert 0 < len(first) <= 100
    assert [event["content"]["number"] for event in first + second] == list(range(150))


async def test_a_transaction_is_done_once(alice: User, bob: User) -> None:
    for content in ({"first": 1}, {"second": 2}):
        assert await sends(alice, {bob.user_id: {"*": content}}, "same") == (200, {})
    ok(await sends(alice, {bob.user_id: {"*": {"third": 3}}}, "same", kind="org.example.other"))
    laptop = await alice.login_again()
    ok(await sends(laptop, {bob.user_id: {"*": {"fourth": 4}}}, "same"))
    assert [event["content"] for event in await receives(bob)] == [{"first": 1}, {"third": 3}, {"fourth": 4}]


async def test_users_and_devices_that_are_not_there_are_left_out(alice: User, bob: User) -> None:
    messages = {
        "@nobody:hs1": {"*": {}},
        "@somebody:elsewhere.example": {"DEVICE": {}},
        bob.user_id: {"NOSUCH": {}, bob.device_id: {"a": 1}},
    }
    assert await sends(alice, messages) == (200, {})
    assert await receives(bob) == [message(alice, {"a": 1})]


async def test_one_may_write_to_oneself(alice: User) -> None:
    phone = await alice.login_again()
    ok(await sends(alice, {alice.user_id: {"*": {"a": 1}}}))
    assert await receives(phone) == [message(alice, {"a": 1})]


async def test_a_message_wakes_who_waits(alice: User, bob: User) -> None:
    await bob.syncs()
    waiting = bob.syncs(timeout=20_000)
    ok(await sends(alice, {bob.user_id: {"*": {"a": 1}}}))
    assert (await waiting)["to_device"]["events"] == [message(alice, {"a": 1})]


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        ({}, "M_MISSING_PARAM"),
        ({"messages": []}, "M_BAD_JSON"),
        ({"messages": {"@bob:hs1": []}}, "M_BAD_JSON"),
        ({"messages": {"@bob:hs1": {"*": "text"}}}, "M_BAD_JSON"),
        ({"messages": {"bob": {"*": {}}}}, "M_INVALID_PARAM"),
    ],
)
async def test_what_is_no_message_is_refused(alice: User, body: dict[str, Any], errcode: str) -> None:
    refused(await alice.put("/sendToDevice/org.example/1", body), 400, errcode)


async def test_messages_are_bounded(alice: User, bob: User) -> None:
    refused(await sends(alice, {bob.user_id: {"*": {"much": "x" * 70_000}}}), 413, "M_TOO_LARGE")
    refused(await sends(alice, {bob.user_id: {f"D{n}": {} for n in range(10_001)}}), 413, "M_TOO_LARGE")
    refused(await sends(alice, {bob.user_id: {"*": {}}}, kind="x" * 300), 400, "M_INVALID_PARAM")
    refused(await sends(alice, {bob.user_id: {"*": {}}}, "x" * 300), 400, "M_INVALID_PARAM")
    assert await receives(bob) == []
