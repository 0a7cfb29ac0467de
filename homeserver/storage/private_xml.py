"""XML that users' clients keep for themselves."""

import sqlalchemy as sa
from sqlalchemy import Connection

from homeserver.model.nids import UserNid
from homeserver.storage.database import Write, upsert
from homeserver.storage.schema.xmpp import private_xml


def find(conn: Connection, user: UserNid, namespace: str, name: str) -> bytes | None:
    """Return what a user keeps under a name."""
    where = (private_xml.c.user == user) & (private_xml.c.namespace == namespace) & (private_xml.c.name == name)
    return conn.execute(sa.select(private_xml.c.content).where(where)).scalar_one_or_none()


def count(conn: Connection, user: UserNid) -> int:
    """Return under how many names a user keeps something."""
    query = sa.select(sa.func.count()).select_from(private_xml).where(private_xml.c.user == user)
    return int(conn.execute(query).scalar_one())


def store(tx: Write, user: UserNid, namespace: str, name: str, content: bytes) -> None:
    """Keep something under a name, in the place of what was kept there."""
    statement = upsert(tx.conn, private_xml).values(user=user, namespace=namespace, name=name, content=content)
    keys = ["user", "namespace", "name"]
    tx.conn.execute(statement.on_conflict_do_update(index_elements=keys, set_={"content": content}))
