"""Logging in and out: https://spec.matrix.org/v1.19/client-server-api/#legacy-login."""

from pathlib import Path
from typing import Any

import pytest

from homeserver.storage import accounts
from homeserver.storage.schema.accounts import access_tokens, login_tokens, refresh_tokens
from tests.support.clock import MovableClock
from tests.support.people import LOGIN, account_of, administrator, logs_in, password_of
from tests.support.world import CLIENT, PASSWORD, User, World, ok, refused

WHOAMI = f"{CLIENT}/account/whoami"
GET_TOKEN = "/_matrix/client/v1/login/get_token"


async def test_the_flows_are_told(world: World) -> None:
    answer = ok(await world.request("GET", LOGIN))
    assert answer == {"flows": [{"type": "m.login.password"}, {"type": "m.login.token", "get_login_token": True}]}


@pytest.mark.parametrize("name", ["@alice:hs1", "alice", "Alice"])
async def test_one_logs_in_by_user_id_or_localpart(world: World, alice: User, name: str) -> None:
    answer = ok(await logs_in(world, name, initial_device_display_name="Laptop"))
    assert answer["user_id"] == alice.user_id
    token = answer["access_token"]
    device = ok(await world.request("GET", f"{CLIENT}/devices/{answer['device_id']}", token=token))
    assert device["display_name"] == "Laptop"


@pytest.mark.parametrize("name", ["@alice:hs1", "alice"])
async def test_old_clients_name_the_user_outside_of_an_identifier(world: World, alice: User, name: str) -> None:
    body = {"type": "m.login.password", "user": name, "password": PASSWORD}
    assert ok(await world.request("POST", LOGIN, body))["user_id"] == alice.user_id


async def test_who_cannot_log_in_is_not_told_why(world: World, alice: User) -> None:
    wrong = await logs_in(world, "alice", "wrong password")
    refused(wrong, 403, "M_FORBIDDEN")
    third_party = {"type": "m.id.thirdparty", "medium": "email", "address": "alice@example.org"}
    phone = {"type": "m.id.phone", "country": "GB", "phone": "1"}
    for answer in (
        await logs_in(world, "nobody"),
        await logs_in(world, "@alice:elsewhere"),
        await logs_in(world, "@@:not a user"),
        await logs_in(world, "not a user"),
        await logs_in(world, "", identifier=third_party),
        await logs_in(world, "", identifier=phone),
        await logs_in(world, "alice", ""),
        await logs_in(world, "alice", "x" * 100_000),
    ):
        assert answer == wrong


@pytest.mark.parametrize(
    ("body", "errcode", "named"),
    [
        ({}, "M_MISSING_PARAM", "type"),
        ({"type": 7}, "M_BAD_JSON", "type"),
        ({"type": "m.login.sso"}, "M_INVALID_PARAM", "type"),
        ({"type": "m.login.password", "user": "alice"}, "M_MISSING_PARAM", "password"),
        ({"type": "m.login.password", "password": "x"}, "M_MISSING_PARAM", "identifier"),
        ({"type": "m.login.password", "password": "x", "user": 7}, "M_BAD_JSON", "user"),
        ({"type": "m.login.password", "password": "x", "identifier": "alice"}, "M_BAD_JSON", "identifier"),
        ({"type": "m.login.password", "password": "x", "identifier": {}}, "M_INVALID_PARAM", "identifier.type"),
        (
            {"type": "m.login.password", "password": "x", "identifier": {"type": "m.id.user"}},
            "M_MISSING_PARAM",
            "identifier.user",
        ),
        (
            {"type": "m.login.password", "password": "x", "identifier": {"type": "m.id.user", "user": []}},
            "M_BAD_JSON",
            "identifier.user",
        ),
        ({"type": "m.login.password", "user": "alice", "password": 7}, "M_BAD_JSON", "password"),
        (
            {"type": "m.login.password", "user": "alice", "password": PASSWORD, "device_id": ""},
            "M_INVALID_PARAM",
            "device_id",
        ),
        ({"type": "m.login.token"}, "M_MISSING_PARAM", "token"),
        ({"type": "m.login.token", "token": {}}, "M_BAD_JSON", "token"),
    ],
)
async def test_bad_input_is_named_and_logs_nobody_in(
    world: World, alice: User, body: dict[str, Any], errcode: str, named: str
) -> None:
    error = refused(await world.request("POST", LOGIN, body), 400, errcode)
    assert named in error["error"]
    assert len(ok(await alice.get("/devices"))["devices"]) == 1


async def test_logging_a_device_in_again_ends_its_old_token(world: World, alice: User) -> None:
    ok(await alice.get("/account/whoami"))
    again = await alice.login_again(alice.device_id)
    assert again.device_id == alice.device_id
    refused(await alice.get("/account/whoami"), 401, "M_UNKNOWN_TOKEN")
    ok(await again.get("/account/whoami"))
    assert len(ok(await again.get("/devices"))["devices"]) == 1


async def test_a_token_may_stand_in_the_query(world: World, alice: User) -> None:
    ok(await world.request("GET", WHOAMI, access_token=alice.token))


async def test_a_request_needs_a_token_that_is_known(world: World, alice: User) -> None:
    refused(await world.request("GET", WHOAMI), 401, "M_MISSING_TOKEN")
    refused(await world.request("GET", WHOAMI, headers={"Authorization": "Basic x"}), 401, "M_MISSING_TOKEN")
    for token in ("x", alice.token[:-1], alice.token + "x", "ü"):
        error = refused(await world.request("GET", WHOAMI, access_token=token), 401, "M_UNKNOWN_TOKEN")
        assert not error.get("soft_logout", False)


async def test_no_token_is_stored_as_it_is(world: World, alice: User) -> None:
    login_token = ok(await alice.post(GET_TOKEN, {"auth": password_of(alice)}))["login_token"]
    refresh_token = ok(await logs_in(world, "alice", refresh_token=True))["refresh_token"]
    for table, token in ((access_tokens, alice.token), (login_tokens, login_token), (refresh_tokens, refresh_token)):
        rows = await world.app.db.read(lambda conn, table=table: conn.execute(table.select()).all())  # type: ignore[misc]
        assert rows
        assert token not in repr(rows)


async def test_logging_out_ends_the_device(world: World, alice: User) -> None:
    other = await alice.login_again()
    ok(await alice.post("/logout"))
    error = refused(await alice.get("/account/whoami"), 401, "M_UNKNOWN_TOKEN")
    assert not error.get("soft_logout", False)
    assert [d["device_id"] for d in ok(await other.get("/devices"))["devices"]] == [other.device_id]


async def test_logging_out_everywhere_ends_all_devices_of_the_user(world: World, alice: User, bob: User) -> None:
    other = await alice.login_again()
    ok(await other.get("/account/whoami"))
    ok(await alice.post("/logout/all"))
    for device in (alice, other):
        refused(await device.get("/account/whoami"), 401, "M_UNKNOWN_TOKEN")
    ok(await bob.get("/account/whoami"))


# Login tokens


async def test_a_login_token_logs_in_once(world: World, alice: User) -> None:
    answer = ok(await alice.post(GET_TOKEN, {"auth": password_of(alice)}))
    assert answer["expires_in_ms"] == 120_000
    body = {"type": "m.login.token", "token": answer["login_token"], "device_id": "TV"}
    login = ok(await world.request("POST", LOGIN, body))
    assert (login["user_id"], login["device_id"]) == (alice.user_id, "TV")
    refused(await world.request("POST", LOGIN, body), 403, "M_FORBIDDEN")


async def test_a_login_token_needs_the_password_each_time(alice: User) -> None:
    for _ in range(2):
        status, answer = await alice.post(GET_TOKEN)
        assert status == 401
        assert answer["flows"] == [{"stages": ["m.login.password"]}]
        assert "errcode" not in answer
        ok(await alice.post(GET_TOKEN, {"auth": password_of(alice, session=answer["session"])}))
        refused(await alice.post(GET_TOKEN, {"auth": {"session": answer["session"]}}), 401, "M_FORBIDDEN")


async def test_a_login_token_expires(database_url: str, tmp_path: Path) -> None:
    clock = MovableClock()
    async with World.start(database_url, tmp_path, clock=clock) as world:
        alice = await world.user("alice")
        token = ok(await alice.post(GET_TOKEN, {"auth": password_of(alice)}))["login_token"]
        clock.advance(121)
        refused(await world.request("POST", LOGIN, {"type": "m.login.token", "token": token}), 403, "M_FORBIDDEN")


async def test_a_login_token_does_not_outlive_the_password(world: World, alice: User) -> None:
    token = ok(await alice.post(GET_TOKEN, {"auth": password_of(alice)}))["login_token"]
    ok(await alice.post("/account/password", {"new_password": "another password", "auth": password_of(alice)}))
    refused(await world.request("POST", LOGIN, {"type": "m.login.token", "token": token}), 403, "M_FORBIDDEN")


# Accounts that may not


async def test_a_locked_account_can_only_log_out(world: World, alice: User) -> None:
    root = await administrator(world)
    ok(await alice.get("/account/whoami"))
    token = ok(await alice.post(GET_TOKEN, {"auth": password_of(alice)}))["login_token"]
    refreshing = ok(await logs_in(world, "alice", refresh_token=True))
    ok(await root.put(f"/_matrix/client/v1/admin/lock/{alice.user_id}", {"locked": True}))

    by_token = {"type": "m.login.token", "token": token}
    for answer in (
        await alice.get("/account/whoami"),
        await alice.get("/devices"),
        await logs_in(world, "alice"),
        await world.request("POST", LOGIN, by_token),
        await world.request("POST", f"{CLIENT}/refresh", {"refresh_token": refreshing["refresh_token"]}),
    ):
        error = refused(answer, 401, "M_USER_LOCKED")
        assert error["soft_logout"] is True
    refused(await logs_in(world, "alice", "wrong password"), 403, "M_FORBIDDEN")

    other = User(world, alice.user_id, refreshing["access_token"], refreshing["device_id"])
    ok(await other.post("/logout"))
    ok(await root.put(f"/_matrix/client/v1/admin/lock/{alice.user_id}", {"locked": False}))
    ok(await alice.get("/account/whoami"))
    refused(await other.get("/account/whoami"), 401, "M_UNKNOWN_TOKEN")
    ok(await world.request("POST", LOGIN, by_token))


async def test_a_suspended_account_logs_in(world: World, alice: User) -> None:
    root = await administrator(world)
    ok(await root.put(f"/_matrix/client/v1/admin/suspend/{alice.user_id}", {"suspended": True}))
    again = await alice.login_again()
    ok(await again.post("/logout"))


# Limits and costs


async def test_attempts_on_one_account_are_limited_whatever_the_address(database_url: str, tmp_path: Path) -> None:
    async with World.start(database_url, tmp_path, RATE_LIMITS__ENABLED="true", RATE_LIMITS__LOGIN_BURST="3") as world:
        await world.user("alice")

        async def attempt(name: str, address: str) -> int:
            body = {"type": "m.login.password", "user": name, "password": "wrong"}
            headers = {"X-Forwarded-For": address}
            status, _ = await world.request("POST", LOGIN, body, headers=headers)
            return status

        assert [await attempt("alice", f"10.0.0.{n}") for n in range(4)] == [403, 403, 403, 429]
        assert [await attempt("nobody", f"10.0.1.{n}") for n in range(4)] == [403, 403, 403, 429]
        assert [await attempt(f"user{n}", "10.0.2.1") for n in range(4)] == [403, 403, 403, 429]


async def test_a_password_is_hashed_anew_when_the_cost_has_changed(database_url: str, tmp_path: Path) -> None:
    async with World.start(database_url, tmp_path) as world:
        alice = await world.user("alice")
        before = (await account_of(world, alice.user_id)).password_hash
    async with World.start(database_url, tmp_path, PASSWORDS__ARGON2_ITERATIONS="2") as world:
        refused(await logs_in(world, "alice", "wrong password"), 403, "M_FORBIDDEN")
        assert (await account_of(world, alice.user_id)).password_hash == before
        ok(await logs_in(world, "alice"))
        after = (await account_of(world, alice.user_id)).password_hash
        assert after is not None
        assert after != before
        assert "t=2" in after
        ok(await logs_in(world, "alice"))
        assert (await account_of(world, alice.user_id)).password_hash == after


async def test_scram_keys_that_are_missing_are_made_at_login(world: World, alice: User) -> None:
    account = await account_of(world, alice.user_id)
    assert account.password_hash is not None
    password_hash = account.password_hash
    db = world.app.db
    before = await db.read(lambda conn: accounts.scram_keys_of(conn, account.user))
    assert [key.mechanism for key in before] == ["SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"]

    await db.write(lambda tx: accounts.set_password(tx, account.user, password_hash, []))
    ok(await logs_in(world, "alice"))
    assert len(await db.read(lambda conn: accounts.scram_keys_of(conn, account.user))) == 3
