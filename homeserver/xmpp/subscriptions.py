"""Asking somebody to be a contact: https://www.rfc-editor.org/rfc/rfc6121#section-3.

In Matrix, those who share a room see each other's presence. So a contact is whom one has a direct chat with: to
subscribe begins one, and whoever joins it is seen, and sees, from then on.
"""

from sqlalchemy import Connection

from federation.core.ids import UserID
from federation.core.xmpp import namespaces
from federation.core.xmpp import stanza as stanzas
from federation.core.xmpp.element import Element
from federation.core.xmpp.errors import StanzaCondition, StanzaError
from federation.core.xmpp.jid import Jid
from federation.core.xmpp.stanza import PRESENCE
from homeserver.xmpp import direct, photos, presence, roster
from homeserver.xmpp.accounts import Account, News
from homeserver.xmpp.addresses import Place
from homeserver.xmpp.router import Kind
from homeserver.xmpp.session import Session

DIRECTED = (None, "unavailable")


async def to_user(session: Session, stanza: Element) -> None:
    """Take presence that is sent to a user: a wish to be contacts, or what they alone are to know."""
    kind, to = stanza.get("type"), Jid.parse(stanza.attributes["to"])
    peer = session.addresses.user(to)
    if peer is None:
        raise StanzaError(StanzaCondition.ITEM_NOT_FOUND)
    if kind in DIRECTED:
        stanza, account = photos.directed(session, stanza), session.accounts.at(to)
        for theirs in account.available() if account is not None else ():
            if to.is_bare or theirs.jid == to:
                theirs.send(stanza.with_attributes(to=str(theirs.jid)))
    elif kind == "subscribe" and to.is_bare:
        await _subscribe(session, to, peer)
    elif kind == "subscribed":
        # Whoever has a direct chat with somebody is seen by them; there is nothing left to allow.
        return
    elif kind != "error":
        text = "a direct chat is left, or taken out of the roster, to see nothing of somebody any more"
        raise StanzaError(StanzaCondition.FEATURE_NOT_IMPLEMENTED, text)


async def news(account: Account, told: News) -> None:
    """Tell of new and former contacts, and who of the new ones is there."""
    for jid in await roster.look(account, told):
        for own in account.available():
            await _tell_accepted(own, jid)


async def _tell_accepted(session: Session, jid: Jid) -> None:
    if await presence.introduce(session, jid):
        session.send(stanzas.presence(session.jid.bare, from_=jid, type_="subscribed"))


async def _subscribe(session: Session, jid: Jid, peer: UserID) -> None:
    services, who = session.services, session.who

    def known(conn: Connection) -> bool:
        return direct.current(conn, services, who.user, who.user_id, peer) is not None

    if not await services.db.read(known):
        services.limits.take("joins", who.user_id)
        await direct.begin(services, who, peer)
    await services.rosters.show(who, str(jid))
    await roster.push_changes(session.account, session)
    for own in session.account.available():
        await _tell_accepted(own, jid)


FEATURES: dict[Place, tuple[str, ...]] = {}
HANDLERS = {(place, Kind.PRESENCE, namespaces.CLIENT, PRESENCE): to_user for place in (Place.USER, Place.SESSION)}
