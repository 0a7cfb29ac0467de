"""Registration: https://spec.matrix.org/v1.19/client-server-api/#legacy-account-registration."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from homeserver.model.tokens import RegistrationToken
from homeserver.storage import registration_tokens
from tests.support.clock import MovableClock
from tests.support.world import CLIENT, PASSWORD, World, ok, refused

DUMMY = {"type": "m.login.dummy"}
VALIDITY = "/_matrix/client/v1/register/m.login.registration_token/validity"


async def register(world: World, *, kind: str | None = None, **body: Any) -> tuple[int, Any]:
    """Register by the dummy stage, unless the body says otherwise."""
    query: dict[str, Any] = {} if kind is None else {"kind": kind}
    body = {"username": "carol", "password": PASSWORD, "auth": DUMMY, **body}
    body = {name: value for name, value in body.items() if value is not None}
    return await world.request("POST", f"{CLIENT}/register", body, **query)


async def is_free(world: World, name: str) -> bool:
    """Ask whether a name is free."""
    status, _ = await world.request("GET", f"{CLIENT}/register/available", username=name)
    return status == 200


async def test_who_registers_is_logged_in(world: World) -> None:
    answer = ok(await register(world, device_id="PHONE", initial_device_display_name="My phone"))

    assert answer["user_id"] == "@carol:hs1"
    assert answer["device_id"] == "PHONE"
    assert "refresh_token" not in answer
    assert "expires_in_ms" not in answer
    token = answer["access_token"]
    whoami = ok(await world.request("GET", f"{CLIENT}/account/whoami", token=token))
    assert whoami == {"user_id": "@carol:hs1", "device_id": "PHONE", "is_guest": False}
    device = ok(await world.request("GET", f"{CLIENT}/devices/PHONE", token=token))
    assert device["display_name"] == "My phone"


async def test_a_device_id_is_made_where_none_is_given(world: World) -> None:
    assert len(ok(await register(world))["device_id"]) == 10


async def test_nobody_is_logged_in_who_does_not_want_it(world: World) -> None:
    answer = ok(await register(world, inhibit_login=True))
    assert answer == {"user_id": "@carol:hs1", "home_server": "hs1"}


async def test_who_chooses_no_name_gets_a_number(world: World) -> None:
    first = ok(await register(world, username=None))["user_id"]
    second = ok(await register(world, username=None))["user_id"]
    assert first != second
    assert first[1:].partition(":")[0].isdigit()


async def test_a_client_that_can_refresh_gets_a_token_that_expires(world: World) -> None:
    answer = ok(await register(world, refresh_token=True))
    assert answer["expires_in_ms"] == 3_600_000
    assert answer["refresh_token"]


async def test_names_are_lower_cased(world: World) -> None:
    assert ok(await register(world, username="CaRoL"))["user_id"] == "@carol:hs1"
    refused(await register(world, username="caROL"), 400, "M_USER_IN_USE")


@pytest.mark.parametrize("name", ["", " ", "a b", "a:b", "@carol", "carol:hs1", "ünal", 'a"b', "a$b", "x" * 251])
async def test_a_name_outside_the_grammar_is_refused_before_authentication(world: World, name: str) -> None:
    refused(await register(world, username=name, auth=None), 400, "M_INVALID_USERNAME")
    refused(await world.request("GET", f"{CLIENT}/register/available", username=name), 400, "M_INVALID_USERNAME")


@pytest.mark.parametrize("name", ["a", "a.b_c=d-e/f+g", "123", "x" * 250])
async def test_a_name_within_the_grammar_is_taken(world: World, name: str) -> None:
    assert ok(await register(world, username=name))["user_id"] == f"@{name}:hs1"


async def test_a_taken_name_is_refused_before_authentication(world: World) -> None:
    ok(await register(world))
    refused(await register(world, auth=None), 400, "M_USER_IN_USE")
    refused(await world.request("GET", f"{CLIENT}/register/available", username="carol"), 400, "M_USER_IN_USE")


async def test_of_two_who_want_a_name_at_once_one_gets_it(world: World) -> None:
    answers = await asyncio.gather(*(register(world) for _ in range(5)))
    assert sorted(status for status, _ in answers) == [200, 400, 400, 400, 400]


async def test_a_free_name_is_available(world: World) -> None:
    assert ok(await world.request("GET", f"{CLIENT}/register/available", username="carol")) == {"available": True}
    refused(await world.request("GET", f"{CLIENT}/register/available"), 400, "M_MISSING_PARAM")


@pytest.mark.parametrize(
    ("body", "errcode", "named"),
    [
        ({"password": "short"}, "M_WEAK_PASSWORD", "password"),
        ({"password": ""}, "M_WEAK_PASSWORD", "password"),
        ({"password": "x" * 513}, "M_INVALID_PARAM", "password"),
        ({"password": None}, "M_MISSING_PARAM", "password"),
        ({"password": 12345678}, "M_BAD_JSON", "password"),
        ({"username": 7}, "M_BAD_JSON", "username"),
        ({"device_id": ""}, "M_INVALID_PARAM", "device_id"),
        ({"device_id": "x" * 256}, "M_INVALID_PARAM", "device_id"),
        ({"device_id": 1}, "M_BAD_JSON", "device_id"),
        ({"initial_device_display_name": "x" * 1001}, "M_INVALID_PARAM", "display_name"),
        ({"initial_device_display_name": "a\0b"}, "M_INVALID_PARAM", "display_name"),
        ({"device_id": "a\0b"}, "M_INVALID_PARAM", "device_id"),
        ({"username": "a\0b"}, "M_INVALID_PARAM", "username"),
        ({"inhibit_login": "yes"}, "M_BAD_JSON", "inhibit_login"),
        ({"refresh_token": 1}, "M_BAD_JSON", "refresh_token"),
        ({"auth": "m.login.dummy"}, "M_BAD_JSON", "auth"),
        ({"auth": {"type": 7}}, "M_BAD_JSON", "auth.type"),
        ({"auth": {"type": "m.login.dummy", "session": 7}}, "M_BAD_JSON", "auth.session"),
    ],
)
async def test_bad_input_is_named_and_makes_no_account(
    world: World, body: dict[str, Any], errcode: str, named: str
) -> None:
    error = refused(await register(world, **body), 400, errcode)
    assert named in error["error"]
    assert await is_free(world, "carol")


@pytest.mark.parametrize(
    ("raw", "errcode"), [(b"{", "M_NOT_JSON"), (b"[]", "M_BAD_JSON"), (b'{"a":1,"a":2}', "M_BAD_JSON")]
)
async def test_a_body_that_is_no_object_is_refused(world: World, raw: bytes, errcode: str) -> None:
    refused(await world.request("POST", f"{CLIENT}/register", raw=raw), 400, errcode)


async def test_there_are_no_guests(world: World) -> None:
    refused(await register(world, kind="guest"), 403, "M_GUEST_ACCESS_FORBIDDEN")
    refused(await register(world, kind="robot"), 400, "M_INVALID_PARAM")
    assert await is_free(world, "carol")


async def test_the_flows_are_told_to_who_asks_without_authentication(world: World) -> None:
    nothing: list[dict[str, str] | None] = [None, {}]
    for auth in nothing:
        status, answer = await register(world, auth=auth)
        assert status == 401
        assert answer["flows"] == [{"stages": ["m.login.dummy"]}]
        assert answer["params"] == {}
        assert "errcode" not in answer
        assert "completed" not in answer
    ok(await register(world, auth={**DUMMY, "session": answer["session"]}))


async def test_the_endpoint_takes_no_other_method(world: World) -> None:
    refused(await world.request("GET", f"{CLIENT}/register"), 405, "M_UNRECOGNIZED")


async def test_a_closed_server_refuses(database_url: str, tmp_path: Path) -> None:
    async with World.start(database_url, tmp_path, REGISTRATION__ENABLED="false") as world:
        refused(await register(world), 403, "M_FORBIDDEN")
        refused(await register(world, kind="guest"), 403, "M_GUEST_ACCESS_FORBIDDEN")
        refused(await world.request("GET", f"{CLIENT}/register/available", username="x"), 403, "M_FORBIDDEN")
        refused(await world.request("GET", f"{VALIDITY}?token=x"), 403, "M_FORBIDDEN")


async def test_registering_is_limited_by_address(database_url: str, tmp_path: Path) -> None:
    async with World.start(
        database_url, tmp_path, RATE_LIMITS__ENABLED="true", RATE_LIMITS__REGISTRATION_BURST="2"
    ) as world:
        ok(await register(world, username="a"))
        ok(await register(world, username="b"))
        error = refused(await register(world, username="c"), 429, "M_LIMIT_EXCEEDED")
        assert error["retry_after_ms"] > 0


# Registration tokens: https://spec.matrix.org/v1.19/client-server-api/#token-authenticated-registration


@pytest.fixture
def clock() -> MovableClock:
    """A clock that the test moves."""
    return MovableClock()


@pytest.fixture
async def token_world(database_url: str, tmp_path: Path, clock: MovableClock) -> AsyncIterator[World]:
    """A server where one needs a token: `once` works once, `hour` for an hour."""
    async with World.start(database_url, tmp_path, clock=clock, REGISTRATION__TOKENS_REQUIRED="true") as world:
        now = clock.now_ms()
        for token in (
            RegistrationToken("once", 1, 0, None),
            RegistrationToken("hour", None, 0, now + 3_600_000),
        ):
            await world.app.db.write(lambda tx, token=token: registration_tokens.add(tx, token, now))  # type: ignore[misc]
        yield world


def with_token(token: Any, **more: Any) -> dict[str, Any]:
    """Return the authentication by a registration token."""
    return {"type": "m.login.registration_token", "token": token, **more}


# `World.request` takes `token` for the access token, so the parameter is written into the path.
async def validity(world: World, token: str) -> bool:
    """Ask whether a registration token is valid."""
    return bool(ok(await world.request("GET", f"{VALIDITY}?token={token}"))["valid"])


async def test_a_registration_token_is_demanded(token_world: World) -> None:
    status, answer = await register(token_world)
    assert status == 401
    assert answer["flows"] == [{"stages": ["m.login.registration_token"]}]
    assert answer["errcode"] == "M_FORBIDDEN"
    ok(await register(token_world, auth=with_token("hour", session=answer["session"])))


@pytest.mark.parametrize(
    ("auth", "status", "errcode"),
    [
        (with_token("wrong"), 401, "M_FORBIDDEN"),
        (with_token(""), 401, "M_FORBIDDEN"),
        (with_token("a\0b"), 400, "M_INVALID_PARAM"),
        (with_token("hour", session="a\0b"), 400, "M_INVALID_PARAM"),
        (with_token(7), 400, "M_BAD_JSON"),
        ({"type": "m.login.registration_token"}, 400, "M_MISSING_PARAM"),
    ],
)
async def test_a_wrong_registration_token_is_refused(
    token_world: World, auth: dict[str, Any], status: int, errcode: str
) -> None:
    refused(await register(token_world, auth=auth), status, errcode)
    assert await is_free(token_world, "carol")


async def test_a_registration_token_has_so_many_uses(token_world: World) -> None:
    assert await validity(token_world, "once")
    answers = await asyncio.gather(
        *(register(token_world, username=f"user{n}", auth=with_token("once")) for n in range(4))
    )
    assert sum(status == 200 for status, _ in answers) == 1
    assert not await validity(token_world, "once")


async def test_a_registration_that_fails_uses_nothing_up(token_world: World) -> None:
    refused(await register(token_world, auth=with_token("once"), password=None), 400, "M_MISSING_PARAM")
    assert await validity(token_world, "once")


async def test_a_registration_token_expires(token_world: World, clock: MovableClock) -> None:
    assert await validity(token_world, "hour")
    clock.advance(3601)
    assert not await validity(token_world, "hour")
    refused(await register(token_world, auth=with_token("hour")), 401, "M_FORBIDDEN")


async def test_an_unknown_registration_token_is_not_valid(token_world: World) -> None:
    assert not await validity(token_world, "unknown")
    refused(await token_world.request("GET", f"{VALIDITY}?token=%00"), 400, "M_INVALID_PARAM")
    refused(await token_world.request("GET", VALIDITY), 400, "M_MISSING_PARAM")


@pytest.mark.parametrize(
    ("medium", "body"),
    [
        ("email", {"email": "a@example.org"}),
        ("msisdn", {"country": "GB", "phone_number": "07700900001"}),
    ],
)
async def test_addresses_and_phone_numbers_are_not_supported(world: World, medium: str, body: dict[str, str]) -> None:
    path = f"/_matrix/client/v3/register/{medium}/requestToken"
    whole = {"client_secret": "secret", "send_attempt": 1, **body}
    refused(await world.request("POST", path, whole), 400, "M_THREEPID_MEDIUM_NOT_SUPPORTED")
    refused(await world.request("POST", path, {"send_attempt": 1, **body}), 400, "M_MISSING_PARAM")
