"""Brings a database to the schema of this version, or refuses to touch one of a newer version."""

from collections.abc import Callable, Mapping

import sqlalchemy as sa
from sqlalchemy import Connection

from homeserver.storage.database import PostgresDatabase, SqliteDatabase
from homeserver.storage.schema import metadata
from homeserver.storage.schema.delivery import position, schema_version

MIGRATIONS: Mapping[int, Callable[[Connection], None]] = {}
"""What brings the schema from the version before to this one. Each is resumable: it may find half of its work done."""

NEWEST = 1


class SchemaTooNew(Exception):
    """The database was written by a newer version of Isthmus."""


def upgrade(conn: Connection) -> None:
    """Bring the schema to `NEWEST`; make it in an empty database. Raises `SchemaTooNew`."""
    if conn.dialect.name == "postgresql":
        # One process at a time; the lock ends with the transaction.
        conn.execute(sa.text("SELECT pg_advisory_xact_lock(4919)"))
    if not sa.inspect(conn).has_table(schema_version.name):
        metadata.create_all(conn)
        conn.execute(schema_version.insert().values(version=NEWEST))
        conn.execute(position.insert().values(id=1, value=0))
        return
    found = conn.execute(sa.select(sa.func.max(schema_version.c.version))).scalar_one()
    if found > NEWEST:
        raise SchemaTooNew(
            f"the database has schema {found}, this version knows {NEWEST}: install a newer Isthmus"
        )
    for version in range(found + 1, NEWEST + 1):
        MIGRATIONS[version](conn)
        conn.execute(schema_version.insert().values(version=version))


async def prepare(database: SqliteDatabase | PostgresDatabase) -> None:
    """Bring `database` to the newest schema before its first use."""
    if isinstance(database, SqliteDatabase):
        with database.engine.begin() as conn:
            upgrade(conn)
    else:
        async with database.engine.begin() as async_conn:
            await async_conn.run_sync(upgrade)
