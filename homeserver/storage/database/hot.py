"""Statements that run for every message, without what SQLAlchemy does for each call.

Compiling, naming parameters and wrapping results cost more than SQLite takes to run such a statement. A `Hot` is
compiled once for each database; its rows are plain tuples of what the driver returns, so it is not for columns whose
type SQLAlchemy converts (Booleans on SQLite), and errors of SQLite are the driver's own.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.sql.expression import Executable

Row = tuple[Any, ...]


class Hot:
    """A statement with bound parameters."""

    __slots__ = ("_compiled", "_statement")

    def __init__(self, statement: Executable) -> None:
        """Take a statement; every parameter is named, and given at each run."""
        self._statement = statement
        self._compiled: dict[str, tuple[str, tuple[str, ...]]] = {}

    def run(self, conn: Connection, values: Mapping[str, object]) -> Sequence[Row]:
        """Run the statement; return its rows, if it has any."""
        text, names = self._compiled.get(conn.dialect.name) or self._compile(conn)
        given = tuple([values[name] for name in names])
        if conn.dialect.name == "sqlite":
            if not conn.in_transaction():
                conn.begin()
            driver: Any = conn.connection.dbapi_connection
            rows: list[Row] = driver.execute(text, given).fetchall()
            return rows
        result = conn.exec_driver_sql(text, given)
        return [tuple(row) for row in result] if result.returns_rows else ()

    def _compile(self, conn: Connection) -> tuple[str, tuple[str, ...]]:
        compiled: Any = self._statement.compile(dialect=conn.dialect)  # type: ignore[attr-defined]
        found = (str(compiled), tuple(compiled.positiontup))
        self._compiled[conn.dialect.name] = found
        return found
