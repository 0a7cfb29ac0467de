"""Devices of users of other servers: https://spec.matrix.org/v1.19/server-server-api/#device-management."""

from collections.abc import Mapping
from typing import Any

import pytest

from federation.core.ids import UserID
from tests.federation.sharing import Shared
from tests.support.peer import Peer
from tests.support.waiting import until
from tests.support.world import User, World, ok


def keys_of(user: str, device: str, key: str = "a") -> dict[str, Any]:
    return {"user_id": user, "device_id": device, "algorithms": [], "keys": {f"ed25519:{device}": key}}


def update(user: str, device: str, stream_id: int, prev_id: list[int], **more: Any) -> dict[str, Any]:
    content = {"user_id": user, "device_id": device, "stream_id": stream_id, "prev_id": prev_id, **more}
    return {"edu_type": "m.device_list_update", "content": content}


@pytest.fixture
async def shared(ours: World, peer: Peer) -> Shared:
    return await Shared.of(ours, peer)


@pytest.fixture
def carol(shared: Shared) -> UserID:
    """A user of the peer with one device, who is in the room."""
    user = shared.peer.user("creator")
    listed = [{"device_id": "ONE", "keys": keys_of(user, "ONE"), "device_display_name": "Carol's phone"}]
    shared.peer.devices[user] = {"user_id": user, "stream_id": 5, "devices": listed}
    return user


async def devices_of(alice: User, user: str) -> dict[str, Any]:
    answer = ok(await alice.post("/keys/query", {"device_keys": {user: []}}))
    assert answer["failures"] == {}, answer
    found: dict[str, Any] = answer["device_keys"].get(user, {})
    return found


async def hears(shared: Shared, *edus: Mapping[str, Any]) -> None:
    status, answer = await shared.peer.sends(shared.ours.name, (), edus)
    assert status == 200, answer


async def test_a_list_is_asked_for_once(shared: Shared, carol: UserID) -> None:
    for _ in range(2):
        found = await devices_of(shared.alice, carol)
        assert set(found) == {"ONE"}
        assert found["ONE"]["unsigned"] == {"device_display_name": "Carol's phone"}
    assert len(shared.peer.asked_for("user_devices")) == 1


async def test_a_list_is_kept_up_to_date_by_what_its_server_tells(shared: Shared, carol: UserID) -> None:
    await devices_of(shared.alice, carol)
    await shared.alice.syncs()
    await hears(shared, update(carol, "TWO", 6, [5], keys=keys_of(carol, "TWO")))
    assert (await shared.alice.syncs())["device_lists"]["changed"] == [carol]
    assert set(await devices_of(shared.alice, carol)) == {"ONE", "TWO"}
    await hears(shared, update(carol, "ONE", 7, [6], deleted=True))
    assert set(await devices_of(shared.alice, carol)) == {"TWO"}
    assert len(shared.peer.asked_for("user_devices")) == 1


async def test_after_a_gap_the_list_is_asked_for_anew(shared: Shared, carol: UserID) -> None:
    await devices_of(shared.alice, carol)
    devices = [{"device_id": name, "keys": keys_of(carol, name)} for name in ("ONE", "TWO", "THREE")]
    shared.peer.devices[carol] = {"user_id": carol, "stream_id": 9, "devices": devices}
    await hears(shared, update(carol, "THREE", 9, [8], keys=keys_of(carol, "THREE")))
    await until(lambda: len(shared.peer.asked_for("user_devices")) == 2)
    assert set(await devices_of(shared.alice, carol)) == {"ONE", "TWO", "THREE"}


async def test_an_update_that_comes_twice_changes_nothing(shared: Shared, carol: UserID) -> None:
    await devices_of(shared.alice, carol)
    two = update(carol, "TWO", 6, [5], keys=keys_of(carol, "TWO"))
    await hears(shared, two)
    await hears(shared, two)
    assert set(await devices_of(shared.alice, carol)) == {"ONE", "TWO"}
    assert len(shared.peer.asked_for("user_devices")) == 1


async def test_other_cross_signing_keys_are_taken(shared: Shared, carol: UserID) -> None:
    await devices_of(shared.alice, carol)
    master = {"user_id": carol, "usage": ["master"], "keys": {"ed25519:M": "M"}}
    await shared.alice.syncs()
    edu = {"edu_type": "m.signing_key_update", "content": {"user_id": carol, "master_key": master}}
    await hears(shared, edu)
    assert (await shared.alice.syncs())["device_lists"]["changed"] == [carol]
    answer = ok(await shared.alice.post("/keys/query", {"device_keys": {carol: []}}))
    assert answer["master_keys"] == {carol: master}


async def test_keys_of_others_in_an_answer_are_left_out(shared: Shared, carol: UserID) -> None:
    listed = [{"device_id": "ONE", "keys": keys_of(shared.alice.user_id, "ONE")}, {"device_id": "TWO"}, "THREE"]
    shared.peer.devices[carol] = {"user_id": carol, "stream_id": 5, "devices": listed}
    assert await devices_of(shared.alice, carol) == {}


async def test_a_server_that_cannot_be_asked_is_named(shared: Shared) -> None:
    stranger = "@nobody:nowhere.invalid"
    answer = ok(await shared.alice.post("/keys/query", {"device_keys": {stranger: []}}))
    assert list(answer["failures"]) == ["nowhere.invalid"]
    wanted = {"one_time_keys": {stranger: {"X": "signed_curve25519"}}}
    answer = ok(await shared.alice.post("/keys/claim", wanted))
    assert list(answer["failures"]) == ["nowhere.invalid"]


async def test_a_message_that_is_sent_twice_arrives_once(shared: Shared, carol: UserID) -> None:
    content = {
        "sender": carol, "type": "org.example.secret", "message_id": "m1",
        "messages": {shared.alice.user_id: {"*": {"secret": 1}}},
    }  # fmt: skip
    for _ in range(2):
        await hears(shared, {"edu_type": "m.direct_to_device", "content": content})
    events = (await shared.alice.syncs())["to_device"]["events"]
    assert events == [{"type": "org.example.secret", "sender": carol, "content": {"secret": 1}}]


async def test_our_changes_are_told_in_a_chain(shared: Shared) -> None:
    alice, peer = shared.alice, shared.peer
    ok(await alice.post("/keys/upload", {"device_keys": keys_of(alice.user_id, alice.device_id)}))
    first = await peer.gets_edu("m.device_list_update")
    assert first["keys"] == keys_of(alice.user_id, alice.device_id)
    ok(await alice.put(f"/devices/{alice.device_id}", {"display_name": "New"}))
    second = await peer.gets_edu("m.device_list_update", lambda content: content.get("device_display_name") == "New")
    assert second["prev_id"] == [first["stream_id"]]
    status, told = await peer.request("GET", shared.ours.name, f"/_matrix/federation/v1/user/devices/{alice.user_id}")
    assert status == 200
    assert told["stream_id"] == second["stream_id"]
    phone = await alice.login_again("PHONE")
    ok(await phone.post("/keys/upload", {"device_keys": keys_of(alice.user_id, "PHONE")}))
    ok(await phone.post("/logout"))
    gone = await peer.gets_edu("m.device_list_update", lambda content: content.get("deleted"))
    assert gone["device_id"] == "PHONE"
