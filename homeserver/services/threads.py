"""Which thread an event is in: https://spec.matrix.org/v1.19/client-server-api/#threaded-read-receipts."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from federation.core.ids import EventID
from homeserver.model.events import Event
from homeserver.model.receipts import MAIN_THREAD
from homeserver.storage.events import Events

MOST_HOPS = 3
"""How far relations are followed, as the specification recommends."""


def threads_of(conn: Connection, events: Events, event: Event) -> tuple[str, frozenset[str]]:
    """Return the thread that an event is in (its root's ID, or `main`), and all threads that it is related to.

    The root of a thread, and what is related to the root, are in the main timeline, and related to the thread.
    """
    passed: list[str] = [event.event_id]
    current: Event | None = event
    for _ in range(MOST_HOPS):
        if current is None:
            break
        if (root := current.thread_root) is not None:
            return root, frozenset({root})
        parent = _parent(current.content)
        if parent is None:
            break
        passed.append(parent)
        current = events.by_id(conn, EventID(parent))
    if current is not None and (root := current.thread_root) is not None:
        return root, frozenset({root})
    return MAIN_THREAD, frozenset({MAIN_THREAD, *passed})


def _parent(content: Mapping[str, Any]) -> str | None:
    """Return the event that another one is related to by a relation type; a mere reply is not followed."""
    relation = content.get("m.relates_to")
    if not isinstance(relation, dict) or not isinstance(relation.get("rel_type"), str):
        return None
    parent = relation.get("event_id")
    return parent if isinstance(parent, str) else None
