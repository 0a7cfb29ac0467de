"""A database of any version becomes one of the newest; one of a newer version is left alone."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from homeserver.storage.database import SqliteDatabase, current_position, open_database
from homeserver.storage.database.postgres import PostgresDatabase
from homeserver.storage.migrations.runner import (
    MIGRATIONS,
    NEWEST,
    SchemaTooNew,
    UnusableDatabase,
    WrongCollation,
    prepare,
)
from homeserver.storage.schema import metadata
from tests.conftest import DATABASES, POSTGRES
from tests.storage.freeze import file
from tests.support.world import beside

AnyDatabase = SqliteDatabase | PostgresDatabase


@pytest.fixture(params=DATABASES)
async def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """A database that no test had before, nor has after."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/isthmus.db"
        return
    name = f"isthmus_{uuid.uuid4().hex}"
    admin = await asyncpg.connect(POSTGRES)
    await admin.execute(f"CREATE DATABASE {name}")
    yield beside(POSTGRES, name)
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


def described(conn: Connection) -> dict[str, Any]:
    """Return all that a database says of its tables, in a form to compare."""
    inspector = sa.inspect(conn)
    return {
        table: {
            "columns": {
                column["name"]: (str(column["type"]), getattr(column["type"], "collation", None), column["nullable"])
                for column in inspector.get_columns(table)
            },
            "key": inspector.get_pk_constraint(table)["constrained_columns"],
            "references": sorted(
                (key["constrained_columns"], key["referred_table"], sorted(key["options"].items()))
                for key in inspector.get_foreign_keys(table)
            ),
            "indexes": sorted(
                (index["name"], index["column_names"], bool(index["unique"]), "where" in str(index["dialect_options"]))
                for index in inspector.get_indexes(table)
            ),
            "unique": sorted(constraint["column_names"] for constraint in inspector.get_unique_constraints(table)),
        }
        for table in inspector.get_table_names()
    }  # fmt: skip


async def run_script(database: AnyDatabase, script: str) -> None:
    """Run SQL statements, each ended by a semicolon at the end of its line."""

    def run(conn: Connection) -> None:
        for statement in script.split(";\n"):
            if statement.strip():
                conn.exec_driver_sql(statement)

    await database.prepare(run)


async def test_a_fresh_database_has_the_tables_of_the_schema(database: AnyDatabase) -> None:
    found = await database.read(described)
    assert found.keys() == {table.name for table in metadata.sorted_tables}
    for table in metadata.sorted_tables:
        there = found[table.name]
        assert {name: nullable for name, (_, _, nullable) in there["columns"].items()} == {
            column.name: column.nullable for column in table.c
        }
        assert there["key"] == [column.name for column in table.primary_key]
        assert sorted(columns for _, columns, unique, _ in there["indexes"] if not unique) == sorted(
            [column.name for column in index.columns] for index in table.indexes
        )
        assert sorted(columns for columns, *_ in there["references"]) == sorted(
            [key.parent.name] for key in table.foreign_keys
        )


@pytest.mark.parametrize("version", range(1, NEWEST + 1))
async def test_a_database_of_each_version_becomes_one_of_the_newest(
    database: AnyDatabase, database_url: str, version: int
) -> None:
    expected = await database.read(described)
    await run_script(database, drop_all(database))
    await run_script(database, file(version, database.dialect).read_text())
    second = open_database(database_url)
    await prepare(second)
    assert await second.read(described) == expected, (
        "write a migration; python -m tests.storage.freeze before a release"
    )
    assert await second.read(current_position) == 42
    await second.close()


def drop_all(database: AnyDatabase) -> str:
    """Return what empties a database."""
    if database.dialect == "postgresql":
        return "DROP SCHEMA public CASCADE;\nCREATE SCHEMA public;\n"
    # Children before the tables that they refer to.
    return "".join(f"DROP TABLE {table.name};\n" for table in reversed(metadata.sorted_tables))


def test_there_is_a_migration_to_every_version() -> None:
    assert sorted(MIGRATIONS) == list(range(2, NEWEST + 1))


async def test_preparing_twice_changes_nothing(database: AnyDatabase) -> None:
    before = await database.read(described)
    await database.write(lambda tx: tx.position())
    await prepare(database)
    assert await database.read(described) == before
    assert await database.read(current_position) == 1


async def test_processes_that_start_together_make_one_schema(database_url: str) -> None:
    several = [open_database(database_url) for _ in range(4)]
    await asyncio.gather(*(_prepared(each) for each in several))
    versions = "SELECT count(*) FROM schema_version"
    assert await several[0].read(lambda conn: conn.exec_driver_sql(versions).scalar_one()) == NEWEST
    for each in several:
        await each.close()


async def _prepared(database: AnyDatabase) -> None:
    if isinstance(database, SqliteDatabase):
        # Preparing an SQLite database holds up its thread.
        await asyncio.to_thread(asyncio.run, prepare(database))
    else:
        await prepare(database)


async def test_a_database_of_a_newer_version_is_refused(database: AnyDatabase) -> None:
    await run_script(database, f"INSERT INTO schema_version (version) VALUES ({NEWEST + 1});\n")
    with pytest.raises(SchemaTooNew, match=f"schema {NEWEST + 1}"):
        await prepare(database)


async def test_keys_in_another_order_than_that_of_bytes_are_refused_with_the_command_that_mends_it(
    database: AnyDatabase,
) -> None:
    if database.dialect == "sqlite":
        pytest.skip("of PostgreSQL")
    await run_script(database, 'ALTER TABLE users ALTER COLUMN user_id TYPE varchar COLLATE "en-x-icu";\n')
    with pytest.raises(WrongCollation) as refused:
        await prepare(database)
    _, _, mend = str(refused.value).partition("\n")
    assert "users" in mend
    await run_script(database, mend)
    await prepare(database)


async def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear Alice, " * 1000)
    database = open_database(f"sqlite:///{tmp_path}/letter.txt")
    with pytest.raises(UnusableDatabase, match="not a database"):
        await prepare(database)
    await database.close()
