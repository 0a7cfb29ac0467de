"""Devices: https://spec.matrix.org/v1.19/client-server-api/#device-management."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from homeserver.storage.schema.accounts import devices
from tests.support.clock import MovableClock
from tests.support.people import password_of
from tests.support.world import User, World, ok, q, refused


@pytest.fixture
def clock() -> MovableClock:
    """A clock that the test moves."""
    return MovableClock()


@pytest.fixture
async def world(database_url: str, tmp_path: Path, clock: MovableClock) -> AsyncIterator[World]:
    """A running server."""
    async with World.start(database_url, tmp_path, clock=clock) as started:
        yield started


async def names(user: User) -> list[str]:
    """Return the IDs of the user's devices."""
    return [device["device_id"] for device in ok(await user.get("/devices"))["devices"]]


async def test_a_user_sees_their_devices_and_nobody_elses(alice: User, bob: User) -> None:
    await alice.login_again("TV")
    assert await names(alice) == ["ALICE1", "TV"]
    assert await names(bob) == ["BOB1"]
    refused(await bob.get("/devices/TV"), 404, "M_NOT_FOUND")
    refused(await bob.put("/devices/TV", {"display_name": "mine"}), 404, "M_NOT_FOUND")


async def test_a_device_says_when_it_was_last_seen(world: World, alice: User, clock: MovableClock) -> None:
    before = ok(await alice.get("/devices/ALICE1"))["last_seen_ts"]
    assert abs(before - clock.now_ms()) < 60_000
    clock.advance(100)
    device = ok(await alice.get("/devices/ALICE1"))
    assert device["last_seen_ip"] == "127.0.0.1"
    assert device["last_seen_ts"] - before >= 100_000


async def test_when_a_device_was_last_seen_is_kept_over_a_restart(
    database_url: str, tmp_path: Path, clock: MovableClock
) -> None:
    async with World.start(database_url, tmp_path, clock=clock) as world:
        alice = await world.user("alice")
        await alice.login_again("TV")
        headers = {"X-Forwarded-For": "192.0.2.7", "User-Agent": "Tester/1"}
        path = "/_matrix/client/v3/account/whoami"
        ok(await world.request("GET", path, token=alice.token, headers=headers))
        then = clock.now_ms()
    clock.advance(1000)
    async with World.start(database_url, tmp_path, clock=clock) as world:
        tv = await User(world, alice.user_id, alice.token, alice.device_id).login_again("TV")
        device = ok(await tv.get("/devices/ALICE1"))
        assert device["last_seen_ip"] == "192.0.2.7"
        assert abs(device["last_seen_ts"] - then) < 60_000
        rows = await world.app.db.read(lambda conn: conn.execute(devices.select().order_by(devices.c.nid)).all())
        assert rows[0].last_seen_agent == "Tester/1"


async def test_requests_write_nothing_about_when_a_device_was_seen(world: World, alice: User) -> None:
    async def stored() -> Any:
        return await world.app.db.read(lambda conn: conn.execute(devices.select()).one().last_seen_at)

    for _ in range(3):
        ok(await alice.get("/account/whoami"))
    assert await stored() is None
    await world.app.services.sessions.write_seen()
    assert await stored() is not None


async def test_a_device_is_renamed(alice: User) -> None:
    assert ok(await alice.put("/devices/ALICE1", {"display_name": "Phone ☎"})) == {}
    assert ok(await alice.get("/devices/ALICE1"))["display_name"] == "Phone ☎"
    ok(await alice.put("/devices/ALICE1", {}))
    assert ok(await alice.get("/devices/ALICE1"))["display_name"] == "Phone ☎"


@pytest.mark.parametrize(
    ("name", "errcode"),
    [(7, "M_BAD_JSON"), (["x"], "M_BAD_JSON"), ("x" * 1001, "M_INVALID_PARAM"), ("a\0b", "M_INVALID_PARAM")],
)
async def test_a_bad_name_is_refused(alice: User, name: Any, errcode: str) -> None:
    error = refused(await alice.put("/devices/ALICE1", {"display_name": name}), 400, errcode)
    assert "display_name" in error["error"]
    assert "display_name" not in ok(await alice.get("/devices/ALICE1"))


async def test_a_device_that_is_not_there_is_not_found(alice: User) -> None:
    refused(await alice.get("/devices/NONE"), 404, "M_NOT_FOUND")
    refused(await alice.put("/devices/NONE", {"display_name": "x"}), 404, "M_NOT_FOUND")
    refused(await alice.get("/devices/a%00b"), 400, "M_INVALID_PARAM")


async def test_removing_a_device_needs_the_password_and_ends_its_session(alice: User) -> None:
    tv = await alice.login_again("TV")
    ok(await tv.get("/account/whoami"))
    status, answer = await alice.delete("/devices/TV", {})
    assert status == 401
    assert answer["flows"] == [{"stages": ["m.login.password"]}]
    refused(await alice.delete("/devices/TV", {"auth": password_of(alice, "wrong password")}), 401, "M_FORBIDDEN")
    assert await names(alice) == ["ALICE1", "TV"]

    ok(await alice.delete("/devices/TV", {"auth": password_of(alice, session=answer["session"])}))
    assert await names(alice) == ["ALICE1"]
    refused(await tv.get("/account/whoami"), 401, "M_UNKNOWN_TOKEN")
    # "or had been removed previously"
    ok(await alice.delete("/devices/TV", {"auth": password_of(alice)}))


async def test_a_body_is_not_needed_to_learn_the_flows(alice: User) -> None:
    status, answer = await alice.delete("/devices/ALICE1")
    assert status == 401
    assert answer["flows"]


async def test_another_users_device_is_not_removed(alice: User, bob: User) -> None:
    ok(await alice.delete("/devices/BOB1", {"auth": password_of(alice)}))
    ok(await alice.post("/delete_devices", {"devices": ["BOB1"], "auth": password_of(alice)}))
    assert await names(bob) == ["BOB1"]


async def test_several_devices_are_removed_at_once(alice: User) -> None:
    for name in ("TV", "CAR", "a/b ü"):
        await alice.login_again(name)
    body = {"devices": ["TV", "a/b ü", "NONE", "TV"]}
    status, answer = await alice.post("/delete_devices", body)
    assert status == 401
    ok(await alice.post("/delete_devices", {**body, "auth": password_of(alice, session=answer["session"])}))
    assert await names(alice) == ["ALICE1", "CAR"]
    ok(await alice.post("/delete_devices", {"devices": [], "auth": password_of(alice)}))


async def test_a_device_may_remove_itself(alice: User) -> None:
    ok(await alice.delete("/devices/ALICE1", {"auth": password_of(alice)}))
    refused(await alice.get("/devices"), 401, "M_UNKNOWN_TOKEN")


async def test_the_name_of_a_device_is_any_text(alice: User) -> None:
    odd = await alice.login_again("a/b ü")
    assert ok(await odd.get(f"/devices/{q('a/b ü')}"))["device_id"] == "a/b ü"


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        ({}, "M_MISSING_PARAM"),
        ({"devices": "TV"}, "M_BAD_JSON"),
        ({"devices": [1]}, "M_BAD_JSON"),
        ({"devices": [""]}, "M_INVALID_PARAM"),
        ({"devices": ["x" * 256]}, "M_INVALID_PARAM"),
        ({"devices": ["ALICE1"], "auth": 7}, "M_BAD_JSON"),
        ({"devices": ["ALICE1"], "auth": {"type": "m.login.password"}}, "M_MISSING_PARAM"),
    ],
)
async def test_bad_input_removes_nothing(alice: User, body: Any, errcode: str) -> None:
    refused(await alice.post("/delete_devices", body), 400, errcode)
    assert await names(alice) == ["ALICE1"]
