"""Making accounts with the shared secret, as existing tools do it."""

import asyncio
import hmac
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from homeserver.services import shared_secret
from tests.support.clock import MovableClock
from tests.support.people import account_of, logs_in
from tests.support.world import CLIENT, World, ok, refused

PATH = "/_synapse/admin/v1/register"
SECRET = "the shared secret"


@pytest.fixture
def clock() -> MovableClock:
    """A clock that the test moves."""
    return MovableClock()


@pytest.fixture
async def world(database_url: str, tmp_path: Path, clock: MovableClock) -> AsyncIterator[World]:
    """A server that is closed to all who do not know the secret."""
    async with World.start(
        database_url, tmp_path, clock=clock, REGISTRATION__ENABLED="false", REGISTRATION__SHARED_SECRET=SECRET
    ) as started:
        yield started


async def nonce(world: World) -> str:
    """Fetch a nonce."""
    return str(ok(await world.request("GET", PATH))["nonce"])


def mac(secret: str, *parts: str) -> str:
    """Return the proof over the parts."""
    return hmac.new(secret.encode(), b"\0".join(part.encode() for part in parts), "sha1").hexdigest()


async def body_for(world: World, name: str = "carol", password: str = "pw", *, admin: bool = False) -> dict[str, Any]:
    """Return a body that is right."""
    fresh = await nonce(world)
    proof = mac(SECRET, fresh, name, password, "admin" if admin else "notadmin")
    return {"nonce": fresh, "username": name, "password": password, "admin": admin, "mac": proof}


async def test_a_tool_that_knows_the_secret_makes_an_account(world: World) -> None:
    answer = ok(await world.request("POST", PATH, await body_for(world)))
    assert (answer["user_id"], answer["home_server"]) == ("@carol:hs1", "hs1")
    whoami = ok(await world.request("GET", f"{CLIENT}/account/whoami", token=answer["access_token"]))
    assert whoami["device_id"] == answer["device_id"]
    ok(await logs_in(world, "carol", "pw"))
    assert not (await account_of(world, "@carol:hs1")).admin


async def test_the_account_may_be_an_administrators(world: World) -> None:
    ok(await world.request("POST", PATH, await body_for(world, admin=True)))
    assert (await account_of(world, "@carol:hs1")).admin


async def test_the_kind_of_user_is_part_of_the_proof(world: World) -> None:
    fresh = await nonce(world)
    body = {"nonce": fresh, "username": "carol", "password": "pw", "admin": False, "user_type": "bot"}
    proof = mac(SECRET, fresh, "carol", "pw", "notadmin", "bot")
    ok(await world.request("POST", PATH, {**body, "mac": proof.upper()}))


async def test_nobody_is_logged_in_if_the_tool_says_so(world: World) -> None:
    answer = ok(await world.request("POST", PATH, {**await body_for(world), "inhibit_login": True}))
    assert answer == {"user_id": "@carol:hs1", "home_server": "hs1"}


@pytest.mark.parametrize(
    "change",
    [{"admin": True}, {"username": "dave"}, {"password": "other"}, {"user_type": "bot"}, {"mac": "ü"}, {"mac": ""}],
)
async def test_what_is_not_proven_is_refused(world: World, change: dict[str, Any]) -> None:
    refused(await world.request("POST", PATH, {**await body_for(world), **change}), 403, "M_FORBIDDEN")
    refused(await logs_in(world, "carol", "pw"), 403, "M_FORBIDDEN")


async def test_a_nonce_is_good_for_one_attempt(world: World) -> None:
    body = await body_for(world)
    refused(await world.request("POST", PATH, {**body, "mac": "wrong"}), 403, "M_FORBIDDEN")
    error = refused(await world.request("POST", PATH, body), 400, "M_INVALID_PARAM")
    assert "nonce" in error["error"]


async def test_a_nonce_lives_a_minute(world: World, clock: MovableClock) -> None:
    body = await body_for(world)
    clock.advance(61)
    refused(await world.request("POST", PATH, body), 400, "M_INVALID_PARAM")


async def test_only_so_many_nonces_are_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_secret, "MOST_NONCES", 2)
    bodies = [await body_for(world, f"user{n}") for n in range(3)]
    statuses = [(await world.request("POST", PATH, body))[0] for body in bodies]
    assert statuses == [400, 200, 200]


async def test_names_are_judged_as_everywhere(world: World) -> None:
    refused(await world.request("POST", PATH, await body_for(world, "a b")), 400, "M_INVALID_USERNAME")
    ok(await world.request("POST", PATH, await body_for(world, "carol")))
    refused(await world.request("POST", PATH, await body_for(world, "Carol")), 400, "M_USER_IN_USE")


async def test_of_two_tools_that_want_a_name_at_once_one_gets_it(world: World) -> None:
    bodies = [await body_for(world) for _ in range(3)]
    answers = await asyncio.gather(*(world.request("POST", PATH, body) for body in bodies))
    assert sorted(status for status, _ in answers) == [200, 400, 400]


@pytest.mark.parametrize(
    ("change", "errcode", "named"),
    [
        ({"nonce": None}, "M_MISSING_PARAM", "nonce"),
        ({"mac": None}, "M_MISSING_PARAM", "mac"),
        ({"username": None}, "M_MISSING_PARAM", "username"),
        ({"password": None}, "M_MISSING_PARAM", "password"),
        ({"admin": "yes"}, "M_BAD_JSON", "admin"),
        ({"nonce": 7}, "M_BAD_JSON", "nonce"),
    ],
)
async def test_bad_input_is_named(world: World, change: dict[str, Any], errcode: str, named: str) -> None:
    body = {name: value for name, value in {**await body_for(world), **change}.items() if value is not None}
    assert named in refused(await world.request("POST", PATH, body), 400, errcode)["error"]


async def test_a_password_can_be_too_long_or_missing(world: World) -> None:
    for password in ("", "x" * 513):
        answer = await world.request("POST", PATH, await body_for(world, password=password))
        assert "password" in refused(answer, 400, "M_INVALID_PARAM")["error"]


async def test_without_a_secret_the_endpoint_is_not_there(database_url: str, tmp_path: Path) -> None:
    async with World.start(database_url, tmp_path) as world:
        refused(await world.request("GET", PATH), 404, "M_UNRECOGNIZED")
        body = {"nonce": "x", "username": "carol", "password": "pw", "mac": mac("", "x", "carol", "pw", "notadmin")}
        refused(await world.request("POST", PATH, body), 404, "M_UNRECOGNIZED")
