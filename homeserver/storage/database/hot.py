"""Statements that run for every message, without what SQLAlchemy does for each call.

Compiling, naming parameters and wrapping results cost more than SQLite takes to run such a statement. A `Hot` is
compiled once for each database; its rows are plain tuples of what the driver returns, so it is not for columns whose
type SQLAlchemy converts (Booleans on SQLite), and errors of SQLite are the driver's own.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import Executable
from sqlalchemy.sql.functions import FunctionElement

Row = tuple[Any, ...]
Statement = Executable | Callable[[], Executable]


class Hot:
    """A statement with bound parameters."""

    __slots__ = ("_compiled", "_statements")

    def __init__(self, statement: Statement, *, postgresql: Statement | None = None) -> None:
        """Take a statement, and another one for PostgreSQL if need be; its parameters are given by name at each run.

        What is a function makes the statement when it first runs; one that is made for each database takes memory.
        """
        self._statements = {"sqlite": statement, "postgresql": postgresql if postgresql is not None else statement}
        self._compiled: dict[str, tuple[str, tuple[str, ...], Mapping[str, object]]] = {}

    def run(self, conn: Connection, values: Mapping[str, object]) -> Sequence[Row]:
        """Run the statement; return its rows, if it has any."""
        text, names, constants = self._compiled.get(conn.dialect.name) or self._compile(conn)
        if constants:
            values = {**constants, **values}
        given = tuple([values[name] for name in names])
        if conn.dialect.name == "sqlite":
            if not conn.in_transaction():
                conn.begin()
            driver: Any = conn.connection.dbapi_connection
            rows: list[Row] = driver.execute(text, given).fetchall()
            return rows
        result = conn.exec_driver_sql(text, given)
        return [tuple(row) for row in result] if result.returns_rows else ()

    def _compile(self, conn: Connection) -> tuple[str, tuple[str, ...], Mapping[str, object]]:
        name = conn.dialect.name
        statement = self._statements[name]
        made: Any = statement if isinstance(statement, Executable) else statement()
        compiled = made.compile(dialect=conn.dialect)
        constants = {key: value for key, value in compiled.params.items() if value is not None}
        found = (str(compiled), tuple(compiled.positiontup), constants)
        self._compiled[name] = found
        return found


class _Listed(sa.TypeDecorator[Any]):
    """Numbers or texts as one parameter: an array on PostgreSQL, JSON on SQLite."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, texts: bool) -> None:
        """Take whether they are texts."""
        super().__init__()
        self.texts = texts

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        if dialect.name == "postgresql":
            return sa.ARRAY(sa.Text if self.texts else sa.BigInteger)
        return sa.Text()

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> object:
        # What `numbers` returns is as it has to be.
        return value if isinstance(value, str) else _listed(dialect.name, value)


class _Among(FunctionElement[bool]):
    """A column and a list that is one parameter, so that the text is the same for any length.

    `IN` with its list of parameters is put together anew for each run, and PostgreSQL plans it anew for each length.
    """

    name = "among"
    inherit_cache = True


@compiles(_Among, "sqlite")
def _among_sqlite(element: _Among, compiler: Any, **how: Any) -> str:
    column, wanted = element.clauses
    listed = f"SELECT value FROM json_each({compiler.process(wanted, **how)})"  # noqa: S608 - made of our own words
    return f"{compiler.process(column, **how)} IN ({listed})"


@compiles(_Among, "postgresql")
def _among_postgresql(element: _Among, compiler: Any, **how: Any) -> str:
    column, wanted = element.clauses
    return f"{compiler.process(column, **how)} = ANY({compiler.process(wanted, **how)})"


def among(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """Return the condition that a column is one of the numbers, or texts, that a statement is given under a name.

    A `Hot` is given them by `numbers` or `texts`, any other statement as they are.
    """
    return _Among(column, sa.bindparam(name, type_=_Listed(_holds_texts(column))))


def one_of(column: ColumnElement[Any], wanted: Iterable[int] | Iterable[str]) -> ColumnElement[bool]:
    """Return the condition that a column is one of these numbers or texts."""
    return _Among(column, sa.bindparam(None, list(wanted), type_=_Listed(_holds_texts(column)), unique=True))


def numbers(conn: Connection, wanted: Collection[int]) -> object:
    """Return numbers as the parameter of `among`."""
    return _listed(conn.dialect.name, wanted)


def texts(conn: Connection, wanted: Collection[str]) -> object:
    """Return texts as the parameter of `among`."""
    return _listed(conn.dialect.name, wanted)


class Given:
    """Rows that a `Hot` is given, to be joined with tables: a text of JSON on SQLite, arrays on PostgreSQL.

    Two lists that go together are not two conditions: SQLite would look for each of the one with each of the other.
    """

    __slots__ = ("_columns",)

    def __init__(self, **columns: type[int] | type[str]) -> None:
        """Take the names and types of the columns."""
        self._columns = columns

    def hot(self, build: Callable[[sa.FromClause], Executable]) -> Hot:
        """Return the statement that `build` makes with the rows, for either database."""
        return Hot(lambda: build(self._members()), postgresql=lambda: build(self._arrays()))

    def _members(self) -> sa.FromClause:
        each = sa.func.json_each(sa.bindparam("given")).table_valued("value")
        members = [
            sa.func.json_extract(each.c.value, sa.literal_column(f"'$[{place}]'")).label(name)
            for place, name in enumerate(self._columns)
        ]
        return sa.select(*members).subquery("given")

    def _arrays(self) -> sa.FromClause:
        arrays = [
            sa.bindparam(f"given_{name}", type_=sa.ARRAY(sa.Text if kind is str else sa.BigInteger))
            for name, kind in self._columns.items()
        ]
        return sa.func.unnest(*arrays).table_valued(*self._columns).render_derived("given")

    def values(self, conn: Connection, rows: Collection[Sequence[int | str]]) -> dict[str, object]:
        """Return rows as parameters."""
        if conn.dialect.name == "postgresql":
            return {f"given_{name}": [row[place] for row in rows] for place, name in enumerate(self._columns)}
        return {"given": orjson.dumps(rows if isinstance(rows, list) else list(rows)).decode()}


def _listed(dialect: str, wanted: Collection[Any]) -> object:
    return list(wanted) if dialect == "postgresql" else orjson.dumps(list(wanted)).decode()


def _holds_texts(column: ColumnElement[Any]) -> bool:
    return isinstance(column.type, sa.String)
