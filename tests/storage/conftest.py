"""A database with the schema and nothing in it."""

from collections.abc import AsyncIterator

import pytest

from homeserver.storage.database import SqliteDatabase, open_database
from homeserver.storage.database.postgres import PostgresDatabase
from homeserver.storage.migrations import runner


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[SqliteDatabase | PostgresDatabase]:
    """The database, with its schema made."""
    opened = open_database(database_url)
    await runner.prepare(opened)
    yield opened
    await opened.close()
