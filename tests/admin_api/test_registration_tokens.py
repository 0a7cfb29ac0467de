"""Registration tokens, as administrators handle them."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.clock import MovableClock
from tests.support.people import administrator
from tests.support.world import CLIENT, PASSWORD, User, World, ok, refused

PATH = "/_synapse/admin/v1/registration_tokens"


@pytest.fixture
def clock() -> MovableClock:
    """A clock that the test moves."""
    return MovableClock()


@pytest.fixture
async def world(database_url: str, tmp_path: Path, clock: MovableClock) -> AsyncIterator[World]:
    """A server where one needs a token."""
    async with World.start(database_url, tmp_path, clock=clock, REGISTRATION__TOKENS_REQUIRED="true") as started:
        yield started


@pytest.fixture
async def root(world: World) -> User:
    """An administrator."""
    return await administrator(world)


async def register(world: World, name: str, token: str) -> tuple[int, Any]:
    """Register with a token."""
    auth = {"type": "m.login.registration_token", "token": token}
    return await world.request("POST", f"{CLIENT}/register", {"username": name, "password": PASSWORD, "auth": auth})


async def test_a_token_is_made_and_used(world: World, root: User) -> None:
    made = ok(await root.post(f"{PATH}/new", {"token": "welcome", "uses_allowed": 1}))
    fresh = {"token": "welcome", "uses_allowed": 1, "pending": 0, "completed": 0, "expiry_time": None}
    assert made == fresh
    ok(await register(world, "carol", "welcome"))
    refused(await register(world, "dave", "welcome"), 401, "M_FORBIDDEN")
    assert ok(await root.get(f"{PATH}/welcome")) == {**fresh, "completed": 1}


async def test_a_token_is_made_of_random_letters(root: User) -> None:
    first, second = [ok(await root.post(f"{PATH}/new"))["token"] for _ in range(2)]
    assert len(first) == 16
    assert first != second
    assert len(ok(await root.post(f"{PATH}/new", {"length": 64}))["token"]) == 64


async def test_tokens_are_listed_by_whether_they_can_be_used(root: User, clock: MovableClock) -> None:
    ok(await root.post(f"{PATH}/new", {"token": "free"}))
    ok(await root.post(f"{PATH}/new", {"token": "none-left", "uses_allowed": 0}))
    ok(await root.post(f"{PATH}/new", {"token": "old", "expiry_time": clock.now_ms() + 1000}))
    clock.advance(2)

    async def names(**query: str) -> list[str]:
        return [token["token"] for token in ok(await root.get(PATH, **query))["registration_tokens"]]

    assert await names() == ["free", "none-left", "old"]
    assert await names(valid="true") == ["free"]
    assert await names(valid="false") == ["none-left", "old"]


async def test_limits_are_changed_one_by_one(root: User, clock: MovableClock) -> None:
    later = clock.now_ms() + 60_000
    ok(await root.post(f"{PATH}/new", {"token": "t", "uses_allowed": 1, "expiry_time": later}))
    changed = ok(await root.put(f"{PATH}/t", {"uses_allowed": 5}))
    assert (changed["uses_allowed"], changed["expiry_time"]) == (5, later)
    changed = ok(await root.put(f"{PATH}/t", {"expiry_time": None}))
    assert (changed["uses_allowed"], changed["expiry_time"]) == (5, None)
    changed = ok(await root.put(f"{PATH}/t", {"uses_allowed": None}))
    assert (changed["uses_allowed"], changed["expiry_time"]) == (None, None)
    assert ok(await root.put(f"{PATH}/t", {})) == changed


async def test_a_token_that_has_expired_can_have_its_uses_changed(root: User, clock: MovableClock) -> None:
    ok(await root.post(f"{PATH}/new", {"token": "t", "expiry_time": clock.now_ms() + 1000}))
    clock.advance(2)
    assert ok(await root.put(f"{PATH}/t", {"uses_allowed": 5}))["uses_allowed"] == 5


async def test_a_token_is_removed(world: World, root: User) -> None:
    ok(await root.post(f"{PATH}/new", {"token": "t"}))
    assert ok(await root.delete(f"{PATH}/t")) == {}
    refused(await root.get(f"{PATH}/t"), 404, "M_NOT_FOUND")
    refused(await root.delete(f"{PATH}/t"), 404, "M_NOT_FOUND")
    refused(await root.put(f"{PATH}/t", {"uses_allowed": 1}), 404, "M_NOT_FOUND")
    refused(await root.get(f"{PATH}/a%00b"), 400, "M_INVALID_PARAM")
    refused(await register(world, "carol", "t"), 401, "M_FORBIDDEN")


@pytest.mark.parametrize(
    ("body", "errcode", "named"),
    [
        ({"token": ""}, "M_INVALID_PARAM", "token"),
        ({"token": "a b"}, "M_INVALID_PARAM", "token"),
        ({"token": "x" * 65}, "M_INVALID_PARAM", "token"),
        ({"token": 7}, "M_BAD_JSON", "token"),
        ({"length": 0}, "M_INVALID_PARAM", "length"),
        ({"length": 65}, "M_INVALID_PARAM", "length"),
        ({"length": "8"}, "M_BAD_JSON", "length"),
        ({"uses_allowed": -1}, "M_INVALID_PARAM", "uses_allowed"),
        ({"uses_allowed": 2**40}, "M_INVALID_PARAM", "uses_allowed"),
        ({"uses_allowed": "1"}, "M_BAD_JSON", "uses_allowed"),
        ({"expiry_time": 1}, "M_INVALID_PARAM", "expiry_time"),
        ({"expiry_time": "never"}, "M_BAD_JSON", "expiry_time"),
    ],
)
async def test_bad_input_is_named_and_makes_no_token(root: User, body: Any, errcode: str, named: str) -> None:
    assert named in refused(await root.post(f"{PATH}/new", body), 400, errcode)["error"]
    assert ok(await root.get(PATH)) == {"registration_tokens": []}


async def test_a_token_is_not_made_twice(root: User) -> None:
    ok(await root.post(f"{PATH}/new", {"token": "t", "uses_allowed": 3}))
    refused(await root.post(f"{PATH}/new", {"token": "t"}), 400, "M_INVALID_PARAM")
    assert ok(await root.get(f"{PATH}/t"))["uses_allowed"] == 3


async def test_a_bad_change_changes_nothing(root: User) -> None:
    ok(await root.post(f"{PATH}/new", {"token": "t", "uses_allowed": 3}))
    for body in ({"uses_allowed": -1}, {"expiry_time": 1}, {"uses_allowed": 1, "expiry_time": 1}):
        refused(await root.put(f"{PATH}/t", body), 400, "M_INVALID_PARAM")
    assert ok(await root.get(f"{PATH}/t"))["uses_allowed"] == 3


async def test_only_administrators_see_tokens(world: World, root: User) -> None:
    ok(await root.post(f"{PATH}/new", {"token": "t"}))
    ok(await register(world, "carol", "t"))
    body = {"type": "m.login.password", "user": "carol", "password": PASSWORD}
    answer = ok(await world.request("POST", f"{CLIENT}/login", body))
    carol = User(world, answer["user_id"], answer["access_token"], answer["device_id"])
    for refusal in (
        await carol.get(PATH),
        await carol.post(f"{PATH}/new"),
        await carol.get(f"{PATH}/t"),
        await carol.put(f"{PATH}/t", {}),
        await carol.delete(f"{PATH}/t"),
    ):
        refused(refusal, 403, "M_FORBIDDEN")
    refused(await world.request("GET", PATH), 401, "M_MISSING_TOKEN")
