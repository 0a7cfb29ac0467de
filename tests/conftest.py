"""What every test can ask for: a world with a server in it, on SQLite and, where there is one, on PostgreSQL."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

from homeserver.storage.database import open_database
from homeserver.storage.migrations import runner
from tests.support.world import User, World, drop_databases, fresh_postgres_database

structlog.configure(
    processors=[structlog.processors.format_exc_info, structlog.dev.ConsoleRenderer(colors=False)],
    wrapper_class=structlog.make_filtering_bound_logger(30),
)

# How fast examples are made and run says something of the machine and nothing of the code: in a fresh clone, with both
# processors busy, the first ones take seconds. What the properties assert is untouched.
settings.register_profile("any_machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any_machine")

POSTGRES = os.environ.get("ISTHMUS_TEST_POSTGRES", "")
DATABASES = ["sqlite", "postgresql"] if POSTGRES or os.environ.get("CI") else ["sqlite"]


DOORS = ("admin_api", "client_api", "federation", "federation_api", "http", "xmpp")
"""Folders of tests that come in by a door. What differs between the cases of one of those is what is asked, which
SQLite shows for all of them; PostgreSQL is asked the first and the last, but for tests marked `every_database`."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out on PostgreSQL what SQLite shows as well."""
    left_out: set[pytest.Item] = set()
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        if not (isinstance(item, pytest.Function) and hasattr(item, "callspec")):
            continue
        if "postgresql" not in item.callspec.params.values():
            continue
        if item.get_closest_marker("sqlite_enough") is not None:
            left_out.add(item)
        elif _comes_in_by_a_door(item) and item.get_closest_marker("every_database") is None:
            cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    left_out.update(item for several in cases.values() for item in several[1:-1])
    if left_out:
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=list(left_out))


def _comes_in_by_a_door(item: pytest.Item) -> bool:
    return item.path.relative_to(Path(__file__).parent).parts[0] in DOORS


def pytest_sessionfinish() -> None:
    """Leave nothing behind on the PostgreSQL server."""
    if POSTGRES:
        asyncio.run(drop_databases(POSTGRES))


@pytest.fixture(scope="session")
def empty_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file that has all tables and nothing in them: to copy it is much faster than to make it."""
    file = tmp_path_factory.mktemp("sqlite") / "empty.db"

    async def make() -> None:
        database = open_database(f"sqlite:///{file}")
        await runner.prepare(database)
        await database.close()

    asyncio.run(make())
    return file


@pytest.fixture(params=DATABASES)
async def database_url(request: pytest.FixtureRequest, tmp_path: Path, empty_sqlite: Path) -> AsyncIterator[str]:
    """An empty database, on each kind that is there. CI must have both."""
    if request.param == "sqlite":
        shutil.copyfile(empty_sqlite, tmp_path / "isthmus.db")
        yield f"sqlite:///{tmp_path}/isthmus.db"
        return
    if not POSTGRES:
        pytest.fail("CI must set ISTHMUS_TEST_POSTGRES")
    async with fresh_postgres_database(POSTGRES) as url:
        yield url


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    """A running server with no users."""
    async with World.start(database_url, tmp_path) as started:
        yield started


@pytest.fixture
async def alice(world: World) -> User:
    """A user of the server."""
    return await world.user("alice")


@pytest.fixture
async def bob(world: World) -> User:
    """Another user."""
    return await world.user("bob")
