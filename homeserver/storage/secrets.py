"""Secrets of the server's own, made once and the same for all its processes."""

import sqlalchemy as sa
from sqlalchemy import Connection

from homeserver.storage.database import Write, upsert
from homeserver.storage.schema.xmpp import secrets


def find(conn: Connection, name: str) -> bytes | None:
    """Return a secret, None if it was never made."""
    return conn.execute(sa.select(secrets.c.value).where(secrets.c.name == name)).scalar_one_or_none()


def keep(tx: Write, name: str, value: bytes) -> bytes:
    """Store a secret unless there is one of that name; return the one that is there."""
    tx.conn.execute(upsert(tx.conn, secrets).values(name=name, value=value).on_conflict_do_nothing())
    found = find(tx.conn, name)
    assert found is not None
    return found
