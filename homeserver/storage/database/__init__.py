"""The two ways into the database: `read` and `write`.

Functions given to them are plain and synchronous, take a connection (or a `Write`) and never commit. On SQLite they run
in threads that own their connections, on PostgreSQL under `AsyncConnection.run_sync`; so one text serves both.

**Group commit.** Writes that wait at the same time share one transaction and are answered only after its commit. One
that fails is undone alone: the whole group is rolled back and done again with a savepoint for each, for savepoints cost
too much (on PostgreSQL two round trips) to have them for the rare case. So a write function may run more than once and
has no effect but on its connection and through `Write.after_commit`. It never runs again once it may have been
committed.

**One position.** A group locks the row of the position before anything else, so groups of all processes follow one
another, and a reader that has seen position *p* never later finds a row at or below *p*. See
`docs/decisions/0002-one-writer.md`.
"""

from pathlib import Path

from homeserver.storage.database.hot import Given, Hot, among, numbers, one_of, texts
from homeserver.storage.database.sqlite import SqliteDatabase
from homeserver.storage.database.writes import (
    LARGEST_GROUP,
    Database,
    Fresh,
    Observer,
    Write,
    current_position,
    fresh,
    moment,
    next_moment,
    upsert,
)

__all__ = [
    "LARGEST_GROUP",
    "Database",
    "Fresh",
    "Given",
    "Hot",
    "Observer",
    "SqliteDatabase",
    "Write",
    "among",
    "current_position",
    "fresh",
    "moment",
    "next_moment",
    "numbers",
    "one_of",
    "open_database",
    "texts",
    "upsert",
]


def open_database(url: str, observe: Observer | None = None) -> Database:
    """Return the database at `url`: `sqlite:///path` (relative) or `sqlite:////path`, or `postgresql://...`.

    Raises ValueError for another kind of URL. Call `migrations.runner.prepare` before the first use.
    """
    if url.startswith("sqlite:///"):
        return SqliteDatabase(Path(url.removeprefix("sqlite:///")), observe)
    if url.startswith("postgresql://"):
        # Here and not above: whoever runs on SQLite does without the megabytes of another database.
        from homeserver.storage.database.postgres import PostgresDatabase

        return PostgresDatabase(url, observe)
    raise ValueError("database.url must start with sqlite:/// or postgresql://")
