"""Asking somebody to be a contact: https://www.rfc-editor.org/rfc/rfc6121#section-3.

In Matrix, those who share a room see each other's presence. So a contact is whom one has a direct chat with: to
subscribe begins one, and whoever joins it is seen, and sees, from then on. To take that back leaves no chat: it ends
what XMPP clients are told, and Matrix clients of the other go on to see what they see of everybody in their rooms.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from federation.core.ids import UserID
from federation.core.xmpp import namespaces
from federation.core.xmpp import stanza as stanzas
from federation.core.xmpp.element import Element
from federation.core.xmpp.errors import StanzaCondition, StanzaError
from federation.core.xmpp.jid import Jid
from federation.core.xmpp.stanza import PRESENCE
from homeserver.model.rosters import RosterItem
from homeserver.xmpp import direct, presence, pubsub, roster
from homeserver.xmpp.accounts import Account, News
from homeserver.xmpp.addresses import Place
from homeserver.xmpp.router import Handler, Key, Kind
from homeserver.xmpp.session import Session

DIRECTED = (None, "unavailable")
_WAYS = {"both": frozenset(("to", "from")), "to": frozenset(("to",)), "from": frozenset(("from",))}


@dataclass(frozen=True, slots=True)
class _Between:
    """Whom of two users the other one sees: "to" is that one sees the other, "from" that they are seen."""

    mine: frozenset[str]
    theirs: frozenset[str]
    """As far as they have a session."""


async def to_user(session: Session, stanza: Element) -> None:
    """Take presence that is sent to a user: a wish to be contacts, or what they alone are to know."""
    kind, to = stanza.get("type"), Jid.parse(stanza.attributes["to"])
    peer = session.addresses.user(to)
    if peer is None:
        raise StanzaError(StanzaCondition.ITEM_NOT_FOUND)
    if kind in DIRECTED:
        presence.direct(session, to, stanza, await _hearing(session, to))
    elif not to.is_bare or kind == "error":
        return
    elif kind == "subscribe":
        await _subscribe(session, to, peer)
    elif kind == "unsubscribe":
        await _choose(session, to, peer, kind, hears=False)
    elif kind == "unsubscribed":
        await _choose(session, to, peer, kind, shows=False)
    elif kind == "subscribed":
        await _choose(session, to, peer, kind, shows=True)


async def news(account: Account, told: News) -> None:
    """Tell of new and former contacts, and who of the new ones is there."""
    for jid, asked in (await roster.look(account, told)).items():
        for own in account.available():
            await _tell_accepted(own, jid, asked)


async def _tell_accepted(session: Session, jid: Jid, asked: bool) -> None:
    if await presence.introduce(session, jid):
        if asked:
            session.send(stanzas.presence(session.jid.bare, from_=jid, type_="subscribed"))
        session.accounts.soon(pubsub.introduce(session, jid)).set_name("xmpp-interests")


async def _subscribe(session: Session, jid: Jid, peer: UserID) -> None:
    services, who = session.services, session.who

    def known(conn: Connection) -> bool:
        return direct.current(conn, services, who.user, who.user_id, peer) is not None

    if not await services.db.read(known):
        services.limits.take("joins", who.user_id)
        await direct.begin(services, who, peer)
    await _choose(session, jid, peer, "subscribe", hears=True)
    for own in session.account.available():
        await _tell_accepted(own, jid, True)


async def _choose(
    session: Session, jid: Jid, peer: UserID, kind: str, *, hears: bool | None = None, shows: bool | None = None
) -> None:
    """Keep what a user wants to see of somebody, or to be seen; tell both of what has changed between them."""
    before = await _look(session, jid)
    await session.services.rosters.choose(session.who, str(jid), peer, hears=hears, shows=shows)
    await roster.push_changes(session.account, session)
    await _tell_changes(session, jid, before, (kind,))
    item = await _item(session, jid) if kind == "subscribe" else None
    if item is not None and item.ask is None and item.subscription in ("none", "from"):
        # They are in the chat and have said that they want not to be seen. They may say otherwise.
        await _pass_on(session, jid, kind)


async def change_roster(session: Session, iq: Element) -> Element:
    """Change the roster. Whoever is taken out of it sees the user no more, nor the user them.

    https://www.rfc-editor.org/rfc/rfc6121#section-2.5.2
    """
    removed = roster.removed(session, iq)
    before = await _look(session, removed) if removed is not None else None
    answer = await roster.change(session, iq)
    if removed is not None and before is not None:
        await _tell_changes(session, removed, before, ("unsubscribe", "unsubscribed"))
    return answer


async def _look(session: Session, jid: Jid) -> _Between:
    other = session.accounts.at(jid)
    theirs = next(iter(other.sessions.values()), None) if other is not None else None
    return _Between(
        await _ways(session, jid), await _ways(theirs, session.jid.bare) if theirs is not None else frozenset()
    )


async def _ways(session: Session, jid: Jid) -> frozenset[str]:
    item = await _item(session, jid)
    return _WAYS.get(item.subscription, frozenset()) if item is not None else frozenset()


async def _item(session: Session, jid: Jid) -> RosterItem | None:
    return next((item for item in await roster.contacts(session) if item.jid == str(jid)), None)


async def _tell_changes(session: Session, jid: Jid, before: _Between, kinds: Sequence[str]) -> None:
    """Tell both sides who sees whom now, and the other one in the words of the user."""
    other = session.accounts.at(jid)
    for theirs in list(other.sessions.values())[:1] if other is not None else ():
        await roster.push_changes(theirs.account, theirs)
    now = await _look(session, jid)
    if before.theirs != now.theirs:
        for kind in kinds:
            # Whoever is seen again is not asked whether they want to be.
            if kind != "subscribe":
                await _pass_on(session, jid, kind)
    for account, owner, was, is_ in (
        (session.account, jid, before.mine, now.mine),
        (other, session.jid.bare, before.theirs, now.theirs),
    ):
        for own in account.available() if account is not None else ():
            if "to" in was - is_:
                presence.part(own, owner)
            elif "to" in is_ - was and not (own.account is session.account and "subscribe" in kinds):
                # Whoever has asked for it is told that they see somebody by who calls this.
                await presence.introduce(own, owner)
                session.accounts.soon(pubsub.introduce(own, owner)).set_name("xmpp-interests")


async def _hearing(session: Session, jid: Jid) -> list[Session]:
    """Return the sessions of a user that hear of the user of this one; none if they ignore them."""
    account = session.accounts.at(jid)
    if account is None:
        return []
    ignored = await session.services.db.read(
        lambda conn: session.services.account_data.ignored(conn, [account.user])[account.user]
    )
    return account.available() if session.who.user_id not in ignored else []


async def _pass_on(session: Session, jid: Jid, kind: str) -> None:
    for one in await _hearing(session, jid):
        one.send(stanzas.presence(one.jid.bare, from_=session.jid.bare, type_=kind))


FEATURES: dict[Place, tuple[str, ...]] = {}
HANDLERS: dict[Key, Handler] = {
    **{(place, Kind.PRESENCE, namespaces.CLIENT, PRESENCE): to_user for place in (Place.USER, Place.SESSION)},
    (Place.ACCOUNT, Kind.SET, roster.ROSTER, "query"): change_roster,
}
