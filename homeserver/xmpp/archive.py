"""Message archives, of the account and of rooms: https://xmpp.org/extensions/xep-0313.html.

An archive is the rooms' own history, read as their members may read it; an ID in it is an event ID. The account's
archive is that of all chats with one person. Pages go by https://xmpp.org/extensions/xep-0059.html.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection

from federation.core.errors import InvalidIdentifier
from federation.core.ids import EventID, UserID
from federation.core.xmpp import stanza as stanzas
from federation.core.xmpp.element import Element
from federation.core.xmpp.errors import StanzaCondition, StanzaError
from federation.core.xmpp.jid import Jid
from homeserver.errors import Forbidden
from homeserver.model.events import Event
from homeserver.model.nids import EventNid, RoomNid, UserNid
from homeserver.storage import chat_archive
from homeserver.xmpp import direct, past
from homeserver.xmpp.addresses import Place
from homeserver.xmpp.chats import Chats
from homeserver.xmpp.deliveries import direct_stanza
from homeserver.xmpp.forms import FORMS, values_of
from homeserver.xmpp.hub import Hub
from homeserver.xmpp.nicks import usual_nick
from homeserver.xmpp.occupancy import Occupancies
from homeserver.xmpp.occupants import MUC_USER
from homeserver.xmpp.past import Span
from homeserver.xmpp.room_facts import load
from homeserver.xmpp.router import Handler, Key, Kind
from homeserver.xmpp.session import Session
from homeserver.xmpp.surroundings import STANZA_ID, Around, gather, stamp

MAM = "urn:xmpp:mam:2"
EXTENDED = "urn:xmpp:mam:2#extended"
RSM = "http://jabber.org/protocol/rsm"
FORWARD = "urn:xmpp:forward:0"
ROOM_FEATURES = (MAM, EXTENDED)
USUAL_PAGE = 50
LARGEST_PAGE = 100
_FIELDS = (
    ("FORM_TYPE", "hidden"), ("with", "jid-single"), ("start", "text-single"), ("end", "text-single"),
    ("before-id", "text-single"), ("after-id", "text-single"), ("ids", "list-multi"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Query:
    """What is asked of an archive."""

    queryid: str | None
    limit: int
    newest_first: bool
    """Whether the page before `before` is wanted, and of all pages the last."""
    before: str | None
    after: str | None
    with_: Jid | None
    since_ms: int | None
    before_ms: int | None
    ids: tuple[str, ...]
    flipped: bool
    counts_only: bool = False


async def fields(_session: Session, iq: Element) -> Element:
    """Tell by what one can ask."""
    made = Element("x", FORMS, {"type": "form"})
    for name, kind in _FIELDS:
        field = Element("field", FORMS, {"type": kind, "var": name})
        made.add(field.add(Element("value", FORMS, None, MAM)) if name == "FORM_TYPE" else field)
    return stanzas.result(iq, Element("query", MAM, None, made))


async def account(session: Session, iq: Element) -> Element:
    """Answer from the archive of the account: what was said in chats with one person."""
    chats = session.accounts.kept(Chats)
    await chats.ready()
    query = _parse(stanzas.payload_of(iq))
    services, who = session.services, session.who

    def read(conn: Connection) -> tuple[past.Page, dict[EventNid, Around], dict[RoomNid, UserID]]:
        rooms = direct.direct_rooms(conn, services, who.user)
        if query.with_ is not None:
            peer = chats.addresses.user(query.with_)
            rooms = {room: other for room, other in rooms.items() if other == peer}
        page = _page(conn, session, chats, query, list(rooms))
        return page, gather(conn, services, page.events), rooms

    page, around, rooms = await services.db.read(read)
    told = []
    for event in page.events:
        stanza = direct_stanza(
            chats, session.jid.bare, who.user_id, rooms[event.room], event, around[event.nid], archived=True
        )
        if stanza is not None:
            told.append((event, stanza))
    return _send(session, iq, query, page, told, None)


async def room(session: Session, iq: Element) -> Element:
    """Answer from the archive of a room, for those who may read it."""
    chats = session.accounts.kept(Chats)
    await chats.ready()
    to = Jid.parse(iq.attributes["to"])
    query = _parse(stanzas.payload_of(iq))
    occupancies = session.accounts.kept(Occupancies)
    services, who = session.services, session.who

    def read(conn: Connection) -> tuple[past.Page, dict[EventNid, Around], Hub]:
        nid = chats.names.known(conn, to)
        facts = load(conn, services, nid) if nid is not None else None
        if nid is None or facts is None:
            raise StanzaError(StanzaCondition.ITEM_NOT_FOUND, "There is no such room")
        try:
            reach = services.history.visibility.reach(conn, who.user, facts.room_id)
        except Forbidden as error:
            raise StanzaError(StanzaCondition.FORBIDDEN, error.message) from error
        hub = occupancies.of(session, to) or Hub(chats, to.bare, facts, 0)
        whose = _whose(session, hub, query.with_)
        sender = services.history.names.user(conn, whose) if whose is not None else None
        # Whoever is unknown has said nothing.
        rooms = [nid] if query.with_ is None or query.with_ == to or sender is not None else []
        page = _page(conn, session, chats, query, rooms, until=reach.until, sender=sender)
        around = gather(conn, services, page.events)
        _name_senders(conn, hub, page.events, around)
        return page, around, hub

    page, around, hub = await services.db.read(read)
    told = []
    for event in page.events:
        stanza = hub.message(event, around[event.nid])
        if stanza is not None:
            told.append((event, _with_address(stanza, session, event)))
    return _send(session, iq, query, page, told, to.bare)


def _whose(session: Session, hub: Hub, with_: Jid | None) -> UserID | None:
    """Return whose messages are wanted of a room's archive: https://xmpp.org/extensions/xep-0313.html#filter-jid."""
    if with_ is not None and with_.bare == hub.jid:
        return hub.nicks.user(with_.resource or "")
    return session.addresses.user(with_) if with_ is not None else None


def _with_address(stanza: Element, session: Session, event: Event) -> Element:
    """Return a message with who said it, whoever has the nick now.

    https://xmpp.org/extensions/xep-0313.html#business-storeret-muc-archives
    """
    if "/" not in (stanza.get("from") or ""):
        return stanza
    item = Element("item", MUC_USER, {"jid": str(session.addresses.of_user(event.sender))})
    return stanza.add(Element("x", MUC_USER, None, item))


def _name_senders(conn: Connection, hub: Hub, events: Sequence[Event], around: dict[EventNid, Around]) -> None:
    """Let those be called by their names who have left, or whom nobody has asked for."""
    if hub.occupants:
        return
    everybody = {event.sender_nid: event.sender for event in events}
    everybody |= {one.about.sender_nid: one.about.sender for one in around.values() if one.about is not None}
    names = chat_archive.display_names(conn, hub.room, list(everybody))
    for nid, user_id in everybody.items():
        if hub.nicks.user(usual_nick(names.get(nid), user_id)) is None:
            hub.nicks.give(user_id, names.get(nid))


async def metadata(session: Session, iq: Element) -> Element:
    """Tell the first and the last message of an archive: https://xmpp.org/extensions/xep-0313.html#metadata."""
    chats = session.accounts.kept(Chats)
    to = iq.get("to")
    address = Jid.parse(to) if to is not None else None

    def read(conn: Connection) -> list[Event]:
        until = None
        if session.place_of(iq) is Place.ACCOUNT or address is None:
            rooms = list(direct.direct_rooms(conn, session.services, session.who.user))
        else:
            nid = chats.names.known(conn, address)
            if nid is None:
                raise StanzaError(StanzaCondition.ITEM_NOT_FOUND, "There is no such room")
            room_id = session.services.history.names.room_id(conn, nid)
            try:
                until = session.services.history.visibility.reach(conn, session.who.user, room_id).until
            except Forbidden as error:
                raise StanzaError(StanzaCondition.FORBIDDEN, error.message) from error
            rooms = [nid]
        pages = [
            past.page(conn, session.services, session.who, rooms, Span(1, newest_first=newest, until=until))
            for newest in (False, True)
        ]
        return [event for page in pages for event in page.events]

    found = await session.services.db.read(read)
    answer = Element("metadata", MAM)
    for name, event in zip(("start", "end"), found, strict=False):
        answer.add(Element(name, MAM, {"id": event.event_id, "timestamp": stamp(event.sent_at)}))
    return stanzas.result(iq, answer)


def _page(
    conn: Connection, session: Session, chats: Chats, query: _Query, rooms: list[RoomNid], until: int | None = None,
    sender: UserNid | None = None,
) -> past.Page:  # fmt: skip
    events = session.services.history.events
    if query.ids:
        found = events.by_ids(conn, [EventID(each) for each in query.ids])
        wanted = [event for event in found.values() if event.room in rooms]
        if len(wanted) != len(set(query.ids)):
            raise StanzaError(StanzaCondition.ITEM_NOT_FOUND, "There is no such message")
        seen = session.services.history.visibility.seen(conn, session.who.user, session.who.user_id, wanted)
        return past.Page(sorted((each.event for each in seen), key=lambda event: event.at), True)
    span = Span(query.limit, query.newest_first, None, until, query.since_ms, query.before_ms, sender)
    for name, place in (("before", query.before), ("after", query.after)):
        if not place:
            continue
        event = chats.find(conn, rooms, place)
        if event is None or event.place is None:
            # https://xmpp.org/extensions/xep-0313.html#query-paging
            raise StanzaError(StanzaCondition.ITEM_NOT_FOUND, "There is no such message")
        if name == "after":
            span = replace(span, after=event.at)
        else:
            span = replace(span, until=min(event.at - 1, until) if until is not None else event.at - 1)
    return past.page(conn, session.services, session.who, rooms, span)


def _send(
    session: Session, iq: Element, query: _Query, page: past.Page, told: Sequence[tuple[Event, Element]],
    archive: Jid | None,
) -> Element:  # fmt: skip
    by = archive or session.jid.bare
    for event, stanza in reversed(told) if query.flipped else told:
        forwarded = Element("forwarded", FORWARD, None, past.delay(event, None), stanza)
        result = Element("result", MAM, {"queryid": query.queryid, "id": event.event_id}, forwarded)
        session.send(Element("message", "jabber:client", {"from": str(by)}, result))
    fin = Element("fin", MAM, {"complete": "true" if page.complete else None})
    rsm = Element("set", RSM)
    first, last = (page.events[0].event_id, page.events[-1].event_id) if page.events else (page.edge, page.edge)
    if first is not None and last is not None:
        # Without, some clients would ask for the same page again and again.
        rsm.add(Element("first", RSM, None, first), Element("last", RSM, None, last))
    return stanzas.result(iq, fin.add(rsm))


def _parse(query: Element) -> _Query:
    """Return what is asked. Raises `StanzaError` for what makes no sense."""
    values = values_of(query.find("x", FORMS))
    unknown = values.keys() - {name for name, _ in _FIELDS}
    if unknown:
        # https://xmpp.org/extensions/xep-0313.html#query-form: rather an error than another answer.
        raise StanzaError(StanzaCondition.FEATURE_NOT_IMPLEMENTED, f"unknown field: {min(unknown)}")
    one = {name: texts[0] for name, texts in values.items() if texts}
    rsm = query.find("set", RSM)
    limit, before, after, backwards = USUAL_PAGE, None, None, False
    if rsm is not None:
        wanted = rsm.text_of("max")
        if wanted is not None:
            if not wanted.isdecimal():
                raise StanzaError(StanzaCondition.BAD_REQUEST, "max: must be a number")
            limit = min(int(wanted[:9]), LARGEST_PAGE)
        after = rsm.text_of("after")
        before = rsm.text_of("before")
        backwards = before is not None
    try:
        with_ = Jid.parse(one["with"]) if "with" in one else None
    except InvalidIdentifier as error:
        raise StanzaError(StanzaCondition.JID_MALFORMED, str(error)) from error
    return _Query(
        query.get("queryid"), limit, backwards, before or one.get("before-id"), after or one.get("after-id"), with_,
        _moment(one.get("start")), _moment(one.get("end")), tuple(values.get("ids", ()))[:LARGEST_PAGE],
        query.find("flip-page") is not None,
    )  # fmt: skip


def _moment(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)
    except (ValueError, OverflowError) as error:
        raise StanzaError(StanzaCondition.BAD_REQUEST, "expected a time as XEP-0082 writes it") from error


FEATURES: dict[Place, tuple[str, ...]] = {
    # Profanity looks for it at the server's own address only.
    Place.SERVER: (MAM, EXTENDED),
    Place.ACCOUNT: (MAM, EXTENDED, STANZA_ID),
}
HANDLERS: dict[Key, Handler] = {
    (Place.ACCOUNT, Kind.GET, MAM, "query"): fields,
    (Place.ACCOUNT, Kind.SET, MAM, "query"): account,
    (Place.ACCOUNT, Kind.GET, MAM, "metadata"): metadata,
    (Place.ROOM, Kind.GET, MAM, "query"): fields,
    (Place.ROOM, Kind.SET, MAM, "query"): room,
    (Place.ROOM, Kind.GET, MAM, "metadata"): metadata,
}
