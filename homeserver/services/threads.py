"""Which threads an event is related to: https://spec.matrix.org/v1.19/client-server-api/#threaded-read-receipts."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sqlalchemy import Connection

from federation.core.ids import EventID
from homeserver.model.events import Event
from homeserver.model.nids import EventNid
from homeserver.model.receipts import MAIN_THREAD
from homeserver.storage.events import Events
from homeserver.storage.relations import relation_of

MOST_HOPS = 3
"""How far relations are followed, as the specification recommends."""


class Unknown(Exception):
    """An event that is asked for is not at hand."""


def related_threads(conn: Connection, events: Events, event: Event) -> frozenset[str]:
    """Return the threads that an event is related to: the one that it is in, if it is in one, and no other.

    Else it is in the main timeline (`main`), and related also to what it is, or its ancestors are, the root of.
    """
    passed: list[str] = [event.event_id]

    def find(event_id: EventID) -> Event | None:
        passed.append(event_id)
        return events.by_id(conn, event_id)

    thread = thread_of(event, find)
    return frozenset({thread, *passed}) if thread == MAIN_THREAD else frozenset({thread})


def thread_of(event: Event, find: Callable[[EventID], Event | None]) -> str:
    """Return the root of the thread that an event is in by its relations, or `main`; `find` finds events by ID."""
    current: Event | None = event
    for hops in range(MOST_HOPS + 1):
        if current is None or current.room != event.room:
            break
        if (root := current.thread_root) is not None:
            return root
        parent = _parent(current.content)
        if parent is None or hops == MOST_HOPS:
            break
        current = find(parent)
    return MAIN_THREAD


def threads_of(conn: Connection, events: Events, asked: Iterable[Event]) -> dict[EventNid, str]:
    """Return for each event what `thread_of` does, in as many queries at most as relations are followed."""
    found: dict[EventID, Event] = {}
    last = asked = list(asked)
    for _ in range(MOST_HOPS):
        parents = {parent for event in last if event.thread_root is None and (parent := _parent(event.content))}
        if not (parents := parents - found.keys()):
            break
        loaded = events.by_ids(conn, parents)
        found |= loaded
        last = list(loaded.values())
    return {event.nid: thread_of(event, found.get) for event in asked}


def known_thread_of(events: Events, event: Event) -> str:
    """Return what `thread_of` does, from memory alone. Raises `Unknown` if that does not hold what it takes."""

    def find(event_id: EventID) -> Event:
        if (known := events.known_by_id(event_id)) is None:
            raise Unknown
        return known

    return thread_of(event, find)


def _parent(content: Mapping[str, Any]) -> EventID | None:
    """Return the event that another one is related to by a relation type; a mere reply is not followed."""
    relation = relation_of(content)
    return EventID(relation[1]) if relation is not None else None
