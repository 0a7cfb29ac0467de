"""What must be known around events to show them: what they are about, by which IDs clients know that."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Connection

from federation.core.ids import EventID
from federation.core.xmpp.element import Element
from federation.core.xmpp.jid import Jid
from homeserver.model.events import Event
from homeserver.model.nids import EventNid, UserNid
from homeserver.services import Services
from homeserver.storage import aggregations, chat_archive, stanza_ids
from homeserver.xmpp import translate
from homeserver.xmpp.translate import Reference, Shown

log = structlog.get_logger()

REDACTION, REACTION = "m.room.redaction", "m.reaction"
SAID = (
    "m.room.message", "m.room.encrypted", "m.sticker", "m.poll.start", "org.matrix.msc3381.poll.start", "m.call.invite",
)  # fmt: skip
"""The types of events that say something."""
KINDS = (*SAID, REACTION, REDACTION)
"""The types of events that are shown as messages."""
STANZA_ID = "urn:xmpp:sid:0"
_MESSAGES = ("m.room.message", "m.room.encrypted", "m.sticker")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_SECOND = 253_402_300_799


LinkOf = Callable[[str, str | None, Event], str | None]
"""Returns the URL of a file for those who see an event: with the event, the URL is gone."""


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
    redaction: Event | None = None
    """What took the event away."""
    redaction_id: str = ""
    undone: Event | None = None
    """The reaction or the edit that a redaction takes away."""
    standing: Mapping[str, Any] | None = None
    """What the message says now of which an edit was taken away."""

    def speaker(self, event: Event) -> Event:
        """Return the event by whose sender it is that there is something to tell."""
        return self.undone or event


def gather(conn: Connection, services: Services, found: Sequence[Event]) -> dict[EventNid, Around]:
    """Return what is around each of these events, in a constant number of queries."""
    events = services.history.events
    targets = {event.nid: target for event in found if (target := _target(event)) is not None}
    # The removal of a reaction or an edit is about the message that it was for.
    removed = chat_archive.removed(conn, [event.nid for event in found if event.type == REDACTION])
    taken = {nid: targets[nid] for nid in removed if nid in targets}
    undone = events.by_ids(conn, set(taken.values()))
    undone_by = {nid: undone[target] for nid, target in taken.items() if target in undone}
    targets |= {nid: EventID(parent) for nid, parent in removed.items()}
    loaded = events.by_ids(conn, set(targets.values()))
    # What is said of an edit is said of the message; only an edit of an edit counts for nothing.
    edits = {event.event_id: first for event in loaded.values() if (first := replaced(event)) is not None}
    firsts = events.by_ids(conn, set(edits.values()))
    redactions = events.by_nids(conn, {event.redacted_by for event in found if event.redacted_by is not None})
    known = {event.nid for event in (*found, *loaded.values(), *firsts.values(), *redactions.values())}
    ids = stanza_ids.of_events(conn, known)
    reacted = [event for event in found if event.type in (REACTION, REDACTION) and event.nid in targets]
    parents = {targets[event.nid] for event in reacted}
    said = chat_archive.reactions(
        conn, {event.room for event in reacted}, parents | {edits[each] for each in parents if each in edits}
    )
    edited = [loaded[targets[nid]] for nid, one in undone_by.items() if one.type != REACTION and targets[nid] in loaded]
    standing = _standing(conn, services, edited) if edited else {}
    around = {}
    for event in found:
        target = targets.get(event.nid)
        about = loaded.get(target) if target is not None else None
        sender = undone_by.get(event.nid, event).sender_nid
        keys = _keys(said, about, sender)
        if about is not None and about.event_id in edits and event.type != REDACTION and replaced(event) is None:
            about = firsts.get(edits[about.event_id])
            keys = tuple(dict.fromkeys(keys + _keys(said, about, sender)))
        if about is not None and about.room != event.room:
            about, keys = None, ()
        redaction = redactions.get(event.redacted_by) if event.redacted_by is not None else None
        around[event.nid] = Around(
            ids.get(event.nid, event.event_id),
            about,
            ids.get(about.nid, about.event_id) if about is not None else "",
            keys,
            redaction,
            ids.get(redaction.nid, redaction.event_id) if redaction is not None else "",
            undone_by.get(event.nid),
            standing.get(about.event_id) if about is not None else None,
        )
    return around


def _standing(conn: Connection, services: Services, edited: Collection[Event]) -> dict[EventID, Mapping[str, Any]]:
    """Return what messages say now, by the last of the edits that are left."""
    children = aggregations.children(conn, [(event.room, event.event_id) for event in edited], [])
    edits = services.history.events.by_nids(conn, [child.event for child in children if child.kind == "m.replace"])
    found = {event.event_id: event.content for event in edited}
    firsts = {event.event_id: event for event in edited}
    # The most recent comes first, so it is the last one to be put here.
    for child in reversed(children):
        edit, first = edits.get(child.event), firsts[EventID(child.parent)]
        new = edit.content.get("m.new_content") if edit is not None and _may_replace(first, edit) else None
        if isinstance(new, dict):
            found[first.event_id] = new
    return found


def _keys(
    said: Mapping[tuple[str, UserNid], Sequence[tuple[str, EventNid]]], about: Event | None, sender: UserNid
) -> tuple[str, ...]:
    return tuple(key for key, _ in said.get((about.event_id, sender), ())) if about is not None else ()


def known_by(by: Jid, event_id: EventID) -> Element:
    """Return by which ID a room or an account knows an event: https://xmpp.org/extensions/xep-0359.html#stanza-id."""
    return Element("stanza-id", STANZA_ID, {"by": str(by), "id": event_id})


def ids_of_sender(event: Event, around: Around) -> list[Element]:
    """Return what its sender's client calls an event, by which it knows it again: in the `id` alone, not all look.

    Source: https://xmpp.org/extensions/xep-0359.html#origin-id
    """
    if around.stanza_id == event.event_id:
        return []
    return [Element("origin-id", STANZA_ID, {"id": around.stanza_id})]


def show(
    event: Event, around: Around, *, in_room: bool, link: LinkOf, address: Callable[[Event], str | None],
    archived: bool = False, quoting: bool = True,
) -> list[Element] | None:  # fmt: skip
    """Return what the stanza of an event holds, None if it is not shown. `address` says who sent an event.

    With `quoting`, an answer quotes what it answers, for clients that know no answers.
    """
    try:
        return _parts(event, around, in_room, link, address, archived, quoting)
    except Exception:
        # One event that nobody has foreseen must not close a room's history, or keep the next ones from being told.
        log.exception("xmpp_event_not_shown", event_id=event.event_id)
        return None


def _parts(
    event: Event, around: Around, in_room: bool, link: LinkOf, address: Callable[[Event], str | None], archived: bool,
    quoting: bool,
) -> list[Element] | None:  # fmt: skip
    if event.redacted_by is not None and event.type != REDACTION:
        # Its redaction tells of it; the archive has what is left.
        return _tombstone(event, around, address) if archived and event.type in _MESSAGES else None
    about = around.about
    is_edit = replaced(event) is not None
    # A file goes with the message, whichever version of it has it.
    holder = about if is_edit and about is not None else event
    shown = Shown(
        lambda mxc, name: link(mxc, name, holder), in_room, _reference(around, address, quoting), around.reactions,
        None if is_edit else event.thread_root,
    )  # fmt: skip
    if event.type == REDACTION:
        return _redaction(event, around, shown, address)
    if is_edit and (about is None or not _may_replace(about, event)):
        return None
    return translate.payload(event.type, event.content, shown)


def _may_replace(first: Event, edit: Event) -> bool:
    """Return whether an edit counts: https://spec.matrix.org/v1.19/client-server-api/#validity-of-replacement-events.

    What was taken away stays away in all its versions.
    """
    return (
        first.sender == edit.sender
        and first.type == edit.type
        and first.redacted_by is None
        and replaced(first) is None
        and not first.is_state
    )


def _tombstone(event: Event, around: Around, address: Callable[[Event], str | None]) -> list[Element]:
    redaction = around.redaction
    if redaction is None:
        return translate.tombstone(stamp(event.sent_at), None, None)
    moderator = address(redaction) if redaction.sender != event.sender else None
    reason = _reason(redaction)
    return translate.tombstone(stamp(redaction.sent_at), around.redaction_id, reason, moderator)


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
    undone = around.undone
    if undone is not None and undone.type != REACTION:
        if around.standing is None or about.redacted_by is not None or undone.sender != about.sender:
            return None
        relation = {"rel_type": "m.replace"}
        return translate.payload(about.type, {"m.new_content": around.standing, "m.relates_to": relation}, shown)
    if not takes_message(event, around):
        return translate.reactions(shown)
    if about.is_state or about.type == REACTION:
        return None
    moderator = address(event) if about.sender != event.sender else None
    return translate.retraction(shown, _reason(event), moderator)


def _reason(redaction: Event) -> str | None:
    reason = redaction.content.get("reason")
    return reason if isinstance(reason, str) and reason else None


def _reference(around: Around, address: Callable[[Event], str | None], quoting: bool) -> Reference | None:
    about = around.about
    if about is None:
        return None
    content: Mapping[str, object] = about.content
    body = translate.body_of(content) if quoting and about.type == "m.room.message" else None
    return Reference(about.event_id, around.about_id, address(about), body or None, about.sender)


def replaced(event: Event) -> EventID | None:
    """Return the message of which an event is another version."""
    relation = event.content.get("m.relates_to")
    if not isinstance(relation, dict) or relation.get("rel_type") != "m.replace":
        return None
    return _id(relation.get("event_id"))


def _target(event: Event) -> EventID | None:
    """Return the event that an event is about."""
    if event.type == REDACTION:
        return event.redacts
    relation = event.content.get("m.relates_to")
    if not isinstance(relation, dict):
        return None
    if relation.get("rel_type") in ("m.replace", "m.annotation"):
        return _id(relation.get("event_id"))
    answered = relation.get("m.in_reply_to")
    target = _id(answered.get("event_id")) if isinstance(answered, dict) else None
    # Most clients know no threads: what is said in one is an answer to what began it, at least.
    return target or (_id(relation.get("event_id")) if relation.get("rel_type") == "m.thread" else None)


def _id(value: object) -> EventID | None:
    return EventID(value) if isinstance(value, str) and len(value) <= 255 else None
