"""What monitoring asks."""

import pytest
from sqlalchemy.exc import OperationalError

from tests.support.world import World, refused


async def test_a_healthy_server_says_so(world: World) -> None:
    assert await world.request("GET", "/health") == (200, {"status": "ok"})


async def test_a_server_without_its_database_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_fn: object) -> None:
        raise OperationalError("SELECT 1", {}, Exception("gone"))

    monkeypatch.setattr(world.app.db, "read", fail)
    refused(await world.request("GET", "/health"), 503, "M_UNKNOWN")
