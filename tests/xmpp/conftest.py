"""A server for all tests of a module: those that take it have users and rooms of their own names."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.world import World


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_world(tmp_path_factory: pytest.TempPathFactory, empty_sqlite: Path) -> AsyncIterator[World]:
    """A running server on SQLite, with whatever the tests before have left."""
    directory = tmp_path_factory.mktemp("shared")
    shutil.copyfile(empty_sqlite, directory / "isthmus.db")
    async with World.start(f"sqlite:///{directory}/isthmus.db", directory) as started:
        yield started
