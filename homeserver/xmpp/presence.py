"""Who is there, both ways: https://www.rfc-editor.org/rfc/rfc6121#section-4.

A user with an available session is online in Matrix. A contact who is online in Matrix, and has no session of XMPP, is
shown with the resource `matrix`.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from federation.core.errors import InvalidIdentifier
from federation.core.ids import UserID, parse_user_id
from federation.core.xmpp import namespaces
from federation.core.xmpp import stanza as stanzas
from federation.core.xmpp.element import Element
from federation.core.xmpp.errors import StanzaCondition, StanzaError
from federation.core.xmpp.jid import Jid
from homeserver.errors import MatrixError
from homeserver.model.presence import PresenceState
from homeserver.model.rosters import RosterItem
from homeserver.services.presence import Device
from homeserver.xmpp import photos, roster
from homeserver.xmpp.accounts import Account, News
from homeserver.xmpp.addresses import Place
from homeserver.xmpp.faces import faces
from homeserver.xmpp.occupancy import Occupancies
from homeserver.xmpp.pictures import Picture, Pictures
from homeserver.xmpp.router import Kind
from homeserver.xmpp.session import Session
from homeserver.xmpp.unacknowledged import size_of

MATRIX = "matrix"
"""The resource of whoever is online in Matrix only."""
AWAY = ("away", "xa")
LONGEST_STATUS = 1000
LARGEST = 16 * 1024
"""About how many bytes of presence are passed on: to many, or to somebody who has not asked for it."""
MOST_DIRECTED = 1000
"""Addresses to which a session has sent presence to them alone, and which are told that it goes."""


@dataclass(slots=True)
class Online:
    """What stands for a session among those that Matrix sees the user on."""

    device: Device | None = None
    shown: dict[Jid, Mapping[str, Any]] = field(default_factory=dict)
    """Contacts who are shown to the session as being in Matrix, and what their presence there is."""
    directed: set[Jid] = field(default_factory=set)
    """Who was told by presence to them alone, and is to be told when the session goes."""


async def announce(session: Session, presence: Element) -> None:
    """Take what a client says of its availability, and tell those who may know."""
    kind = presence.get("type")
    if kind == "unavailable":
        await _go(session, presence)
        for tell in session.accounts.availability:
            await tell(session)
        return
    if kind is not None:
        # Subscriptions are to somebody: https://www.rfc-editor.org/rfc/rfc6121#section-3
        raise StanzaError(StanzaCondition.BAD_REQUEST, "expected an address")
    session.priority = _priority(presence)
    first = session.presence is None
    session.presence = await photos.dressed(session, presence.with_attributes(to=None))
    await _tell_matrix(session, presence)
    contacts = await _contacts(session)
    _broadcast(session, session.presence, contacts)
    session.accounts.kept(Occupancies).look_at(session.who.user_id)
    if first:
        await _introduce(session, contacts.to)
        for tell in session.accounts.availability:
            await tell(session)
    for tell in session.accounts.presence:
        await tell(session)


async def guard(_session: Session, _place: Place, _to: Jid | None, stanza: Element) -> bool:
    """Keep presence small. Raises `StanzaError`."""
    if stanza.name == stanzas.PRESENCE and size_of(stanza) > LARGEST:
        raise StanzaError(StanzaCondition.NOT_ACCEPTABLE, f"Presence has at most {LARGEST} bytes")
    return True


async def ended(session: Session) -> None:
    """Tell those who may know that a session has ended."""
    if session.presence is not None:
        await _go(
            session, Element(stanzas.PRESENCE, namespaces.CLIENT, {"from": str(session.jid), "type": "unavailable"})
        )


async def news(account: Account, told: News) -> None:
    """Tell which contacts came or went in Matrix."""
    available = account.available()
    if not available or told.ephemeral_since == told.ephemeral_until:
        return
    found = _matrix_presence(available[0], told.ephemeral_since)
    if not found:
        return
    contacts = (await _contacts(available[0])).to
    for user_id, content in (await _with_faces(available[0], found, contacts)).items():
        for session in available:
            _show(session, contacts[user_id], content)


async def _go(session: Session, presence: Element) -> None:
    if session.presence is None:
        return
    session.presence = None
    session.services.presence.sync_ends(session.kept(Online).device)
    session.kept(Online).device = None
    contacts = await _contacts(session)
    _broadcast(session, presence.with_attributes(to=None), contacts)
    told, directed = set(contacts.from_), session.kept(Online).directed
    for jid in [jid for jid in directed if jid.bare not in told]:
        account = session.accounts.at(jid)
        _send_to(jid, presence, account.available() if account is not None else ())
    directed.clear()
    session.accounts.kept(Occupancies).look_at(session.who.user_id)


def direct(session: Session, to: Jid, presence: Element, hearing: Iterable[Session]) -> None:
    """Give those of somebody's sessions presence that hear it, for them alone; they are told when the session goes.

    https://www.rfc-editor.org/rfc/rfc6121#section-4.6
    """
    directed = session.kept(Online).directed
    if presence.get("type") == "unavailable":
        directed.discard(to)
    elif len(directed) < MOST_DIRECTED:
        directed.add(to)
    _send_to(to, photos.directed(session, presence), hearing)


def _send_to(to: Jid, presence: Element, sessions: Iterable[Session]) -> None:
    for theirs in sessions:
        if to.is_bare or theirs.jid == to:
            theirs.send(presence.with_attributes(to=str(theirs.jid)))


async def picture_changed(account: Account) -> None:
    """Say the user's picture in the presence of all their sessions if it is another one."""
    for session in account.available():
        presence = await photos.dressed_again(session)
        if presence is not None and session.presence is not None:
            session.presence = presence
            _broadcast(session, presence, await _contacts(session))


async def _tell_matrix(session: Session, presence: Element) -> None:
    away = presence.text_of("show") in AWAY
    state = PresenceState.UNAVAILABLE if away else PresenceState.ONLINE
    online, service = session.kept(Online), session.services.presence
    service.sync_ends(online.device)
    online.device = await service.sync_begins(session.who, state)
    status = (presence.text_of("status") or "")[:LONGEST_STATUS]
    if status or away:
        try:
            await service.set(session.who, session.who.user_id, state, status or None)
        except MatrixError:
            # Presence is turned off; between XMPP clients it works all the same.
            return


@dataclass(slots=True)
class _Contacts:
    """Those whom the user sees, and those who see the user."""

    to: dict[UserID, Jid] = field(default_factory=dict)
    from_: list[Jid] = field(default_factory=list)


async def _contacts(session: Session) -> _Contacts:
    found = _Contacts()
    for item in await roster.near(session):
        jid = Jid.parse(item.jid)
        user_id = session.addresses.user(jid)
        if user_id is not None and item.subscription in ("both", "to"):
            found.to[user_id] = jid
        if item.subscription in ("both", "from"):
            found.from_.append(jid)
    return found


def _broadcast(session: Session, presence: Element, contacts: _Contacts) -> None:
    for other in session.account.available():
        other.send(presence.with_attributes(to=str(other.jid)))
    for jid in contacts.from_:
        account = session.accounts.at(jid)
        for theirs in account.available() if account is not None else ():
            theirs.send(presence.with_attributes(to=str(theirs.jid)))


async def introduce(session: Session, contact: Jid) -> bool:
    """Tell a session whether a contact of the user's is there; return whether the user may know."""
    contacts = {user_id: jid for user_id, jid in (await _contacts(session)).to.items() if jid == contact}
    await _introduce_to(session, contacts)
    return bool(contacts)


async def blocked(account: Account, jid: Jid) -> None:
    """Let a contact and a user be gone for each other whom the user has blocked.

    https://xmpp.org/extensions/xep-0191.html#block
    """
    item = await _contact(account, jid)
    other = account.accounts.at(jid)
    if item is not None and item.subscription in ("both", "from"):
        for theirs in other.available() if other is not None else ():
            part(theirs, account.jid)
    if item is not None and item.subscription in ("both", "to"):
        for own in account.available():
            part(own, jid)


async def unblocked(account: Account, jid: Jid) -> None:
    """Show a contact and a user to each other whom the user has blocked no longer."""
    other = account.accounts.at(jid)
    for own in account.available():
        await introduce(own, jid)
    for theirs in other.available() if other is not None else ():
        await introduce(theirs, account.jid)


async def _contact(account: Account, jid: Jid) -> RosterItem | None:
    session = next(iter(account.sessions.values()), None)
    items = await roster.contacts(session) if session is not None else ()
    return next((item for item in items if item.jid == str(jid)), None)


def part(session: Session, contact: Jid) -> None:
    """Show a session nothing of a contact any more."""
    account = session.accounts.at(contact)
    gone = [theirs.jid for theirs in account.available()] if account is not None else []
    if session.kept(Online).shown.pop(contact, None) is not None:
        gone.append(contact.with_resource(MATRIX))
    for jid in gone:
        session.send(stanzas.presence(session.jid, from_=jid, type_="unavailable"))


async def _introduce(session: Session, contacts: Mapping[UserID, Jid]) -> None:
    """Tell a session that has just become available who else is there."""
    for other in session.account.others(session):
        if other.presence is not None:
            session.send(other.presence.with_attributes(to=str(session.jid)))
    await _introduce_to(session, contacts)


async def _introduce_to(session: Session, contacts: Mapping[UserID, Jid]) -> None:
    """Tell a session who of its contacts is there."""
    if not contacts:
        return
    online = await _with_faces(session, _matrix_presence(session, 0, contacts.keys()), contacts)
    for user_id, jid in contacts.items():
        account = session.accounts.at(jid)
        theirs = account.available() if account is not None else []
        for one in theirs:
            if one.presence is not None:
                session.send(one.presence.with_attributes(to=str(session.jid)))
        if not theirs and user_id in online:
            _show(session, jid, online[user_id])


def _matrix_presence(
    session: Session, since: int, of: Collection[UserID] | None = None
) -> dict[UserID, Mapping[str, Any]]:
    """Return what changed of others whom the user sees, after a serial; of those in XMPP their sessions tell more."""
    rooms = session.services.live.rooms_of(session.who.user) or set()
    found = {}
    for raw in session.services.presence.since(since, session.who.user, rooms, of):
        event = orjson.loads(raw)
        try:
            user_id = parse_user_id(event["sender"])
            account = session.accounts.at(session.addresses.of_user(user_id))
        except InvalidIdentifier:
            continue
        if user_id != session.who.user_id and (account is None or not account.available()):
            found[user_id] = event["content"]
    return found


async def _with_faces(
    session: Session, found: Mapping[UserID, Mapping[str, Any]], contacts: Mapping[UserID, Jid]
) -> dict[UserID, Mapping[str, Any]]:
    """Return the presence of those who are contacts, each with the picture that is known of them."""
    wanted = found.keys() & contacts.keys()
    known = await faces(session, wanted) if wanted else {}
    return {
        user_id: {**content, "avatar_url": known[user_id].avatar_url if user_id in known else None}
        for user_id, content in found.items()
        if user_id in wanted
    }


def _show(session: Session, jid: Jid, content: Mapping[str, Any]) -> None:
    """Show the presence of a contact in Matrix; that somebody is gone only if they were shown."""
    state, shown = content.get("presence"), session.kept(Online).shown
    kind = "unavailable" if state == PresenceState.OFFLINE else None
    if kind is None:
        shown[jid] = content
    elif shown.pop(jid, None) is None:
        return
    presence = stanzas.presence(session.jid, from_=jid.with_resource(MATRIX), type_=kind)
    if state == PresenceState.UNAVAILABLE:
        presence.add(Element("show", namespaces.CLIENT, {}, "away"))
    status = content.get("status_msg")
    if isinstance(status, str) and status:
        presence.add(Element("status", namespaces.CLIENT, {}, status))

    def found(picture: Picture | None) -> None:
        if picture is not None and shown.get(jid) is content:
            _show(session, jid, content)

    if kind is None:
        picture, known = session.accounts.kept(Pictures).known(content.get("avatar_url"), found)
        if known:
            presence.add(photos.update(picture))
    session.send(presence)


def _priority(presence: Element) -> int:
    text = presence.text_of("priority") or "0"
    try:
        priority = int(text)
    except ValueError as error:
        raise StanzaError(StanzaCondition.BAD_REQUEST, "priority: expected a number") from error
    if not -128 <= priority <= 127:
        raise StanzaError(StanzaCondition.BAD_REQUEST, "priority: expected -128 to 127")
    return priority


FEATURES: dict[Place, tuple[str, ...]] = {}
HANDLERS = {(Place.ACCOUNT, Kind.PRESENCE, namespaces.CLIENT, stanzas.PRESENCE): announce}
