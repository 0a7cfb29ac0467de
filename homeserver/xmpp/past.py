"""The messages of chats that are past, as far as a user may see them."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from federation.core.canonical_json import encode_lenient
from federation.core.ids import EventID
from federation.core.xmpp.element import Element
from federation.core.xmpp.jid import Jid
from homeserver.model.accounts import Requester
from homeserver.model.events import Event
from homeserver.model.nids import RoomNid, UserNid
from homeserver.services import Services
from homeserver.storage import chat_archive
from homeserver.storage.events import in_order
from homeserver.xmpp.surroundings import KINDS, stamp

DELAY = "urn:xmpp:delay"
MOST_LOOKED_AT = 1000
"""Events that one page looks at, at most, in search of those that are shown."""

LARGEST_BYTES = 512 * 1024
"""Of the contents of a page's events: as XML that may be some times as much, and a client is cut off at 4 MiB."""
BATCH = 100
"""Events that are looked at together, where the first ones were not enough."""


@dataclass(frozen=True, slots=True)
class Span:
    """Which part of the past is wanted: places, times, how much, from which end."""

    limit: int
    newest_first: bool = True
    after: int | None = None
    until: int | None = None
    since_ms: int | None = None
    before_ms: int | None = None
    sender: UserNid | None = None
    """Whose messages are wanted; None for everybody's."""


@dataclass(frozen=True, slots=True)
class Page:
    """Events in the order of their places, and whether there are no more in the direction looked."""

    events: Sequence[Event]
    complete: bool
    edge: EventID | None = None
    """The last event that was looked at where none was found that is shown: from there one may look on."""


def page(conn: Connection, services: Services, who: Requester, rooms: Sequence[RoomNid], span: Span) -> Page:
    """Return a page of what was said in rooms that a user is in, or was in."""
    history = services.history
    kinds = [nid for kind in KINDS if (nid := history.names.type(conn, kind)) is not None]
    ignored = services.account_data.ignored(conn, [who.user])[who.user]
    found: list[Event] = []
    edge: EventID | None = None
    after, until, looked_at, complete = span.after, span.until, 0, False
    size = span.limit + 1
    while not complete and len(found) <= span.limit and looked_at < MOST_LOOKED_AT:
        nids = chat_archive.page(
            conn, rooms, kinds, after=after, until=until, since_ms=span.since_ms, before_ms=span.before_ms,
            limit=size, newest_first=span.newest_first, sender=span.sender,
        ) if kinds and rooms else []  # fmt: skip
        batch = in_order(history.events.by_nids(conn, nids), nids)
        found += [each.event for each in history.visibility.seen(conn, who.user, who.user_id, batch, ignored)]
        looked_at += len(batch)
        complete = len(batch) < size
        # Where much is hidden, a small page is not looked for one by one.
        size = max(size, BATCH)
        if batch and span.newest_first:
            until = batch[-1].at - 1
        elif batch:
            after = batch[-1].at
        edge = batch[-1].event_id if batch else edge
    complete = complete and len(found) <= span.limit
    shown = _light(found[: span.limit])
    complete = complete and len(shown) == min(len(found), span.limit)
    return Page(shown[::-1] if span.newest_first else shown, complete, edge if not shown and not complete else None)


def _light(events: list[Event]) -> list[Event]:
    """Return the first of these events, as many as a client can be sent at once; one in any case."""
    size = 0
    for number, event in enumerate(events):
        size += len(encode_lenient(event.content))
        if number and size > LARGEST_BYTES:
            return events[:number]
    return events


def delay(event: Event, by: Jid | None) -> Element:
    """Return when an event happened: https://xmpp.org/extensions/xep-0203.html."""
    return Element("delay", DELAY, {"from": str(by) if by is not None else None, "stamp": stamp(event.sent_at)})
