"""Changing one's password: https://xmpp.org/extensions/xep-0077.html#usecases-changepw. Nobody registers that way.

It is what Matrix clients do with `POST /account/password` when they say no more than the new password: the same rules
for it, the same end of the user's other sessions, whose clients would have to ask for it anyway.
"""

from federation.core.xmpp.element import Element
from federation.core.xmpp.errors import StanzaCondition, StanzaError
from federation.core.xmpp.stanza import payload_of, result
from homeserver.services.interactive_auth import Passed
from homeserver.xmpp.addresses import Place
from homeserver.xmpp.router import Handler, Key, Kind
from homeserver.xmpp.session import Session

REGISTER = "jabber:iq:register"
INSTRUCTIONS = "You have an account here. Send your user name and a new password to change your password."


async def get(session: Session, iq: Element) -> Element:
    """Tell a user that they are registered, and what to send to change their password."""
    query = Element("query", REGISTER, None, Element("registered", REGISTER))
    query.add(Element("instructions", REGISTER, None, INSTRUCTIONS))
    query.add(Element("username", REGISTER, None, session.jid.local or ""), Element("password", REGISTER))
    return result(iq, query)


async def put(session: Session, iq: Element) -> Element:
    """Change the user's password. Raises `StanzaError`, and what `Accounts.change_password` raises."""
    query = payload_of(iq)
    if query.find("remove") is not None:
        text = "Accounts are not ended by XMPP: deactivate it with a Matrix client, which asks for the password"
        raise StanzaError(StanzaCondition.NOT_ALLOWED, text)
    username, password = query.text_of("username"), query.text_of("password")
    if not username or not password:
        raise StanzaError(StanzaCondition.BAD_REQUEST, "expected a user name and a new password")
    if session.addresses.user_named(username) != session.who.user_id:
        raise StanzaError(StanzaCondition.NOT_ALLOWED, "This is not your user name")
    services, who = session.services, session.who
    services.limits.take("login", who.user_id)
    await services.accounts.change_password(who, password, Passed(None), log_others_out=True)
    return result(iq)


FEATURES: dict[Place, tuple[str, ...]] = {Place.SERVER: (REGISTER,)}
HANDLERS: dict[Key, Handler] = {
    (place, kind, REGISTER, "query"): handler
    for place in (Place.SERVER, Place.ACCOUNT)
    for kind, handler in ((Kind.GET, get), (Kind.SET, put))
}
