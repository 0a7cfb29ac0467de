"""What a room is: https://xmpp.org/extensions/xep-0045.html#disco-roominfo."""

from sqlalchemy import Connection

from federation.core.errors import InvalidIdentifier
from federation.core.events.content import Membership
from federation.core.xmpp import stanza as stanzas
from federation.core.xmpp.element import Element
from federation.core.xmpp.errors import StanzaCondition, StanzaError
from federation.core.xmpp.jid import Jid
from homeserver.model.profiles import DISPLAY_NAME
from homeserver.storage import memberships, rooms
from homeserver.xmpp import archive, room_facts
from homeserver.xmpp.addresses import Place
from homeserver.xmpp.chats import Chats
from homeserver.xmpp.disco import INFO, ITEMS, feature_elements, form
from homeserver.xmpp.hub import MUC
from homeserver.xmpp.nicks import Nicks, usual_nick
from homeserver.xmpp.occupancy import Occupancies
from homeserver.xmpp.occupants import OCCUPANT_ID
from homeserver.xmpp.pictures import Picture, Pictures
from homeserver.xmpp.room_facts import RoomFacts
from homeserver.xmpp.router import Handler, Key, Kind
from homeserver.xmpp.session import Session
from homeserver.xmpp.surroundings import STANZA_ID
from homeserver.xmpp.vcard import VCARD

STABLE_ID = "http://jabber.org/protocol/muc#stable_id"
SELF_PING = "http://jabber.org/protocol/muc#self-ping-optimization"
MODERATE = "urn:xmpp:message-moderate:1"
RETRACT = "urn:xmpp:message-retract:1"
OWN_NICK = "x-roomuser-item"
"""The node of a room that tells somebody their own nick: https://xmpp.org/extensions/xep-0045.html#reservednick."""


async def look(session: Session, iq: Element) -> tuple[RoomFacts, Membership | None]:
    """Return the room that an iq is sent to, as far as the user may know of it. Raises `StanzaError`."""
    chats = session.accounts.kept(Chats)
    to = Jid.parse(iq.attributes["to"]).bare

    def read(conn: Connection) -> tuple[RoomFacts, Membership | None] | None:
        room = chats.names.known(conn, to)
        facts = room_facts.load(conn, session.services, room) if room is not None else None
        if facts is None:
            return None
        standing = memberships.of_user_in(conn, facts.nid, session.who.user)
        membership = standing.membership if standing is not None else None
        # Who may not come in and was not invited is not told that there is a room.
        known = facts.view.is_open or membership not in (None, Membership.LEAVE, Membership.BAN)
        return (facts, membership) if known else None

    found = await session.services.db.read(read)
    if found is None:
        raise StanzaError(StanzaCondition.ITEM_NOT_FOUND, "There is no such room")
    return found


async def room_info(session: Session, iq: Element) -> Element:
    """Tell what a room is, or what the user is called in it. Raises `StanzaError`."""
    facts, membership = await look(session, iq)
    node = stanzas.payload_of(iq).get("node")
    if node == OWN_NICK:
        return await _own_nick(session, iq, facts, membership)
    if node is not None:
        raise StanzaError(StanzaCondition.ITEM_NOT_FOUND)
    identity = Element("identity", INFO, {"category": "conference", "type": "text", "name": facts.name or _name(facts)})
    published = await session.services.db.read(lambda conn: rooms.is_published(conn, facts.nid))
    query = Element("query", INFO, None, identity)
    query.add(*feature_elements(_features(facts, published)))
    picture = await session.accounts.kept(Pictures).soon(facts.avatar_url)
    query.add(form("http://jabber.org/protocol/muc#roominfo", _fields(facts, picture)))
    return stanzas.result(iq, query)


async def _own_nick(session: Session, iq: Element, facts: RoomFacts, membership: Membership | None) -> Element:
    """Tell by which nick the room knows the user, or is going to: it is reserved, since nicks are display names."""
    services, who = session.services, session.who
    hub = session.accounts.kept(Occupancies).of(session, Jid.parse(iq.attributes["to"]))
    if hub is not None:
        nick = hub.nicks.of(who.user_id)
    elif membership is Membership.JOIN:
        members = await services.room_state.joined_members(who, facts.room_id)
        nick = Nicks((member.user_id, member.display_name) for member in members).of(who.user_id)
    else:
        name = (await services.profiles.local(who.user_id)).get(DISPLAY_NAME)
        nick = usual_nick(name if isinstance(name, str) else None, who.user_id)
    identity = Element("identity", INFO, {"category": "conference", "type": "text", "name": nick})
    return stanzas.result(iq, Element("query", INFO, {"node": OWN_NICK}, identity))


def _name(facts: RoomFacts) -> str:
    return facts.view.canonical_alias or ""


def _features(facts: RoomFacts, published: bool) -> list[str]:
    return [
        INFO, ITEMS, MUC, STABLE_ID, SELF_PING, STANZA_ID, OCCUPANT_ID, *archive.ROOM_FEATURES, MODERATE, RETRACT,
        VCARD, "jabber:iq:register", "muc_persistent", "muc_nonanonymous", "muc_unsecured",
        "muc_membersonly" if facts.members_only else "muc_open",
        "muc_moderated" if facts.moderated else "muc_unmoderated",
        "muc_public" if published else "muc_hidden",
    ]  # fmt: skip


def _fields(facts: RoomFacts, picture: Picture | None) -> list[tuple[str, list[str]]]:
    levels = facts.levels
    may_invite = levels.invite <= levels.users_default
    may_change = levels.event_level("m.room.topic", is_state=True) <= levels.users_default
    shown = [("muc#roominfo_avatarhash", [picture.sha1])] if picture is not None else []
    return [
        ("muc#roomconfig_roomname", [facts.name or ""]),
        ("muc#roominfo_description", [facts.view.topic or ""]),
        ("muc#roominfo_subject", [facts.view.topic or ""]),
        ("muc#roominfo_occupants", [str(facts.view.room.joined)]),
        ("muc#roominfo_changesubject", ["1" if may_change else "0"]),
        ("muc#roomconfig_changesubject", ["1" if may_change else "0"]),
        ("muc#roomconfig_allowinvites", ["1" if may_invite else "0"]),
        ("muc#roomconfig_allowpm", ["none"]),
        *shown,
    ]


async def room_items(session: Session, iq: Element) -> Element:
    """Tell no occupants: there is presence for that."""
    await look(session, iq)
    return stanzas.result(iq, Element("query", ITEMS))


async def occupant_info(session: Session, iq: Element) -> Element:
    """Tell a session by its own nick what it may do in the room: nothing beyond what presence says."""
    hub = session.accounts.kept(Occupancies).of(session, Jid.parse(iq.attributes["to"]))
    if hub is None:
        raise StanzaError(StanzaCondition.NOT_ACCEPTABLE, "You are not in this room")
    return stanzas.result(iq, Element("query", INFO, None, *feature_elements([INFO])))


async def of_jid(session: Session, text: str) -> RoomFacts:
    """Return the room at a JID, for one who is in it. Raises `StanzaError`."""
    try:
        jid = Jid.parse(text)
    except InvalidIdentifier as error:
        raise StanzaError(StanzaCondition.JID_MALFORMED, str(error)) from error
    facts, membership = await look(session, Element("iq", "jabber:client", {"to": str(jid)}))
    if membership is not Membership.JOIN:
        raise StanzaError(StanzaCondition.FORBIDDEN, "You are not in this room")
    return facts


FEATURES: dict[Place, tuple[str, ...]] = {}
HANDLERS: dict[Key, Handler] = {
    (Place.ROOM, Kind.GET, INFO, "query"): room_info,
    (Place.ROOM, Kind.GET, ITEMS, "query"): room_items,
    (Place.OCCUPANT, Kind.GET, INFO, "query"): occupant_info,
}
