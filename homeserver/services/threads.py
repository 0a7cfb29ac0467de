"""Which threads an event is related to: https://spec.matrix.org/v1.19/client-server-api/#threaded-read-receipts."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from federation.core.ids import EventID
from homeserver.model.events import Event
from homeserver.model.receipts import MAIN_THREAD
from homeserver.storage.events import Events

MOST_HOPS = 3
"""How far relations are followed, as the specification recommends."""


def related_threads(conn: Connection, events: Events, event: Event) -> frozenset[str]:
    """Return the threads that an event is related to: the one that it is in, if it is in one, and no other.

    Else it is in the main timeline (`main`), and related also to what it is, or its ancestors are, the root of.
    """
    passed: list[str] = [event.event_id]
    current: Event | None = event
    for _ in range(MOST_HOPS):
        if current is None:
            break
        if (root := current.thread_root) is not None:
            return frozenset({root})
        parent = _parent(current.content)
        if parent is None:
            break
        passed.append(parent)
        current = events.by_id(conn, EventID(parent))
    if current is not None and (root := current.thread_root) is not None:
        return frozenset({root})
    return frozenset({MAIN_THREAD, *passed})


def _parent(content: Mapping[str, Any]) -> str | None:
    """Return the event that another one is related to by a relation type; a mere reply is not followed."""
    relation = content.get("m.relates_to")
    if not isinstance(relation, dict) or not isinstance(relation.get("rel_type"), str):
        return None
    parent = relation.get("event_id")
    return parent if isinstance(parent, str) else None
