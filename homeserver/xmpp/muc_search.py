"""Looking for rooms: the public list, page by page, and by what stands in names and topics.

Sources: https://xmpp.org/extensions/xep-0045.html#disco-rooms, https://xmpp.org/extensions/xep-0055.html, and for pages
https://xmpp.org/extensions/xep-0059.html
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from federation.core.ids import RoomID
from federation.core.xmpp import stanza as stanzas
from federation.core.xmpp.element import Element
from federation.core.xmpp.errors import StanzaCondition, StanzaError
from federation.core.xmpp.jid import Jid
from homeserver.errors import InvalidParam
from homeserver.model.nids import RoomNid
from homeserver.services.public_rooms import FIRST, LAST, Filter, after, before
from homeserver.xmpp.addresses import Place
from homeserver.xmpp.chats import Chats
from homeserver.xmpp.disco import ITEMS
from homeserver.xmpp.forms import FORMS, begun
from homeserver.xmpp.router import Handler, Key, Kind
from homeserver.xmpp.session import Session

SEARCH = "jabber:iq:search"
RSM = "http://jabber.org/protocol/rsm"
MOST_LISTED = 100
LONGEST_TERM = 200
TERM = "search"
_NO_SPACES = (None,)
_COLUMNS = (("name", "Name"), ("jid", "Address"), ("description", "Topic"), ("occupants", "Members"))


@dataclass(frozen=True, slots=True)
class _Found:
    """A room of the public list."""

    room: RoomNid
    jid: Jid
    told: Mapping[str, Any]

    @property
    def name(self) -> str | None:
        """What the room is called."""
        return self.told.get("name") or self.told.get("canonical_alias")


async def rooms_items(session: Session, iq: Element) -> Element:
    """Tell which rooms there are for everybody. Raises `StanzaError`."""
    query = stanzas.payload_of(iq)
    found, rsm = await _page(session, "", query.find("set", RSM))
    answer = Element("query", ITEMS)
    answer.add(*(Element("item", ITEMS, {"jid": str(one.jid), "name": one.name}) for one in found))
    return stanzas.result(iq, answer.add(rsm))


async def form(_session: Session, iq: Element) -> Element:
    """Tell by what one can search."""
    made = begun("form", SEARCH)
    made.add(Element("field", FORMS, {"var": TERM, "type": "text-single", "label": "In names, addresses and topics"}))
    query = Element("query", SEARCH, None, Element("instructions", SEARCH, None, "Say what to look for."), made)
    return stanzas.result(iq, query)


async def search(session: Session, iq: Element) -> Element:
    """Tell which rooms have a text in their name, alias or topic. Raises `StanzaError`."""
    query = stanzas.payload_of(iq)
    asked = query.find("x", FORMS)
    fields = asked.find_all("field") if asked is not None else ()
    terms = [field.text_of("value") or "" for field in fields if field.get("var") == TERM]
    if asked is None or asked.get("type") != "submit" or len(terms) != 1:
        raise StanzaError(StanzaCondition.BAD_REQUEST, "expected the form, filled in")
    found, rsm = await _page(session, terms[0].strip()[:LONGEST_TERM], query.find("set", RSM))
    made = begun("result", SEARCH)
    reported = Element("reported", FORMS)
    for name, label in _COLUMNS:
        kind = "jid-single" if name == "jid" else "text-single"
        reported.add(Element("field", FORMS, {"var": name, "type": kind, "label": label}))
    made.add(reported)
    for one in found:
        joined = str(one.told.get("num_joined_members", 0))
        values = (one.name or "", str(one.jid), one.told.get("topic") or "", joined)
        item = Element("item", FORMS)
        for (name, _), value in zip(_COLUMNS, values, strict=True):
            item.add(Element("field", FORMS, {"var": name}, Element("value", FORMS, None, value)))
        made.add(item)
    return stanzas.result(iq, Element("query", SEARCH, None, made, rsm))


async def _page(session: Session, term: str, rsm: Element | None) -> tuple[list[_Found], Element]:
    """Return a page of the public list, and what tells where in the list it is."""
    chats, services = session.accounts.kept(Chats), session.services
    most, since = _span(rsm)
    # Nobody talks in a space.
    try:
        listed = await services.public_rooms.page(Filter(term, _NO_SPACES), limit=max(most, 1), since=since)
    except InvalidParam as error:
        # https://xmpp.org/extensions/xep-0059.html#notfound
        raise StanzaError(StanzaCondition.ITEM_NOT_FOUND, "There is no such place in the list") from error
    rooms = {RoomID(room["room_id"]): room for room in listed["chunk"]} if most else {}

    def read(conn: Connection) -> Mapping[RoomID, RoomNid]:
        return services.history.names.room_nids(conn, rooms)

    nids = await services.db.read(read)
    jids = await chats.names.of_rooms(nids.values())
    found = [
        _Found(nids[room_id], jids[nids[room_id]], told)
        for room_id, told in rooms.items()
        if room_id in nids and nids[room_id] in jids
    ]
    told_of = Element("set", RSM)
    if found:
        first, last = (after(one.told["num_joined_members"], one.room) for one in (found[0], found[-1]))
        told_of.add(Element("first", RSM, None, first), Element("last", RSM, None, last))
    return found, told_of.add(Element("count", RSM, None, str(listed["total_room_count_estimate"])))


def _span(rsm: Element | None) -> tuple[int, str | None]:
    """Return how many rooms are wanted, and from where on. Raises `StanzaError`."""
    if rsm is None:
        return MOST_LISTED, None
    wanted, edge, back = rsm.text_of("max"), rsm.text_of("after"), rsm.text_of("before")
    if wanted is not None and not wanted.isdecimal():
        raise StanzaError(StanzaCondition.BAD_REQUEST, "max: must be a number")
    most = min(int(wanted[:9]), MOST_LISTED) if wanted is not None else MOST_LISTED
    if back is not None:
        return most, before(back) if back else LAST
    return most, edge or FIRST


FEATURES: dict[Place, tuple[str, ...]] = {Place.ROOMS: (SEARCH, RSM)}
HANDLERS: dict[Key, Handler] = {
    (Place.ROOMS, Kind.GET, ITEMS, "query"): rooms_items,
    (Place.ROOMS, Kind.GET, SEARCH, "query"): form,
    (Place.ROOMS, Kind.SET, SEARCH, "query"): search,
}
