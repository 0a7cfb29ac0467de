"""Asking to be let into a room, which Matrix calls knocking: https://xmpp.org/extensions/xep-0045.html#register.

Those who may invite are shown who asks, with a form by which they answer, and answer whoever asked by Matrix as well.
"""

from sqlalchemy import Connection

from federation.core.errors import InvalidIdentifier
from federation.core.events.content import Membership
from federation.core.ids import UserID
from federation.core.xmpp import stanza as stanzas
from federation.core.xmpp.element import Element
from federation.core.xmpp.errors import StanzaCondition, StanzaError
from federation.core.xmpp.jid import Jid
from homeserver.storage import memberships
from homeserver.xmpp import invites
from homeserver.xmpp.addresses import Place
from homeserver.xmpp.chats import Chats
from homeserver.xmpp.forms import FORMS, values_of
from homeserver.xmpp.knocks import ALLOW, FORM, REASON, WHO, registration_form
from homeserver.xmpp.muc_disco import look, of_jid
from homeserver.xmpp.nicks import Nicks
from homeserver.xmpp.room_facts import RoomFacts
from homeserver.xmpp.router import Handler, Key, Kind
from homeserver.xmpp.session import Session

REGISTER = "jabber:iq:register"
LONGEST_REASON = 1000
_YES = ("1", "true")


async def registration(session: Session, iq: Element) -> Element:
    """Tell a member by which nick they are registered, and others how to ask. Raises `StanzaError`."""
    facts, membership = await look(session, iq)
    query = Element("query", REGISTER)
    if membership is Membership.JOIN:
        members = await session.services.room_state.joined_members(session.who, facts.room_id)
        nick = Nicks((member.user_id, member.display_name) for member in members).of(session.who.user_id) or ""
        query.add(Element("registered", REGISTER), Element("username", REGISTER, None, nick))
        return stanzas.result(iq, query)
    _check_knockable(facts)
    query.add(Element("instructions", REGISTER, None, "Ask to be let in."))
    query.add(registration_form("form", [(REASON, "text-multi", "Why you want to come in", "")]))
    return stanzas.result(iq, query)


async def register(session: Session, iq: Element) -> Element:
    """Ask to be let in, or leave a room for good. Raises `StanzaError` and what services raise."""
    query = stanzas.payload_of(iq)
    if query.find("remove") is not None:
        room_id = await invites.room_at(session.accounts.kept(Chats), iq.attributes["to"])
        await session.services.memberships.leave(session.who, room_id)
        return stanzas.result(iq)
    facts, membership = await look(session, iq)
    if membership is not Membership.JOIN:
        _check_knockable(facts)
        reason = "\n".join(values_of(query.find("x", FORMS)).get(REASON, ()))[:LONGEST_REASON]
        await session.services.memberships.knock(session.who, facts.room_id, reason or None)
    return stanzas.result(iq)


def _check_knockable(facts: RoomFacts) -> None:
    if not facts.view.is_knockable:
        raise StanzaError(StanzaCondition.NOT_ALLOWED, "One enters this room, or is invited to it")


async def receive_answer(session: Session, stanza: Element) -> bool:
    """Let somebody in who has asked, or turn them away, if that is what a message to a room is; return whether it was.

    Raises `StanzaError` and what services raise.
    """
    form = stanza.find("x", FORMS)
    values = values_of(form)
    if form is None or form.get("type") != "submit" or values.get("FORM_TYPE") != [FORM]:
        return False
    facts = await of_jid(session, stanza.attributes["to"])
    user_id = _user(session, next(iter(values.get(WHO, ())), ""))

    def read(conn: Connection) -> Membership | None:
        user = session.services.history.names.user(conn, user_id)
        standing = memberships.of_user_in(conn, facts.nid, user) if user is not None else None
        return standing.membership if standing is not None else None

    if await session.services.db.read(read) is not Membership.KNOCK:
        raise StanzaError(StanzaCondition.ITEM_NOT_FOUND, "This person does not ask to be let in")
    if next(iter(values.get(ALLOW, ())), "") in _YES:
        await session.services.memberships.invite(session.who, facts.room_id, user_id)
    else:
        await session.services.memberships.kick(session.who, facts.room_id, user_id)
    return True


def _user(session: Session, jid: str) -> UserID:
    try:
        user_id = session.addresses.user(Jid.parse(jid))
    except InvalidIdentifier as error:
        raise StanzaError(StanzaCondition.JID_MALFORMED, str(error)) from error
    if user_id is None:
        raise StanzaError(StanzaCondition.ITEM_NOT_FOUND, "There is no such user")
    return user_id


FEATURES: dict[Place, tuple[str, ...]] = {}
HANDLERS: dict[Key, Handler] = {
    (Place.ROOM, Kind.GET, REGISTER, "query"): registration,
    (Place.ROOM, Kind.SET, REGISTER, "query"): register,
}
