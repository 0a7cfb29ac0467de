"""Messages between two people: https://www.rfc-editor.org/rfc/rfc6121#section-5. Each is an event in a direct room.

Where it goes from there `deliveries` says: to all sessions of both, and to their Matrix clients.
"""

import asyncio
from collections import OrderedDict

from sqlalchemy import Connection

from federation.core.ids import UserID
from federation.core.xmpp import namespaces
from federation.core.xmpp import stanza as stanzas
from federation.core.xmpp.element import Element
from federation.core.xmpp.errors import StanzaCondition, StanzaError
from federation.core.xmpp.jid import Jid
from homeserver.model.events import Event
from homeserver.model.nids import RoomNid, UserNid
from homeserver.xmpp import carbons, direct, displayed, invites, roster
from homeserver.xmpp.acting import Scene, perform
from homeserver.xmpp.addresses import Place
from homeserver.xmpp.chats import Chats
from homeserver.xmpp.reading import RECEIPTS, Act, Displayed, Received, Say, Types, acts
from homeserver.xmpp.router import Handler, Key, Kind
from homeserver.xmpp.session import Session

MOST_LOCKS = 10_000


class _Turns:
    """One message after another of each user to somebody: so that the first two make one room, not two."""

    def __init__(self, _accounts: object) -> None:
        self._locks: OrderedDict[tuple[UserNid, UserID], asyncio.Lock] = OrderedDict()

    def of(self, user: UserNid, peer: UserID) -> asyncio.Lock:
        lock = self._locks.setdefault((user, peer), asyncio.Lock())
        self._locks.move_to_end((user, peer))
        while len(self._locks) > MOST_LOCKS and not next(iter(self._locks.values())).locked():
            self._locks.popitem(last=False)
        return lock


async def _receive(session: Session, stanza: Element) -> None:
    """Take a message to a user. Raises `StanzaError` and what services raise."""
    kind = stanza.get("type")
    if kind == "error":
        return
    if kind == "groupchat":
        raise StanzaError(StanzaCondition.SERVICE_UNAVAILABLE, "this is nobody's room")
    peer = _peer(session, stanza)
    await displayed.assist(session, stanza)
    if await invites.receive_direct(session, stanza, peer):
        return
    wanted = list(acts(stanza))
    if not wanted:
        await _pass_on(session, stanza)
        return
    chats = session.accounts.kept(Chats)
    await chats.ready()
    async with session.accounts.kept(_Turns).of(session.who.user, peer):
        scene = await _scene(chats, session, peer, wanted)
        if scene is None:
            return
        for act in wanted:
            if isinstance(act, Received):
                await _pass_receipt(chats, session, scene, peer, act)
            elif isinstance(act, Say) or not _is_passing(act):
                await perform(chats, session, act, scene, stanza.get("id"))
            else:
                await _try(chats, session, act, scene)


async def _pass_on(session: Session, stanza: Element) -> None:
    """Give what is no message to be kept, such as the ringing of a call, to the XMPP clients of a contact.

    https://www.rfc-editor.org/rfc/rfc6121#section-8.5, https://xmpp.org/extensions/xep-0353.html
    """
    to = Jid.parse(stanza.get("to") or str(session.jid.bare))
    account = session.accounts.at(to)
    if account is None or not any(stanza.elements()):
        return
    if account is not session.account and not await roster.may_reach(session, to.bare):
        return
    exact = session.accounts.session(to) if not to.is_bare else None
    for one in [exact] if exact is not None else account.available():
        if one is not session and one.priority >= 0:
            one.send(stanza.with_attributes(to=str(one.jid)))
    for own in session.account.others(session) if account is not session.account else ():
        carbons.copy(own, stanza)


async def _try(chats: Chats, session: Session, act: Act, scene: Scene) -> None:
    """Do what nobody wants to hear of if it fails."""
    try:
        await perform(chats, session, act, scene, None)
    except StanzaError:
        return


def _is_passing(act: Act) -> bool:
    return isinstance(act, Types | Displayed)


def _peer(session: Session, stanza: Element) -> UserID:
    to = stanza.get("to")
    peer = session.addresses.user(Jid.parse(to)) if to is not None else session.who.user_id
    if peer is None:
        raise StanzaError(StanzaCondition.ITEM_NOT_FOUND, "There is no such user")
    return peer


async def _scene(chats: Chats, session: Session, peer: UserID, wanted: list[Act]) -> Scene | None:
    """Return where two people talk; a room is made only to say something."""
    services, who = chats.services, session.who

    def read(conn: Connection) -> tuple[direct.Current | None, list[RoomNid]]:
        rooms = direct.direct_rooms(conn, services, who.user)
        mine = [room for room, other in rooms.items() if other == peer]
        return direct.current(conn, services, who.user, who.user_id, peer), mine

    now, rooms = await services.db.read(read)
    if now is None and any(isinstance(act, Say) for act in wanted):
        await direct.begin(services, who, peer)
        now, rooms = await services.db.read(read)
    return Scene(now.room, now.room_id, now.encrypted, rooms) if now is not None else None


async def _pass_receipt(chats: Chats, session: Session, scene: Scene, peer: UserID, act: Received) -> None:
    """Tell the sender's sessions that a message has arrived: https://xmpp.org/extensions/xep-0184.html."""
    event: Event | None = await chats.services.db.read(lambda conn: chats.find(conn, scene.rooms, act.target))
    sender = session.accounts.of_user(event.sender_nid) if event is not None and event.sender == peer else None
    for other in sender.available() if sender is not None else ():
        received = Element("received", RECEIPTS, {"id": act.target})
        other.send(stanzas.message(other.jid, received, from_=session.jid.bare))


FEATURES: dict[Place, tuple[str, ...]] = {}
HANDLERS: dict[Key, Handler] = {
    (place, Kind.MESSAGE, namespaces.CLIENT, "message"): _receive
    for place in (Place.USER, Place.SESSION, Place.ACCOUNT)
}
