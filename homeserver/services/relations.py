"""Reading what relates to an event, and the threads of a room.

Source: https://spec.matrix.org/v1.19/client-server-api/#relationships-api and #querying-threads-in-a-room
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from federation.core.canonical_json import encode_lenient
from federation.core.events.redaction import redact
from federation.core.ids import EventID, RoomID, UserID
from homeserver.errors import Forbidden, NotFound
from homeserver.model.accounts import Requester
from homeserver.model.events import Event
from homeserver.model.filters import RoomEventFilter
from homeserver.services.account_data import AccountData
from homeserver.services.pages import Span, collect
from homeserver.services.rendering import Rendering
from homeserver.services.visibility import Reach, Seen, Visibility
from homeserver.storage import related
from homeserver.storage.database import Database
from homeserver.storage.events import Events, in_order
from homeserver.storage.names import Names

ALL = RoomEventFilter()


@dataclass(frozen=True, slots=True)
class Kinds:
    """Which relations are wanted: of one type, of events of one type, or also indirect ones."""

    rel_type: str | None = None
    event_type: str | None = None
    recurse: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """A page of events, each as JSON, and the place behind it unless it is the last."""

    chunk: list[bytes]
    end: int | None
    depth: int = 1
    """How many levels of relations were followed."""


@dataclass(frozen=True, slots=True)
class Relations:
    """Reads relations for the users of rooms."""

    db: Database
    names: Names
    events: Events
    visibility: Visibility
    rendering: Rendering
    account_data: AccountData

    async def children(self, who: Requester, room_id: RoomID, event_id: EventID, kinds: Kinds, span: Span) -> Batch:
        """Return events that relate to an event. Raises `NotFound` also where the user may not see the event."""

        def read(conn: Connection) -> Batch:
            reach = self._reach_parent(conn, who, room_id, event_id)
            ignored = self.account_data.ignored(conn, [who.user])[who.user]

            def fetch(after: int | None, until: int, limit: int) -> Sequence[Event]:
                nids = related.children(
                    conn, reach.room, event_id, kinds.rel_type, kinds.event_type, deep=kinds.recurse,
                    after=after, until=until, limit=limit, newest_first=span.backwards,
                )  # fmt: skip
                return in_order(self.events.by_nids(conn, nids), nids)

            page = collect(conn, self.visibility, who, reach, span, fetch, ALL, ignored)
            chunk = self.rendering.render(conn, who, page.found, room_id=True, ignored=ignored)
            return Batch(chunk, page.end, related.DEEPEST if kinds.recurse else 1)

        return await self.db.read(read)

    async def threads(
        self, who: Requester, room_id: RoomID, *, participated: bool, start: int | None, limit: int
    ) -> Batch:
        """Return the roots of a room's threads, those with the newest replies first. Raises `Forbidden`."""

        def read(conn: Connection) -> Batch:
            reach = self.visibility.reach(conn, who.user, room_id)
            ignored = self.account_data.ignored(conn, [who.user])[who.user]
            rows = related.threads(
                conn, reach.room, who.user, list(self.names.user_nids(conn, ignored).values()),
                participated=participated, until=min(start, reach.until) if start is not None else reach.until,
                limit=limit + 1,
            )  # fmt: skip
            roots = [root for root, _ in rows[:limit]]
            found = in_order(self.events.by_nids(conn, roots), roots)
            seen = [_veiled(each, ignored) for each in self.visibility.seen(conn, reach.user, who.user_id, found)]
            chunk = self.rendering.render(conn, who, seen, room_id=True, ignored=ignored)
            return Batch(chunk, rows[limit - 1][1] - 1 if len(rows) > limit else None)

        return await self.db.read(read)

    def _reach_parent(self, conn: Connection, who: Requester, room_id: RoomID, event_id: EventID) -> Reach:
        try:
            reach = self.visibility.reach(conn, who.user, room_id)
        except Forbidden as error:
            raise NotFound("Event not found") from error
        event = self.events.by_id(conn, event_id)
        if event is None or event.room != reach.room:
            raise NotFound("Event not found")
        if not self.visibility.seen(conn, reach.user, who.user_id, [event]):
            raise NotFound("Event not found")
        return reach


def _veiled(seen: Seen, ignored: Collection[UserID]) -> Seen:
    """Return the root of a thread as if it had been redacted, if an ignored user sent it."""
    event = seen.event
    if event.is_state or event.sender not in ignored:
        return seen
    fields = redact(event.pdu.fields, event.version)
    content = encode_lenient(fields.pop("content"))
    return replace(seen, event=event.redacted(content, encode_lenient(fields), event.redacted_by))
