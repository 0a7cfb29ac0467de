"""Refreshing: https://spec.matrix.org/v1.19/client-server-api/#refreshing-access-tokens."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from homeserver.storage.schema.accounts import access_tokens, refresh_tokens
from tests.support.clock import MovableClock
from tests.support.people import logs_in
from tests.support.world import CLIENT, User, World, ok, refused

HOUR = 3600


@pytest.fixture
def clock() -> MovableClock:
    """A clock that the test moves."""
    return MovableClock()


@pytest.fixture
async def world(database_url: str, tmp_path: Path, clock: MovableClock) -> AsyncIterator[World]:
    """A server where an unused refresh token lives for ten hours."""
    lifetime = str(10 * HOUR)
    async with World.start(
        database_url, tmp_path, clock=clock, SESSIONS__REFRESH_TOKEN_LIFETIME_SECONDS=lifetime
    ) as started:
        yield started


@pytest.fixture
async def first(world: World, alice: User) -> Any:
    """The answer to the login of a device that can refresh."""
    return ok(await logs_in(world, "alice", refresh_token=True, device_id="PHONE"))


async def refresh(world: World, token: Any) -> tuple[int, Any]:
    """Refresh."""
    return await world.request("POST", f"{CLIENT}/refresh", {"refresh_token": token})


async def whoami(world: World, tokens: Any) -> tuple[int, Any]:
    """Use an access token."""
    return await world.request("GET", f"{CLIENT}/account/whoami", token=tokens["access_token"])


async def test_an_expired_token_is_a_soft_logout_and_can_be_refreshed(
    world: World, first: Any, clock: MovableClock
) -> None:
    assert first["expires_in_ms"] == HOUR * 1000
    ok(await whoami(world, first))
    clock.advance(HOUR + 1)
    error = refused(await whoami(world, first), 401, "M_UNKNOWN_TOKEN")
    assert error["soft_logout"] is True

    second = ok(await refresh(world, first["refresh_token"]))
    assert second["expires_in_ms"] == HOUR * 1000
    assert ok(await whoami(world, second))["device_id"] == "PHONE"


async def test_a_token_without_refreshing_never_expires(world: World, alice: User, clock: MovableClock) -> None:
    clock.advance(1000 * HOUR)
    ok(await alice.get("/account/whoami"))


async def test_the_old_tokens_work_until_a_new_one_is_used(world: World, first: Any) -> None:
    second = ok(await refresh(world, first["refresh_token"]))
    ok(await whoami(world, first))
    # The client never got the answer, and asks again.
    third = ok(await refresh(world, first["refresh_token"]))
    refused(await whoami(world, second), 401, "M_UNKNOWN_TOKEN")
    refused(await refresh(world, second["refresh_token"]), 401, "M_UNKNOWN_TOKEN")

    ok(await whoami(world, third))
    refused(await refresh(world, first["refresh_token"]), 401, "M_UNKNOWN_TOKEN")
    refused(await whoami(world, first), 401, "M_UNKNOWN_TOKEN")
    ok(await whoami(world, third))


async def test_using_the_new_refresh_token_ends_the_old_ones(world: World, first: Any) -> None:
    second = ok(await refresh(world, first["refresh_token"]))
    third = ok(await refresh(world, second["refresh_token"]))
    refused(await refresh(world, first["refresh_token"]), 401, "M_UNKNOWN_TOKEN")
    refused(await whoami(world, first), 401, "M_UNKNOWN_TOKEN")
    ok(await whoami(world, second))
    ok(await whoami(world, third))
    refused(await whoami(world, second), 401, "M_UNKNOWN_TOKEN")


async def test_a_new_access_token_may_be_used_by_many_requests_at_once(world: World, first: Any) -> None:
    second = ok(await refresh(world, first["refresh_token"]))
    answers = await asyncio.gather(*(whoami(world, second) for _ in range(8)))
    assert [status for status, _ in answers] == [200] * 8


async def test_an_unused_refresh_token_expires(world: World, first: Any, clock: MovableClock) -> None:
    clock.advance(10 * HOUR + 1)
    error = refused(await refresh(world, first["refresh_token"]), 401, "M_UNKNOWN_TOKEN")
    assert error["soft_logout"] is True


async def test_logging_out_ends_refresh_tokens(world: World, first: Any) -> None:
    ok(await world.request("POST", f"{CLIENT}/logout", token=first["access_token"]))
    error = refused(await refresh(world, first["refresh_token"]), 401, "M_UNKNOWN_TOKEN")
    assert "soft_logout" not in error


async def test_logging_the_device_in_again_ends_refresh_tokens(world: World, first: Any) -> None:
    ok(await logs_in(world, "alice", device_id="PHONE"))
    refused(await refresh(world, first["refresh_token"]), 401, "M_UNKNOWN_TOKEN")


@pytest.mark.parametrize(("body", "errcode"), [({}, "M_MISSING_PARAM"), ({"refresh_token": 7}, "M_BAD_JSON")])
async def test_bad_input_is_named(world: World, body: Any, errcode: str) -> None:
    error = refused(await world.request("POST", f"{CLIENT}/refresh", body), 400, errcode)
    assert "refresh_token" in error["error"]


async def test_an_access_token_does_not_refresh(world: World, first: Any) -> None:
    refused(await refresh(world, first["access_token"]), 401, "M_UNKNOWN_TOKEN")
    refused(await whoami(world, {"access_token": first["refresh_token"]}), 401, "M_UNKNOWN_TOKEN")


async def test_refreshing_leaves_no_rows_behind(world: World, first: Any, clock: MovableClock) -> None:
    async def count() -> tuple[int, int]:
        return await world.app.db.read(
            lambda conn: (
                len(conn.execute(access_tokens.select()).all()),
                len(conn.execute(refresh_tokens.select()).all()),
            )
        )

    before = await count()
    tokens = first
    for _ in range(5):
        tokens = ok(await refresh(world, tokens["refresh_token"]))
        ok(await whoami(world, tokens))
    assert await count() == before

    clock.advance(HOUR + 1)
    await world.app.services.sessions.prune()
    assert await count() == before
    assert refused(await whoami(world, tokens), 401, "M_UNKNOWN_TOKEN")["soft_logout"] is True
    clock.advance(10 * HOUR)
    await world.app.services.sessions.prune()
    assert await count() == (1, 0)
