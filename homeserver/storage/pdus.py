"""Events as servers exchange them, read in bulk: a room of ten thousand members is told without ten thousand objects.

What is read here passes the cache by: nobody wants the memberships of strangers again soon.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import orjson
import sqlalchemy as sa
from sqlalchemy import Connection

from federation.core.ids import EventID
from homeserver.model.nids import EventNid, RoomNid, TypeNid
from homeserver.storage.database import Hot, among, numbers
from homeserver.storage.schema.rooms import events

T = TypeVar("T")
MOST_IN_A_QUERY = 5000
_START, _END = b'{"auth_events":', b'],"depth":'

AuthMemory = dict[bytes, tuple[EventID, ...]]
"""Lists of auth events by the bytes in which they stand; most members of a room cite the same events."""


@dataclass(frozen=True, slots=True)
class StoredPdu:
    """One event in the two pieces in which it is stored."""

    event_id: EventID
    depth: int
    envelope: bytes
    content: bytes

    @property
    def json(self) -> bytes:
        """The event as servers exchange it."""
        return self.envelope[:-1] + b',"content":' + self.content + b"}"


def load(conn: Connection, nids: Collection[EventNid], *, besides: TypeNid | None = None) -> list[StoredPdu]:
    """Return the events with these numbers, in one query for each 5,000; not those of the type `besides`.

    Missing ones are left out.
    """
    return [
        StoredPdu(*row)
        for part in _parts(nids)
        for row in _BY_NIDS.run(conn, {"wanted": numbers(conn, part), "unwanted": besides or 0})
    ]


def load_in_room(conn: Connection, room: RoomNid, event_ids: Collection[EventID]) -> list[StoredPdu]:
    """Return those of the events that are stored and belong to a room, in one query for each 5,000."""
    return [
        StoredPdu(*row)
        for part in _parts(event_ids)
        for row in conn.execute(_BY_IDS, {"wanted": part, "in_room": room})
    ]


def envelopes(conn: Connection, nids: Collection[EventNid]) -> list[tuple[EventID, bytes]]:
    """Return IDs and envelopes of the events with these numbers, in one query for each 5,000."""
    return [
        (EventID(row[0]), row[1])
        for part in _parts(nids)
        for row in _ENVELOPES.run(conn, {"wanted": numbers(conn, part)})
    ]


def auth_edges(
    conn: Connection, event_ids: Collection[EventID], memory: AuthMemory
) -> dict[EventID, tuple[EventID, ...]]:
    """Return the auth events of those of the events that are stored, in one query for each 5,000."""
    return {
        EventID(event_id): auth_events(envelope, memory)
        for part in _parts(event_ids)
        # Events cite others by any text, and PostgreSQL's texts hold no NUL.
        for event_id, envelope in conn.execute(
            _EDGES, {"wanted": [event_id for event_id in part if "\0" not in event_id]}
        )
    }


def auth_events(envelope: bytes, memory: AuthMemory) -> tuple[EventID, ...]:
    """Return the auth events that an envelope cites.

    In canonical JSON they nearly always come first, and the same ones stand in the events of many members: only those
    bytes are looked at then.
    """
    # In a text, the quote of the end would have a backslash before it.
    end = envelope.find(_END) + 1 if envelope.startswith(_START) else 0
    part = envelope[len(_START) : end]
    known = memory.get(part)
    if known is None:
        try:
            known = memory[part] = _cited(orjson.loads(part))
        except orjson.JSONDecodeError:
            # Something else comes first, or stands between.
            known = _cited(orjson.loads(envelope)["auth_events"])
    return known


def _cited(entries: list[str | list[str]]) -> tuple[EventID, ...]:
    # Until room version 2 each is a pair of ID and hash.
    return tuple(EventID(entry if isinstance(entry, str) else entry[0]) for entry in entries)


def _parts(items: Collection[T]) -> Iterator[Sequence[T]]:
    wanted = list(items)
    for start in range(0, len(wanted), MOST_IN_A_QUERY):
        yield wanted[start : start + MOST_IN_A_QUERY]


_PDU = sa.select(events.c.event_id, events.c.depth, events.c.envelope, events.c.content)
_BY_NIDS = Hot(
    _PDU.where(among(events.c.nid, "wanted"), events.c.type != sa.bindparam("unwanted", type_=sa.BigInteger))
)
_ENVELOPES = Hot(sa.select(events.c.event_id, events.c.envelope).where(among(events.c.nid, "wanted")))
_AMONG_IDS = events.c.event_id.in_(sa.bindparam("wanted", expanding=True))
_BY_IDS = _PDU.where(_AMONG_IDS, events.c.room == sa.bindparam("in_room"))
_EDGES = sa.select(events.c.event_id, events.c.envelope).where(_AMONG_IDS)
