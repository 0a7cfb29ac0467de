"""Bookmarks: the rooms that a user is in, behind three faces.

https://xmpp.org/extensions/xep-0402.html (with `#compat`), https://xmpp.org/extensions/xep-0048.html, and that again in
https://xmpp.org/extensions/xep-0049.html.

The list is the rooms that the user has joined, each to be entered at once; what a client says beyond that (not to enter
it, a nick, extensions) is kept in the user's account data of the room, and rooms that they are not in in that of the
account. To take a bookmark away is to leave the room. In the old faces a client sends its whole list, which may be an
old one: what is missing there is no longer entered at once, and not left.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import Connection

from federation.core.errors import InvalidIdentifier, ProtocolError
from federation.core.events.content import Membership
from federation.core.ids import RoomID
from federation.core.xmpp.element import Element, serialise
from federation.core.xmpp.errors import StanzaCondition, StanzaError
from federation.core.xmpp.jid import Jid
from federation.core.xmpp.xml import AFTER_LOGIN, parse_frame
from homeserver.errors import NotFound
from homeserver.model.nids import RoomNid
from homeserver.services.room_views import SPACE
from homeserver.storage import account_data, memberships
from homeserver.xmpp import direct
from homeserver.xmpp.accounts import Account, News
from homeserver.xmpp.chats import Chats
from homeserver.xmpp.eventing import EVENT, event, send
from homeserver.xmpp.interests import Interests
from homeserver.xmpp.session import Session
from homeserver.xmpp.successions import successors

NODE = "urn:xmpp:bookmarks:1"
LEGACY = "storage:bookmarks"
FEATURES = (f"{NODE}#compat", f"{NODE}#compat-pep", "urn:xmpp:bookmarks-conversion:0")
DATA = "org.isthmus.xmpp.bookmark"
"""What a client says of a room that the user is in, in the account data of that room."""
OTHERS = "org.isthmus.xmpp.bookmarks"
"""The bookmarks of rooms that the user is not in, by address, in the account data of the account."""
LARGEST = 8192
MOST_OTHERS = 200
_TRUE = ("1", "true")


@dataclass(frozen=True, slots=True)
class _Bookmark:
    jid: Jid
    conference: Element
    room_id: RoomID | None


@dataclass(slots=True)
class _Known:
    """The bookmarks that a session was told of, as XML by address."""

    told: dict[str, str] | None = field(default=None)


async def read(session: Session) -> Sequence[tuple[str, Element]]:
    """Return all bookmarks, by the addresses of their rooms."""
    found = await _all(session)
    session.kept(_Known).told = _written(found)
    return [(str(each.jid), each.conference) for each in found]


def _written(bookmarks: Sequence[_Bookmark]) -> dict[str, str]:
    return {str(each.jid): serialise(each.conference, "") for each in bookmarks}


async def publish(session: Session, name: str, conference: Element) -> None:
    """Set a bookmark. Raises `StanzaError`."""
    if (conference.name, conference.namespace) != ("conference", NODE):
        raise StanzaError(StanzaCondition.BAD_REQUEST, "expected a conference")
    if len(serialise(conference, "")) > LARGEST:
        raise StanzaError(StanzaCondition.NOT_ACCEPTABLE, "The bookmark is too large")
    jid = _address(name)
    room_id = await _joined(session, jid)
    services, who = session.services, session.who
    if room_id is not None:
        content = {"xml": serialise(conference, "")}
        await services.account_data.put_in_room(who, who.user_id, room_id, DATA, content)
    else:

        def add(others: dict[str, Any]) -> dict[str, Any]:
            others[str(jid)] = serialise(conference, "")
            if len(others) > MOST_OTHERS:
                raise StanzaError(StanzaCondition.NOT_ACCEPTABLE, "You have too many bookmarks")
            return others

        await services.account_data.change(who, OTHERS, add)


async def retract(session: Session, name: str) -> None:
    """Take a bookmark away, and leave the room. Raises `StanzaError` and what services raise."""
    jid = _address(name)
    listed = next((each.room_id for each in await _all(session) if each.jid == jid), None)
    room_id = listed or await _joined(session, jid)
    if room_id is not None:
        await session.services.memberships.leave(session.who, room_id)

    def remove(others: dict[str, Any]) -> dict[str, Any] | None:
        if others.pop(str(jid), None) is not None:
            return others
        if room_id is None:
            raise StanzaError(StanzaCondition.ITEM_NOT_FOUND)
        return None

    await session.services.account_data.change(session.who, OTHERS, remove)


async def read_legacy(session: Session) -> Sequence[tuple[str, Element]]:
    """Return all bookmarks as one item."""
    return [("current", await storage(session))]


async def storage(session: Session) -> Element:
    """Return all bookmarks as XEP-0048 writes them."""
    return _as_storage(await _all(session))


def _as_storage(bookmarks: Sequence[_Bookmark]) -> Element:
    found = Element("storage", LEGACY)
    for each in bookmarks:
        told = each.conference
        conference = Element(
            "conference", LEGACY, {"jid": str(each.jid), "name": told.get("name"), "autojoin": told.get("autojoin")}
        )
        nick = told.text_of("nick")
        found.add(conference.add(Element("nick", LEGACY, None, nick)) if nick else conference)
    return found


async def publish_legacy(session: Session, _name: str, told: Element) -> None:
    """Take a whole list of bookmarks. Raises `StanzaError`."""
    if (told.name, told.namespace) != ("storage", LEGACY):
        raise StanzaError(StanzaCondition.BAD_REQUEST, "expected a storage")
    now = {str(each.jid): each for each in await _all(session)}
    wanted: dict[str, Element] = {}
    for old in told.find_all("conference"):
        jid = str(_address(old.get("jid") or ""))
        conference = Element("conference", NODE, {"name": old.get("name"), "autojoin": old.get("autojoin")})
        nick = old.text_of("nick")
        wanted[jid] = conference.add(Element("nick", NODE, None, nick)) if nick else conference
        if jid in now:
            # What this face cannot say stays as it is.
            wanted[jid].add(*now[jid].conference.find_all("extensions"))
    for jid, conference in wanted.items():
        if jid not in now or serialise(now[jid].conference, "") != serialise(conference, ""):
            await publish(session, jid, conference)
    for jid, each in now.items():
        if jid in wanted:
            continue
        if each.room_id is None:
            await retract(session, jid)
        elif each.conference.get("autojoin") in _TRUE:
            await publish(session, jid, each.conference.with_attributes(autojoin="false"))


async def retract_legacy(_session: Session, _name: str) -> None:
    """Refuse to take all bookmarks away at once. Raises `StanzaError`."""
    raise StanzaError(StanzaCondition.NOT_ALLOWED, "Take the bookmarks away one by one")


async def news(account: Account, news: News) -> None:
    """Tell of rooms that the user has joined or left, wherever they did."""
    if news.personal:
        await tell(account)


async def tell(account: Account) -> None:
    """Tell what has changed of the list since the user's sessions were told of it."""
    interested = [one for one in account.available() if {NODE, LEGACY} & one.kept(Interests).nodes]
    if not interested:
        return
    found = await _all(interested[0])
    now = _written(found)
    for session in interested:
        known = session.kept(_Known)
        before, known.told = known.told, now
        if before is None:
            continue
        changed = [each for each in found if before.get(str(each.jid)) != now[str(each.jid)]]
        for each in changed:
            item = Element("item", EVENT, {"id": str(each.jid)}, each.conference)
            send([session], NODE, event(NODE, [item]), account.jid)
        gone = before.keys() - now.keys()
        for jid in gone:
            send([session], NODE, event(NODE, [Element("retract", EVENT, {"id": jid})]), account.jid)
        if (changed or gone) and LEGACY in session.kept(Interests).nodes:
            whole = Element("item", EVENT, {"id": "current"}, _as_storage(found))
            send([session], LEGACY, event(LEGACY, [whole]), account.jid)


async def _all(session: Session) -> list[_Bookmark]:
    chats = session.accounts.kept(Chats)
    services, user = session.services, session.who.user

    def load(
        conn: Connection,
    ) -> tuple[dict[RoomNid, tuple[RoomID, str | None]], dict[RoomNid, bytes], dict[RoomNid, RoomNid]]:
        chats_of_two = direct.direct_rooms(conn, services, user)
        joined = set(memberships.joined_rooms(conn, user))
        views = services.summaries.views.load(conn, joined - chats_of_two.keys())
        moved = successors(conn, services, views)
        # A room that goes on elsewhere is listed where it does: once, though the user may be in both.
        named = {
            room: (view.room.room_id, view.text("m.room.name", "name") or view.canonical_alias)
            for room, view in views.items()
            if view.room_type != SPACE and moved.get(room) not in joined
        }
        return (
            named,
            account_data.find_in_rooms(conn, user, DATA),
            {room: moved[room] for room in named if room in moved},
        )

    rooms, said, moved = await services.db.read(load)
    jids = await chats.names.of_rooms({*rooms, *moved.values()})
    found = []
    for room, jid in ((room, jids.get(moved.get(room, room))) for room in rooms):
        if jid is None:
            continue
        room_id, name = rooms[room]
        conference = _parsed(orjson.loads(said[room]).get("xml")) if room in said else None
        if conference is None:
            conference = Element("conference", NODE, {"autojoin": "true"})
        found.append(_Bookmark(jid, conference.with_attributes(name=name or conference.get("name")), room_id))
    taken = {str(each.jid) for each in found}
    for address, xml in (await _others(session)).items():
        conference = _parsed(xml)
        if conference is not None and address not in taken:
            found.append(_Bookmark(_address(address), conference, None))
    return found


def _parsed(xml: object) -> Element | None:
    try:
        element = parse_frame(xml.encode(), AFTER_LOGIN) if isinstance(xml, str) else None
    except (ProtocolError, UnicodeEncodeError):
        return None
    return element if element is not None and element.name == "conference" else None


async def _others(session: Session) -> dict[str, Any]:
    try:
        content = orjson.loads(await session.services.account_data.get(session.who, session.who.user_id, OTHERS))
    except NotFound:
        return {}
    return dict(content)


async def _joined(session: Session, jid: Jid) -> RoomID | None:
    """Return the room at an address if the user is in it."""
    chats = session.accounts.kept(Chats)

    def load(conn: Connection) -> RoomID | None:
        room = chats.names.known(conn, jid)
        standing = memberships.of_user_in(conn, room, session.who.user) if room is not None else None
        if room is None or standing is None or standing.membership is not Membership.JOIN:
            return None
        return session.services.history.names.room_id(conn, room)

    return await session.services.db.read(load)


def _address(text: str) -> Jid:
    try:
        return Jid.parse(text).bare
    except InvalidIdentifier as error:
        raise StanzaError(StanzaCondition.BAD_REQUEST, f"the ID of a bookmark is a room's address: {error}") from error
