"""Pages of what a user may see, out of a longer list in which they may not see everything.

Reading a page looks at a bounded number of events: where nearly all are hidden or filtered out, a page is short, and
its end says where to go on.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from federation.core.ids import UserID
from homeserver.model.accounts import Requester
from homeserver.model.events import Event
from homeserver.model.filters import RoomEventFilter
from homeserver.services.visibility import Reach, Seen, Visibility
from homeserver.storage import related

MOST_LOOKED_AT = 2000
"""Events that one page looks at, at most, beyond the first batch."""
LARGEST_BATCH = 1000

Fetch = Callable[[int | None, int, int], Sequence[Event]]
"""Returns events with `after` < place <= `until`, at most `limit`, in the page's direction."""


@dataclass(frozen=True, slots=True)
class Span:
    """Which part of a list is wanted."""

    backwards: bool
    start: int | None
    """A place in the stream; None: from the end that the direction begins at."""
    stop: int | None
    limit: int


@dataclass(frozen=True, slots=True)
class Page:
    """What was found, and the places before and behind it; `end` is None if nothing can come after."""

    found: list[Seen]
    start: int
    end: int | None
    ran_out: bool = False
    """The list ended, and the reader could see what would come behind it."""


def collect(
    conn: Connection, visibility: Visibility, reader: Requester, reach: Reach, span: Span, fetch: Fetch,
    wanted: RoomEventFilter, ignored: Collection[UserID],
) -> Page:  # fmt: skip
    """Return the page at `span` of the list that `fetch` reads, within the reader's reach."""
    if span.backwards:
        after, until = span.stop, _lower(span.start, reach.until)
    else:
        after, until = span.start, _lower(span.stop, reach.until)
    found: list[Seen] = []
    start: int | None = until if span.backwards else after
    size, looked_at = span.limit + 1, 0
    while True:
        batch = fetch(after, until, size)
        if start is None:
            start = batch[0].at - 1 if batch else 0
        seen = visibility.seen(conn, reach.user, reader.user_id, batch, ignored)
        passing = _passing(conn, seen, wanted, reach)
        open_places = span.limit - len(found)
        found += passing[:open_places]
        if len(passing) > open_places:
            return Page(found, start, _behind(found[-1].event, span) if found else start)
        if len(batch) < size:
            return Page(found, start, None, ran_out=not batch or not _is_hidden(batch[-1], seen, ignored))

        last = batch[-1]
        if span.backwards:
            until = last.at - 1
            if _is_hidden(last, seen, ignored):
                # As far back as the reader's standing was the same, all is hidden.
                changed = visibility.hidden_since(conn, reader.user_id, last)
                if changed is None:
                    return Page(found, start, None)
                until = min(until, changed)
        else:
            after = last.at
        looked_at += len(batch)
        if len(found) == span.limit or looked_at >= MOST_LOOKED_AT:
            return Page(found, start, until if span.backwards else after)
        size = min(size * 4, LARGEST_BATCH)


def _passing(conn: Connection, seen: Sequence[Seen], wanted: RoomEventFilter, reach: Reach) -> list[Seen]:
    passing = [each for each in seen if wanted.matches(each.event)]
    if not passing or (wanted.related_by_senders is None and wanted.related_by_rel_types is None):
        return passing
    parents = related.with_children(
        conn, reach.room, [each.event.event_id for each in passing], until=reach.until,
        by=wanted.related_by_senders, kinds=wanted.related_by_rel_types,
    )  # fmt: skip
    return [each for each in passing if each.event.event_id in parents]


def _lower(place: int | None, until: int) -> int:
    return until if place is None else min(place, until)


def _behind(event: Event, span: Span) -> int:
    return event.at - 1 if span.backwards else event.at


def _is_hidden(event: Event, seen: Sequence[Seen], ignored: Collection[UserID]) -> bool:
    """Return whether history visibility, and nothing else, keeps the last event of a batch from the reader."""
    shown = bool(seen) and seen[-1].event.nid == event.nid
    return not shown and (event.is_state or event.sender not in ignored)
