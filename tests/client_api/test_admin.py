"""Locking and suspending accounts: https://spec.matrix.org/v1.19/client-server-api/#server-administration."""

from typing import Any

import pytest

from tests.support.people import administrator, password_of
from tests.support.world import User, World, ok, refused

LOCK = "/_matrix/client/v1/admin/lock/"
SUSPEND = "/_matrix/client/v1/admin/suspend/"
BOTH = pytest.mark.parametrize(("path", "field"), [(LOCK, "locked"), (SUSPEND, "suspended")])


@pytest.fixture
async def root(world: World) -> User:
    """An administrator."""
    return await administrator(world)


@BOTH
async def test_an_administrator_sees_and_changes_it(root: User, alice: User, path: str, field: str) -> None:
    for value in (False, True, True, False):
        assert ok(await root.put(path + alice.user_id, {field: value})) == {field: value}
        assert ok(await root.get(path + alice.user_id)) == {field: value}


@BOTH
async def test_others_learn_nothing(alice: User, bob: User, path: str, field: str) -> None:
    for name in (bob.user_id, alice.user_id, "@nobody:hs1", "@bob:elsewhere"):
        refused(await alice.get(path + name), 403, "M_FORBIDDEN")
        refused(await alice.put(path + name, {field: True}), 403, "M_FORBIDDEN")
    ok(await bob.get("/account/whoami"))


@BOTH
async def test_only_ordinary_accounts_of_this_server_are_moderated(
    root: User, alice: User, path: str, field: str
) -> None:
    ok(await alice.post("/account/deactivate", {"auth": password_of(alice)}))
    for name, status, errcode in (
        ("@bob:elsewhere", 400, "M_INVALID_PARAM"),
        ("bob", 400, "M_INVALID_PARAM"),
        ("@nobody:hs1", 404, "M_NOT_FOUND"),
        (alice.user_id, 404, "M_NOT_FOUND"),
        (root.user_id, 403, "M_FORBIDDEN"),
    ):
        refused(await root.get(path + name), status, errcode)
        refused(await root.put(path + name, {field: True}), status, errcode)


@BOTH
@pytest.mark.parametrize(("value", "errcode"), [(None, "M_MISSING_PARAM"), ("yes", "M_BAD_JSON"), (1, "M_BAD_JSON")])
async def test_bad_input_changes_nothing(
    root: User, alice: User, path: str, field: str, value: Any, errcode: str
) -> None:
    body = {} if value is None else {field: value}
    assert field in refused(await root.put(path + alice.user_id, body), 400, errcode)["error"]
    assert ok(await root.get(path + alice.user_id)) == {field: False}


async def test_a_suspension_is_known_from_the_next_request_on(world: World, root: User, alice: User) -> None:
    sessions = world.app.services.sessions
    assert not (await sessions.authenticate(alice.token, address="", agent="")).suspended
    ok(await root.put(SUSPEND + alice.user_id, {"suspended": True}))
    assert (await sessions.authenticate(alice.token, address="", agent="")).suspended
