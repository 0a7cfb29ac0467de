"""Nodes of users, and the items in them."""

from collections.abc import Collection
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection

from homeserver.model.nids import UserNid
from homeserver.storage.database import Write, upsert
from homeserver.storage.schema.pep import pep_items, pep_nodes


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a user."""

    nid: int
    name: str
    config: bytes


def find(conn: Connection, user: UserNid, name: str) -> Node | None:
    """Return a node."""
    query = sa.select(pep_nodes).where(pep_nodes.c.user == user, pep_nodes.c.node == name)
    row = conn.execute(query).one_or_none()
    return Node(row.nid, row.node, row.config) if row is not None else None


def of_user(conn: Connection, user: UserNid) -> list[Node]:
    """Return all nodes of a user."""
    query = sa.select(pep_nodes).where(pep_nodes.c.user == user).order_by(pep_nodes.c.nid)
    return [Node(row.nid, row.node, row.config) for row in conn.execute(query)]


def store(tx: Write, user: UserNid, name: str, config: bytes) -> Node:
    """Make a node, or configure it anew; return it."""
    statement = upsert(tx.conn, pep_nodes).values(user=user, node=name, config=config)
    tx.conn.execute(statement.on_conflict_do_update(index_elements=["user", "node"], set_={"config": config}))
    found = find(tx.conn, user, name)
    assert found is not None
    return found


def delete(tx: Write, node: Node) -> None:
    """Delete a node with all that is in it."""
    tx.conn.execute(pep_nodes.delete().where(pep_nodes.c.nid == node.nid))


def publish(tx: Write, node: Node, item_id: str, payload: bytes, most: int) -> None:
    """Put an item into a node, as its newest, and let it have at most so many."""
    retract(tx, node, item_id)
    tx.conn.execute(pep_items.insert().values(node=node.nid, item_id=item_id, payload=payload))
    newest = sa.select(pep_items.c.nid).where(pep_items.c.node == node.nid).order_by(pep_items.c.nid.desc()).limit(most)
    kept = [nid for (nid,) in tx.conn.execute(newest)]
    tx.conn.execute(pep_items.delete().where(pep_items.c.node == node.nid, pep_items.c.nid.not_in(kept)))


def retract(tx: Write, node: Node, item_id: str) -> bool:
    """Take an item out; return whether it was there."""
    found = tx.conn.execute(pep_items.delete().where(pep_items.c.node == node.nid, pep_items.c.item_id == item_id))
    return bool(found.rowcount)


def items(
    conn: Connection, node: Node, wanted: Collection[str] | None = None, limit: int | None = None
) -> list[tuple[str, bytes]]:
    """Return items of a node, the newest last: those named, or the last so many."""
    query = sa.select(pep_items.c.item_id, pep_items.c.payload).where(pep_items.c.node == node.nid)
    if wanted is not None:
        query = query.where(pep_items.c.item_id.in_(list(wanted)))
    query = query.order_by(pep_items.c.nid.desc())
    rows = conn.execute(query.limit(limit) if limit is not None else query).all()
    return [(row.item_id, row.payload) for row in reversed(rows)]
