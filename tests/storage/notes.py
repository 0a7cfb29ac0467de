"""A table of our own, to hold the two ways into the database against what they promise."""

import sqlalchemy as sa
from sqlalchemy import Connection

from homeserver.storage.database import Write

notes = sa.Table(
    "notes",
    sa.MetaData(),
    sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("text", sa.Text, nullable=False, unique=True),
)


def make_table(tx: Write) -> None:
    """Make the table."""
    notes.create(tx.conn)


def drop_table(tx: Write) -> None:
    """Drop the table; the database may be another test's next."""
    notes.drop(tx.conn)


def note(tx: Write, text: str) -> int:
    """Write a note; return its position."""
    position = tx.position()
    tx.conn.execute(notes.insert().values(position=position, text=text))
    return position


def texts(conn: Connection) -> list[str]:
    """Return all notes, in the order of their positions."""
    return list(conn.execute(sa.select(notes.c.text).order_by(notes.c.position)).scalars())
