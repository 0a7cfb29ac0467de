"""Read receipts as markers: up to which message somebody has read: https://xmpp.org/extensions/xep-0333.html.

Matrix clients mark whatever came last, be it that somebody has joined; XMPP clients know messages only.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection

from federation.core.ids import EventID
from homeserver.model.events import Event
from homeserver.model.nids import UserNid
from homeserver.model.receipts import MAIN_THREAD, UNTHREADED, Receipt, ReceiptKind
from homeserver.services import Services
from homeserver.storage import chat_archive, stanza_ids
from homeserver.xmpp.surroundings import SAID


@dataclass(frozen=True, slots=True)
class Marker:
    """Up to which message a user has read."""

    user: UserNid
    event_id: EventID
    stanza_id: str
    """By which ID clients know its stanza."""


def markers(conn: Connection, services: Services, receipts: Iterable[Receipt]) -> list[Marker]:
    """Return what receipts tell of the messages of a room; nothing for those of threads, which are about little."""
    moved = [
        receipt for receipt in receipts
        if receipt.kind is ReceiptKind.READ and receipt.thread in (UNTHREADED, MAIN_THREAD)
    ]  # fmt: skip
    if not moved:
        return []
    events = services.history.events
    named = events.by_ids(conn, {EventID(receipt.event_id) for receipt in moved})
    shown: dict[EventID, Event | None] = {}
    for receipt in moved:
        if receipt.event_id not in shown:
            shown[receipt.event_id] = _said(conn, services, receipt, named.get(EventID(receipt.event_id)))
    ids = stanza_ids.of_events(conn, {event.nid for event in shown.values() if event is not None})
    found = []
    for receipt in moved:
        event = shown[receipt.event_id]
        if event is not None:
            found.append(Marker(receipt.user, event.event_id, ids.get(event.nid, event.event_id)))
    return found


def _said(conn: Connection, services: Services, receipt: Receipt, event: Event | None) -> Event | None:
    """Return the message that was the last one where a receipt is."""
    if event is not None and event.type in SAID:
        return event
    names = services.history.names
    kinds = [nid for kind in SAID if (nid := names.type(conn, kind)) is not None]
    nids = chat_archive.page(
        conn, [receipt.room], kinds, after=None, until=receipt.place, since_ms=None, before_ms=None, limit=1,
        newest_first=True,
    ) if kinds else []  # fmt: skip
    return services.history.events.by_nid(conn, nids[0]) if nids else None
