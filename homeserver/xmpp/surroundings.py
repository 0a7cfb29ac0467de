"""What must be known around events to show them: what they are about, by which IDs clients know that."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from federation.core.ids import EventID
from federation.core.xmpp.element import Element
from homeserver.model.events import Event
from homeserver.model.nids import EventNid
from homeserver.services import Services
from homeserver.storage import chat_archive, stanza_ids
from homeserver.xmpp import translate
from homeserver.xmpp.translate import Link, Reference, Shown

REDACTION, REACTION = "m.room.redaction", "m.reaction"
KINDS = (
    "m.room.message", "m.room.encrypted", "m.sticker", REACTION, REDACTION, "m.poll.start",
    "org.matrix.msc3381.poll.start", "m.call.invite",
)  # fmt: skip
"""The types of events that are shown as messages."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_SECOND = 253_402_300_799


@dataclass(frozen=True, slots=True)
class Around:
    """What is around one event."""

    stanza_id: str
    """By which ID clients know the event itself, as a stanza."""
    about: Event | None = None
    about_id: str = ""
    """By which ID they know the stanza of what it is about."""
    reactions: tuple[str, ...] = ()
    """All that the sender of a reaction, or of the removal of one, says to the message."""


def gather(conn: Connection, services: Services, found: Sequence[Event]) -> dict[EventNid, Around]:
    """Return what is around each of these events, in a constant number of queries."""
    events = services.history.events
    targets = {event.nid: target for event in found if (target := _target(event)) is not None}
    # The removal of a reaction is about the message that it was for.
    removed = chat_archive.removed(conn, [event.nid for event in found if event.type == REDACTION])
    targets |= {nid: EventID(parent) for nid, parent in removed.items()}
    loaded = events.by_ids(conn, set(targets.values()))
    ids = stanza_ids.of_events(conn, {event.nid for event in found} | {event.nid for event in loaded.values()})
    reacted = [event for event in found if event.type in (REACTION, REDACTION) and event.nid in targets]
    said = chat_archive.reactions(conn, {event.room for event in reacted}, {targets[event.nid] for event in reacted})
    around = {}
    for event in found:
        about = loaded.get(targets[event.nid]) if event.nid in targets else None
        if about is not None and about.room != event.room:
            about = None
        around[event.nid] = Around(
            ids.get(event.nid, event.event_id),
            about,
            ids.get(about.nid, about.event_id) if about is not None else "",
            tuple(key for key, _ in said.get((about.event_id, event.sender_nid), ())) if about is not None else (),
        )
    return around


def show(
    event: Event, around: Around, *, in_room: bool, link: Link, address: Callable[[Event], str | None],
    archived: bool = False,
) -> list[Element] | None:  # fmt: skip
    """Return what the stanza of an event holds, None if it is not shown. `address` says who sent an event."""
    if event.redacted_by is not None and event.type != REDACTION:
        # Its redaction tells of it; the archive has what is left.
        is_message = event.type in ("m.room.message", "m.room.encrypted", "m.sticker")
        return translate.tombstone(stamp(event.sent_at)) if archived and is_message else None
    shown = Shown(link, in_room, _reference(around, address), around.reactions)
    if event.type == REDACTION:
        return _redaction(event, around, shown, address)
    if _replaces(event) and (around.about is None or around.about.sender != event.sender):
        # https://spec.matrix.org/v1.19/client-server-api/#validity-of-replacement-events
        return None
    return translate.payload(event.type, event.content, shown)


def spoken_by_room(event: Event, around: Around) -> bool:
    """Return whether it is the room that tells of an event: a moderator took another's message away."""
    about = around.about
    return about is not None and takes_message(event, around) and about.sender != event.sender


def takes_message(event: Event, around: Around) -> bool:
    """Return whether an event takes a message away, and not a reaction to one."""
    return event.type == REDACTION and around.about is not None and event.redacts == around.about.event_id


def stamp(milliseconds: int) -> str:
    """Return a time as XMPP writes it: https://xmpp.org/extensions/xep-0082.html."""
    seconds, rest = divmod(max(milliseconds, 0), 1000)
    # Whatever servers claim, a date has four digits in its year.
    moment = _EPOCH + timedelta(seconds=min(seconds, _LAST_SECOND))
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + f".{rest:03}Z"


def _redaction(
    event: Event, around: Around, shown: Shown, address: Callable[[Event], str | None]
) -> list[Element] | None:
    about = around.about
    if about is None:
        return None
    if not takes_message(event, around):
        return translate.reactions(shown)
    if about.is_state or about.type == REACTION:
        return None
    moderator = address(event) if about.sender != event.sender else None
    reason = event.content.get("reason")
    return translate.retraction(shown, reason if isinstance(reason, str) else None, moderator)


def _reference(around: Around, address: Callable[[Event], str | None]) -> Reference | None:
    about = around.about
    if about is None:
        return None
    content: Mapping[str, object] = about.content
    body = translate.body_of(content) if about.type == "m.room.message" else None
    return Reference(about.event_id, around.about_id, address(about), body or None, about.sender)


def _replaces(event: Event) -> bool:
    relation = event.content.get("m.relates_to")
    return isinstance(relation, dict) and relation.get("rel_type") == "m.replace"


def _target(event: Event) -> EventID | None:
    """Return the event that an event is about."""
    if event.type == REDACTION:
        return event.redacts
    relation = event.content.get("m.relates_to")
    if not isinstance(relation, dict):
        return None
    if relation.get("rel_type") in ("m.replace", "m.annotation"):
        target = relation.get("event_id")
    else:
        answered = relation.get("m.in_reply_to")
        target = answered.get("event_id") if isinstance(answered, dict) else None
    return EventID(target) if isinstance(target, str) and len(target) <= 255 else None
