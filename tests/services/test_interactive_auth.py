"""User-interactive authentication where the client API offers too few flows to show it all.

Source: https://spec.matrix.org/v1.19/client-server-api/#user-interactive-authentication-api
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from homeserver.errors import Forbidden, InteractiveAuthRequired
from homeserver.model.accounts import Requester
from homeserver.services.interactive_auth import (
    DUMMY,
    PASSWORD,
    REGISTRATION_TOKEN,
    Demand,
    InteractiveAuth,
    Passed,
)
from homeserver.storage.database import Write
from homeserver.storage.schema.accounts import interactive_sessions
from tests.support.clock import MovableClock
from tests.support.people import password_of
from tests.support.world import User, World

FLOWS = ((DUMMY, PASSWORD), (DUMMY, REGISTRATION_TOKEN))


@pytest.fixture
def clock() -> MovableClock:
    """A clock that the test moves."""
    return MovableClock()


@pytest.fixture
async def world(database_url: str, tmp_path: Path, clock: MovableClock) -> AsyncIterator[World]:
    """A running server."""
    async with World.start(database_url, tmp_path, clock=clock) as started:
        yield started


@pytest.fixture
def service(world: World) -> InteractiveAuth:
    """The server's own."""
    return world.app.services.interactive_auth


async def requester(user: User) -> Requester:
    """Return who the user is to the services."""
    return await user.world.app.services.sessions.authenticate(user.token, address="", agent="")


async def asked(service: InteractiveAuth, demand: Demand, auth: Any) -> dict[str, Any]:
    """Return the body of the answer when the demand is not met yet."""
    with pytest.raises(InteractiveAuthRequired) as caught:
        await service.check(demand, auth)
    assert caught.value.status == 401
    return caught.value.body()


async def use_up(world: World, service: InteractiveAuth, passed: Passed) -> None:
    """Use it up as the write of an endpoint does."""

    def write(tx: Write) -> None:
        service.use_up(tx, passed)

    await world.app.db.write(write)


async def test_stages_are_completed_one_by_one(world: World, service: InteractiveAuth, alice: User) -> None:
    demand = Demand("test", FLOWS, await requester(alice))
    first = await asked(service, demand, None)
    assert first["flows"] == [{"stages": [DUMMY, PASSWORD]}, {"stages": [DUMMY, REGISTRATION_TOKEN]}]
    session = first["session"]

    second = await asked(service, demand, {"type": DUMMY, "session": session})
    assert (second["session"], second["completed"]) == (session, [DUMMY])
    assert "errcode" not in second

    failed = await asked(service, demand, password_of(alice, "wrong password", session=session))
    assert (failed["session"], failed["completed"], failed["errcode"]) == (session, [DUMMY], "M_FORBIDDEN")

    passed = await service.check(demand, password_of(alice, session=session))
    assert passed.session_id == session


async def test_a_flow_may_begin_without_a_session(service: InteractiveAuth, alice: User) -> None:
    demand = Demand("test", FLOWS, await requester(alice))
    begun = await asked(service, demand, {"type": DUMMY})
    assert begun["completed"] == [DUMMY]
    await service.check(demand, password_of(alice, session=begun["session"]))


async def test_stages_are_completed_in_order(service: InteractiveAuth, alice: User) -> None:
    demand = Demand("test", FLOWS, await requester(alice))
    body = await asked(service, demand, password_of(alice))
    assert body["errcode"] == "M_FORBIDDEN"
    assert "completed" not in body


async def test_a_completed_stage_is_not_tried_again(service: InteractiveAuth, alice: User) -> None:
    demand = Demand("test", ((PASSWORD, DUMMY),), await requester(alice))
    begun = await asked(service, demand, password_of(alice))
    again = await asked(service, demand, password_of(alice, "wrong password", session=begun["session"]))
    assert again["completed"] == [PASSWORD]
    assert "errcode" not in again


async def test_the_session_alone_tells_how_far_one_has_come(service: InteractiveAuth, alice: User) -> None:
    demand = Demand("test", FLOWS, await requester(alice))
    begun = await asked(service, demand, {"type": DUMMY})
    assert (await asked(service, demand, {"session": begun["session"]}))["completed"] == [DUMMY]


async def test_a_session_is_good_for_its_user_and_purpose_only(
    service: InteractiveAuth, alice: User, bob: User
) -> None:
    demand = Demand("test", FLOWS, await requester(alice))
    session = (await asked(service, demand, {"type": DUMMY}))["session"]
    for other in (
        Demand("another", FLOWS, await requester(alice)),
        Demand("test", FLOWS, await requester(bob)),
        Demand("test", FLOWS, None),
    ):
        body = await asked(service, other, {"session": session})
        assert body["errcode"] == "M_FORBIDDEN"
        assert body["session"] != session
        assert "completed" not in body


async def test_a_session_that_nobody_began_is_not_known(service: InteractiveAuth) -> None:
    demand = Demand("test", ((DUMMY,),))
    body = await asked(service, demand, {"type": DUMMY, "session": "made up"})
    assert body["errcode"] == "M_FORBIDDEN"
    await service.check(demand, {"type": DUMMY, "session": body["session"]})


async def test_a_session_works_once(world: World, service: InteractiveAuth) -> None:
    demand = Demand("test", ((DUMMY,),))
    session = (await asked(service, demand, None))["session"]
    auth = {"type": DUMMY, "session": session}
    both = await asyncio.gather(service.check(demand, auth), service.check(demand, auth))
    await use_up(world, service, both[0])
    with pytest.raises(Forbidden):
        await use_up(world, service, both[1])
    assert (await asked(service, demand, auth))["session"] != session


async def test_sessions_expire_and_are_removed(world: World, service: InteractiveAuth, clock: MovableClock) -> None:
    demand = Demand("test", ((DUMMY,),))
    session = (await asked(service, demand, None))["session"]
    clock.advance(3601)
    assert (await asked(service, demand, {"type": DUMMY, "session": session}))["session"] != session

    await service.prune()
    rows = await world.app.db.read(lambda conn: conn.execute(interactive_sessions.select()).all())
    assert [row.session_id for row in rows if row.session_id == session] == []
    assert len(rows) == 1
