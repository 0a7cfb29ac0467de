"""A user's own account: https://spec.matrix.org/v1.19/client-server-api/#account-management."""

from typing import Any

import orjson
import pytest

from homeserver.errors import Forbidden
from homeserver.model.accounts import Requester
from homeserver.storage.schema.accounts import account_data, profiles, scram_keys
from tests.support.people import LOGIN, account_of, logs_in, password_of
from tests.support.world import CLIENT, User, World, ok, q, refused

NEW = "another good password"


async def test_the_password_is_changed_and_other_devices_are_logged_out(world: World, alice: User) -> None:
    tv = await alice.login_again("TV")
    ok(await tv.get("/account/whoami"))
    ok(await alice.post("/account/password", {"new_password": NEW, "auth": password_of(alice)}))

    refused(await tv.get("/account/whoami"), 401, "M_UNKNOWN_TOKEN")
    assert [d["device_id"] for d in ok(await alice.get("/devices"))["devices"]] == ["ALICE1"]
    refused(await logs_in(world, "alice"), 403, "M_FORBIDDEN")
    ok(await logs_in(world, "alice", NEW))


async def test_other_devices_stay_if_the_user_says_so(alice: User) -> None:
    tv = await alice.login_again("TV")
    body = {"new_password": NEW, "logout_devices": False, "auth": password_of(alice)}
    ok(await alice.post("/account/password", body))
    ok(await tv.get("/account/whoami"))


async def test_scram_keys_follow_the_password(world: World, alice: User) -> None:
    async def keys() -> Any:
        return await world.app.db.read(lambda conn: conn.execute(scram_keys.select()).all())

    before = await keys()
    assert {key.mechanism for key in before} == {"SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"}
    ok(await alice.post("/account/password", {"new_password": NEW, "auth": password_of(alice)}))
    after = await keys()
    assert len(after) == 3
    assert not {key.stored_key for key in after} & {key.stored_key for key in before}


@pytest.mark.parametrize(
    ("body", "status", "errcode"),
    [
        ({"new_password": "short"}, 400, "M_WEAK_PASSWORD"),
        ({"new_password": "x" * 513}, 400, "M_INVALID_PARAM"),
        ({"new_password": 7}, 400, "M_BAD_JSON"),
        ({"new_password": None}, 400, "M_MISSING_PARAM"),
        ({"logout_devices": "no"}, 400, "M_BAD_JSON"),
        ({"auth": "x"}, 400, "M_BAD_JSON"),
        ({"auth": {"type": "m.login.dummy"}}, 401, "M_FORBIDDEN"),
        ({"auth": {"type": "m.login.unknown"}}, 401, "M_FORBIDDEN"),
        ({"auth": {"type": "m.login.password", "user": "alice"}}, 400, "M_MISSING_PARAM"),
        ({"auth": {"type": "m.login.password", "user": "alice", "password": 7}}, 400, "M_BAD_JSON"),
        ({"auth": {"type": "m.login.password", "user": "alice", "password": "wrong"}}, 401, "M_FORBIDDEN"),
    ],
)
async def test_a_password_change_that_fails_changes_nothing(
    world: World, alice: User, body: Any, status: int, errcode: str
) -> None:
    await alice.login_again("TV")
    body = {"new_password": NEW, "auth": password_of(alice), **body}
    refused(await alice.post("/account/password", body), status, errcode)
    ok(await logs_in(world, "alice", device_id="TV"))
    assert len(ok(await alice.get("/devices"))["devices"]) == 2


async def test_another_users_password_does_not_do(alice: User, bob: User) -> None:
    refused(await alice.post("/account/password", {"new_password": NEW, "auth": password_of(bob)}), 401, "M_FORBIDDEN")


async def test_the_account_endpoints_need_a_token(world: World) -> None:
    for path in ("password", "deactivate"):
        answer = await world.request("POST", f"{CLIENT}/account/{path}", {"new_password": NEW})
        refused(answer, 401, "M_MISSING_TOKEN")
    refused(await world.request("GET", f"{CLIENT}/account/3pid"), 401, "M_MISSING_TOKEN")


# Deactivation


async def test_a_deactivated_account_is_over(world: World, alice: User) -> None:
    tv = await alice.login_again("TV")
    login_token = ok(await alice.post("/_matrix/client/v1/login/get_token", {"auth": password_of(alice)}))[
        "login_token"
    ]
    openid = ok(await alice.post(f"/user/{q(alice.user_id)}/openid/request_token"))["access_token"]
    user = (await account_of(world, alice.user_id)).user
    profile = profiles.insert().values(user=user, field="displayname", value=orjson.dumps("Alice"))
    await world.app.db.write(lambda tx: tx.conn.execute(profile))
    assert (await alice.post("/account/deactivate"))[0] == 401

    answer = ok(await alice.post("/account/deactivate", {"auth": password_of(alice)}))
    assert answer == {"id_server_unbind_result": "success"}

    for device in (alice, tv):
        refused(await device.get("/account/whoami"), 401, "M_UNKNOWN_TOKEN")
    refused(await logs_in(world, "alice"), 403, "M_USER_DEACTIVATED")
    refused(await world.request("POST", LOGIN, {"type": "m.login.token", "token": login_token}), 403, "M_FORBIDDEN")
    register = {"username": "alice", "password": NEW, "auth": {"type": "m.login.dummy"}}
    refused(await world.request("POST", f"{CLIENT}/register", register), 400, "M_USER_IN_USE")
    with pytest.raises(Exception, match="expired"):
        await world.app.services.openid.whose(openid)
    account = await account_of(world, alice.user_id)
    assert account.password_hash is None
    assert account.deactivated_at is not None
    for table in (profiles, scram_keys):
        rows = await world.app.db.read(lambda conn, table=table: conn.execute(table.select()).all())  # type: ignore[misc]
        assert rows == []


@pytest.mark.parametrize(("erase", "left"), [(False, 1), (True, 0)])
async def test_what_a_user_kept_is_erased_if_they_ask_for_it(world: World, alice: User, erase: bool, left: int) -> None:
    user = (await account_of(world, alice.user_id)).user
    row = account_data.insert().values(user=user, type="m.direct", content=b"{}", position=1)
    await world.app.db.write(lambda tx: tx.conn.execute(row))
    ok(await alice.post("/account/deactivate", {"erase": erase, "auth": password_of(alice)}))
    assert len(await world.app.db.read(lambda conn: conn.execute(account_data.select()).all())) == left


async def test_what_a_user_does_before_the_end_comes_before_it(world: World, alice: User) -> None:
    departed: list[str] = []

    async def depart(who: Requester) -> None:
        assert (await account_of(world, who.user_id)).deactivated_at is None
        departed.append(who.user_id)
        if len(departed) == 1:
            raise Forbidden("not yet")

    world.app.services.accounts.departures.append(depart)
    body = {"auth": password_of(alice)}
    refused(await alice.post("/account/deactivate", body), 403, "M_FORBIDDEN")
    ok(await alice.get("/account/whoami"))
    ok(await alice.post("/account/deactivate", body))
    assert departed == [alice.user_id] * 2


@pytest.mark.parametrize("body", [{"erase": "yes"}, {"auth": []}])
async def test_bad_input_deactivates_nobody(alice: User, body: Any) -> None:
    refused(await alice.post("/account/deactivate", {"auth": password_of(alice), **body}), 400, "M_BAD_JSON")
    ok(await alice.get("/account/whoami"))


# Addresses, OpenID, calls


async def test_nobody_has_addresses_or_numbers(alice: User) -> None:
    assert ok(await alice.get("/account/3pid")) == {"threepids": []}
    refused(await alice.post("/account/3pid/add"), 404, "M_UNRECOGNIZED")
    refused(await alice.post("/account/3pid"), 405, "M_UNRECOGNIZED")


async def test_an_openid_token_says_whose_it_is(world: World, alice: User) -> None:
    answer = ok(await alice.post(f"/user/{q(alice.user_id)}/openid/request_token"))
    token = answer.pop("access_token")
    assert answer == {"token_type": "Bearer", "matrix_server_name": "hs1", "expires_in": 3600}
    assert await world.app.services.openid.whose(token) == alice.user_id
    refused(await world.request("GET", f"{CLIENT}/account/whoami", token=token), 401, "M_UNKNOWN_TOKEN")


async def test_an_openid_token_is_made_for_oneself_only(alice: User, bob: User) -> None:
    refused(await alice.post(f"/user/{q(bob.user_id)}/openid/request_token"), 403, "M_FORBIDDEN")
    refused(await alice.post("/user/nobody/openid/request_token"), 400, "M_INVALID_PARAM")
