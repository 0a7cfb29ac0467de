"""Which events relate to which: https://spec.matrix.org/v1.19/client-server-api/#forming-relationships-between-events."""

from collections.abc import Mapping
from typing import Any, TypeGuard

import sqlalchemy as sa
from sqlalchemy import Connection

from homeserver.model.events import Event
from homeserver.model.nids import RoomNid, UserNid
from homeserver.storage.database import Write
from homeserver.storage.names import Names
from homeserver.storage.schema.rooms import relations


def relation_of(content: Mapping[str, Any]) -> tuple[str, str, str | None] | None:
    """Return relation type, parent and key of an event's content, or None if it relates to nothing."""
    relation = content.get("m.relates_to")
    if not isinstance(relation, dict):
        return None
    kind, parent, key = relation.get("rel_type"), relation.get("event_id"), relation.get("key")
    if not _is_name(kind) or not _is_name(parent):
        return None
    return kind, parent, key if _is_name(key) else None


def _is_name(value: object) -> TypeGuard[str]:
    # Nothing longer is an event ID or a type, and PostgreSQL's texts hold no NUL.
    return isinstance(value, str) and len(value) <= 255 and "\0" not in value


def store(tx: Write, names: Names, event: Event) -> None:
    """Store what a new event relates to, if it does."""
    relation = relation_of(event.content)
    if relation is None:
        return
    kind, parent, key = relation
    tx.conn.execute(
        relations.insert().values(
            event=event.nid, room=event.room, place=event.at, parent=parent, rel_type=names.intern_type(tx, kind),
            type=names.intern_type(tx, event.type), sender=event.sender_nid, key=key,
        )
    )  # fmt: skip


def remove(tx: Write, event: Event) -> None:
    """Let a redacted event relate to nothing."""
    tx.conn.execute(relations.delete().where(relations.c.event == event.nid))


def annotated(
    conn: Connection, names: Names, room: RoomNid, sender: UserNid, parent: str, event_type: str, key: str | None
) -> bool:
    """Return whether a sender has annotated an event with this type and key already."""
    kind, type_nid = names.type(conn, "m.annotation"), names.type(conn, event_type)
    if kind is None or type_nid is None:
        return False
    query = sa.select(relations.c.event).where(
        relations.c.room == room,
        relations.c.parent == parent,
        relations.c.rel_type == kind,
        relations.c.type == type_nid,
        relations.c.sender == sender,
        relations.c.key == key,
    )
    return conn.execute(query.limit(1)).first() is not None
