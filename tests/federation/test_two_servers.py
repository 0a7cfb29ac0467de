"""Two servers of ours beside each other: what people do across them, each on SQLite and on PostgreSQL."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conftest import DATABASES, POSTGRES
from tests.federation.across import VERSIONS, AcrossServers, Sides, does, member
from tests.support.certificates import Authority
from tests.support.ear import Ear
from tests.support.pair import database, federating
from tests.support.waiting import asking
from tests.support.world import ok, q


@pytest.fixture(params=DATABASES)
async def sides(request: pytest.FixtureRequest, authority: Authority, tmp_path: Path) -> AsyncIterator[Sides]:
    """Two servers with databases of one kind."""
    async with (
        database(request.param, POSTGRES, tmp_path / "home") as one,
        database(request.param, POSTGRES, tmp_path / "away") as other,
        federating(authority, tmp_path / "home", one) as home,
        federating(authority, tmp_path / "away", other) as away,
    ):
        yield Sides(home, away)


class TestTwoServers(AcrossServers):
    """All of it, and what Synapse does not do."""

    @pytest.mark.parametrize("version", VERSIONS[1:])
    async def test_a_knock_is_taken_back_and_refused(self, sides: Sides, version: str) -> None:
        alice, bob = await sides.two()
        room = await alice.creates_room(
            preset="private_chat", room_version=version,
            initial_state=[{"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}],
        )  # fmt: skip
        his = await Ear.of(bob)
        for end, who, target in (("leave", bob, None), ("kick", alice, bob)):
            ok(await bob.post(f"/knock/{q(room)}", via=sides.home.name))
            await asking(lambda: member(alice, room, bob.user_id), lambda content: content["membership"] == "knock")
            await his.is_now(room, "knock")
            await does(who, room, end, target)
            await asking(lambda: member(alice, room, bob.user_id), lambda content: content["membership"] == "leave")
            await his.is_now(room, "leave")
