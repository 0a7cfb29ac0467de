"""Events as clients get them: https://spec.matrix.org/v1.19/client-server-api/#room-event-format.

An event's own bytes are made once (`Event.client_prefix`); what depends on reader and moment is spliced on behind them.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import orjson
from sqlalchemy import Connection

from federation.core.events.content import Membership
from federation.core.ids import UserID
from homeserver.clock import Clock
from homeserver.model.accounts import Requester
from homeserver.model.events import Event, Status
from homeserver.model.nids import EventNid
from homeserver.services.aggregations import NOTHING, Aggregations, Bundles
from homeserver.services.visibility import Seen, Visibility
from homeserver.storage import transactions
from homeserver.storage.events import Events


def splice(
    event: Event, *, now_ms: int, membership: str | None, room_id: bool, transaction_id: str | None = None,
    extra: bytes = b"",
) -> bytes:  # fmt: skip
    """Return an event as JSON, from memory alone.

    `membership` is the reader's at that point; `extra` are further members of `unsigned`, each with a comma before it.
    """
    parts = [event.client_prefix]
    if room_id:
        parts += [b',"room_id":', orjson.dumps(event.room_id)]
    parts.append(b',"unsigned":{"age":%d' % (now_ms - event.sent_at))
    if membership is not None:
        parts += [b',"membership":', orjson.dumps(membership)]
    if transaction_id is not None:
        parts += [b',"transaction_id":', orjson.dumps(transaction_id)]
    parts += [extra, b"}}"]
    return b"".join(parts)


def replaced(before: Event, *, content: bool) -> bytes:
    """Return what a state event's `unsigned` says of the one before it, as `splice` takes it; its content if wanted."""
    told = b',"replaces_state":' + orjson.dumps(before.event_id)
    return told + b',"prev_content":' + before.content_json if content else told


@dataclass(frozen=True, slots=True)
class _Page:
    """All that is known around the events of a page."""

    now_ms: int
    room_id: bool
    background: Mapping[EventNid, Event]
    """State before the page's state events, redactions of the page's redacted events."""
    visible: Mapping[EventNid, Seen]
    """What of the background the reader may see."""
    transaction_ids: Mapping[EventNid, str]
    bundles: Bundles


@dataclass(frozen=True, slots=True)
class Rendering:
    """Makes the JSON of events for one reader."""

    events: Events
    visibility: Visibility
    aggregations: Aggregations
    clock: Clock

    def render(
        self, conn: Connection, reader: Requester, seen: Sequence[Seen], *, room_id: bool,
        ignored: Collection[UserID] = (), bundle: bool = True,
    ) -> list[bytes]:  # fmt: skip
        """Return the events of a page, each as JSON, in a constant number of queries; of several rooms, if need be.

        `bundle` says whether aggregations of child events are wanted.
        """
        if not seen:
            return []
        bundles = NOTHING
        if bundle:
            bundles = self.aggregations.of(conn, reader, [each.event for each in seen], ignored)
        whole = [each.event for each in (*seen, *bundles.bundled)]
        background = self._background(conn, whole)
        visible = self.visibility.seen(conn, reader.user, reader.user_id, list(background.values()), ignored)
        page = _Page(
            self.clock.now_ms(), room_id, background, {each.event.nid: each for each in visible},
            self._transaction_ids(conn, reader, whole), bundles,
        )  # fmt: skip
        return [_event(each, page) for each in seen]

    def state(
        self, conn: Connection, reader: Requester, events: Sequence[Event], *, room_id: bool,
        ignored: Collection[UserID] = (),
    ) -> list[bytes]:  # fmt: skip
        """Return state events as they are listed by the thousand: with their age, and who redacted them."""
        now_ms = self.clock.now_ms()
        redactions = self.events.by_nids(conn, [event.redacted_by for event in events if event.redacted_by is not None])
        told = self.visibility.seen(conn, reader.user, reader.user_id, list(redactions.values()), ignored)
        because = {
            each.event.nid: b',"redacted_because":'
            + splice(each.event, now_ms=now_ms, membership=each.membership, room_id=room_id)
            for each in told
        }
        return [
            splice(
                event, now_ms=now_ms, membership=None, room_id=room_id,
                extra=because.get(event.redacted_by, b"") if event.redacted_by is not None else b"",
            )
            for event in events
        ]  # fmt: skip

    def _background(self, conn: Connection, events: Iterable[Event]) -> dict[EventNid, Event]:
        nids: set[EventNid] = set()
        for event in events:
            if event.replaces is not None:
                nids.add(event.replaces)
            if event.redacted_by is not None:
                nids.add(event.redacted_by)
        return self.events.by_nids(conn, nids) if nids else {}

    def _transaction_ids(self, conn: Connection, reader: Requester, events: Iterable[Event]) -> Mapping[EventNid, str]:
        own = [event.nid for event in events if event.sender_nid == reader.user]
        return transactions.ids_of(conn, reader.device, own) if own else {}


def _event(seen: Seen, page: _Page) -> bytes:
    event = seen.event
    extra = b""
    if event.replaces is not None and (before := page.background.get(event.replaces)) is not None:
        extra = replaced(before, content=before.nid in page.visible or _was_told(before, seen))
    if event.redacted_by is not None and (because := page.visible.get(event.redacted_by)) is not None:
        redaction = splice(
            because.event, now_ms=page.now_ms, membership=because.membership, room_id=page.room_id,
            transaction_id=page.transaction_ids.get(because.event.nid),
        )  # fmt: skip
        extra += b',"redacted_because":' + redaction
    relations = _relations(event, page)
    if relations:
        extra += b',"m.relations":{' + b",".join(relations) + b"}"
    return splice(
        event, now_ms=page.now_ms, membership=seen.membership, room_id=page.room_id,
        transaction_id=page.transaction_ids.get(event.nid), extra=extra,
    )  # fmt: skip


def _was_told(before: Event, seen: Seen) -> bool:
    """Return whether a member was told of what stood there before as state, though it never was in the timeline."""
    return before.place is None and before.status is not Status.REJECTED and seen.membership == Membership.JOIN


def _relations(event: Event, page: _Page) -> list[bytes]:
    bundles, found = page.bundles, []
    if (references := bundles.references.get(event.nid)) is not None:
        chunk = b",".join(b'{"event_id":' + orjson.dumps(event_id) + b"}" for event_id in references)
        found.append(b'"m.reference":{"chunk":[' + chunk + b"]}")
    if (edit := bundles.edits.get(event.nid)) is not None:
        found.append(b'"m.replace":' + _event(edit, page))
    if (thread := bundles.threads.get(event.nid)) is not None:
        # The latest event of a thread is the child of its root, so it is no root itself and this ends.
        found.append(
            b'"m.thread":{"count":%d,"current_user_participated":%b,"latest_event":%b}'
            % (thread.count, b"true" if thread.participated else b"false", _event(thread.latest, page))
        )
    return found
