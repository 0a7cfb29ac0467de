"""What all tables share: the metadata, and the types of columns.

Keys are ordered by bytes on both databases, whatever collation a PostgreSQL database has.
"""

from typing import Any

from sqlalchemy import BigInteger, Column, Dialect, ForeignKey, Integer, LargeBinary, MetaData, String, Text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateIndex

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_N_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Number = BigInteger().with_variant(Integer(), "sqlite")
"""A 64-bit integer; on SQLite the row ID where it is the primary key."""
Key = Text().with_variant(String(collation="C"), "postgresql")
"""Text that is compared byte by byte."""


class _Bytes(LargeBinary):
    """Bytes that go to SQLite and come from it as they are; its driver needs no wrapper around each value."""

    def bind_processor(self, dialect: Dialect) -> Any:
        return None if dialect.name == "sqlite" else super().bind_processor(dialect)  # type: ignore[no-untyped-call]

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        return None if dialect.name == "sqlite" else super().result_processor(dialect, coltype)  # type: ignore[no-untyped-call]


Bytes = _Bytes()
Json = _Bytes()
"""JSON as bytes: stored as it was encoded, spliced into answers without being parsed."""

SPARSE_INDEX = "ix_events_room_snapshot"
"""An index of a column that is nearly always NULL: it holds the other rows only."""


@compiles(CreateIndex)
def _create_index(create: CreateIndex, compiler: Any, **options: Any) -> str:
    # Not by `postgresql_where=`: to know that option, SQLAlchemy loads all of PostgreSQL, also where SQLite is used.
    text = str(compiler.visit_create_index(create, **options))
    index = create.element
    return f"{text} WHERE {index.columns[0].name} IS NOT NULL" if index.name == SPARSE_INDEX else text


def reference(
    name: str,
    target: str,
    *,
    primary_key: bool = False,
    nullable: bool = False,
    ondelete: str | None = "CASCADE",
    index: bool = False,
) -> Column[Any]:
    """Return a column that names a row of another table by its number."""
    return Column(
        name,
        Number,
        ForeignKey(target, ondelete=ondelete),
        primary_key=primary_key,
        nullable=nullable,
        index=index,
        autoincrement=False,
    )
