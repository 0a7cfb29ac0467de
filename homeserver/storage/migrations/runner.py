"""Brings a database to the schema of this version, or refuses to touch one of a newer version."""

from collections.abc import Callable, Mapping

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from homeserver.storage.database import Database
from homeserver.storage.schema import metadata
from homeserver.storage.schema.delivery import position, schema_version

MIGRATIONS: Mapping[int, Callable[[Connection], None]] = {}
"""What brings the schema from the version before to this one. Each is resumable: it may find half of its work done."""

NEWEST = 1


class UnusableDatabase(Exception):
    """The database is there, but this server must not use it; the text says why and how to mend it."""


class SchemaTooNew(UnusableDatabase):
    """The database was written by a newer version of Isthmus."""


class WrongCollation(UnusableDatabase):
    """Keys of a PostgreSQL database are not ordered by bytes."""


def upgrade(conn: Connection) -> None:
    """Bring the schema to `NEWEST`; make it in an empty database. Raises `UnusableDatabase`."""
    if conn.dialect.name == "postgresql":
        # One process at a time; the lock ends with the transaction.
        conn.execute(sa.text("SELECT pg_advisory_xact_lock(4919)"))
    if not sa.inspect(conn).has_table(schema_version.name):
        tables().create_all(conn)
        conn.execute(schema_version.insert().values(version=NEWEST))
        conn.execute(position.insert().values(id=1, value=0))
        return
    found = conn.execute(sa.select(sa.func.max(schema_version.c.version))).scalar_one()
    if found > NEWEST:
        raise SchemaTooNew(f"the database has schema {found}, this version knows {NEWEST}: install a newer Isthmus")
    for version in range(found + 1, NEWEST + 1):
        MIGRATIONS[version](conn)
        conn.execute(schema_version.insert().values(version=version))
    if conn.dialect.name == "postgresql":
        _check_collations(conn)


def tables() -> sa.MetaData:
    """Return a copy of all tables, to make them from.

    Making the originals on PostgreSQL would mark the foreign key that closes a circle as made, and SQLite in the same
    process would leave it out.
    """
    copy = sa.MetaData(naming_convention=metadata.naming_convention)
    for table in metadata.sorted_tables:
        table.to_metadata(copy)
    return copy


def _check_collations(conn: Connection) -> None:
    """Raise `WrongCollation` if a key is ordered otherwise than by bytes.

    Such an order is not SQLite's, and changes when the system's libraries do, which silently breaks indexes.
    """
    keys = {
        (table.name, column.name)
        for table in metadata.sorted_tables
        for column in table.c
        if getattr(column.type.dialect_impl(conn.dialect), "collation", None) == "C"
    }
    wrong = [(table, column) for table, column in conn.execute(_OTHER_COLLATIONS) if (table, column) in keys]
    if wrong:
        mend = [f'ALTER TABLE "{table}" ALTER COLUMN "{column}" TYPE varchar COLLATE "C";' for table, column in wrong]
        raise WrongCollation("keys of the database are not ordered by bytes; mend it with psql:\n" + "\n".join(mend))


_OTHER_COLLATIONS = sa.text("""
    SELECT c.relname, a.attname FROM pg_attribute a
    JOIN pg_class c ON c.oid = a.attrelid AND c.relkind = 'r'
    JOIN pg_collation o ON o.oid = a.attcollation
    WHERE c.relnamespace = current_schema()::regnamespace AND NOT a.attisdropped AND o.collname NOT IN ('C', 'POSIX')
    ORDER BY 1, 2
""")


async def prepare(database: Database) -> None:
    """Bring `database` to the newest schema before its first use. Raises `UnusableDatabase`, or OSError."""
    try:
        await database.prepare(upgrade)
    except DBAPIError as error:
        # A wrong password, a missing database, a file that is none.
        raise UnusableDatabase(f"the database cannot be used: {error.orig}") from error
