"""Rooms: coming in, talking, going: https://xmpp.org/extensions/xep-0045.html.

Entering a room joins it, as far as its rules allow; a room that is not there is made. Leaving it with one session
leaves nothing but the session's place; to leave the room itself, a client takes its bookmark away, unregisters, or
gives up its affiliation.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection

from federation.core.errors import InvalidIdentifier
from federation.core.events.content import Membership
from federation.core.ids import RoomAlias, RoomID, UserID, server_of
from federation.core.room_versions import ROOM_VERSIONS
from federation.core.xmpp import namespaces
from federation.core.xmpp import stanza as stanzas
from federation.core.xmpp.element import Element
from federation.core.xmpp.errors import StanzaCondition, StanzaError
from federation.core.xmpp.jid import Jid
from homeserver.errors import Forbidden, MatrixError, NotFound
from homeserver.model.new_rooms import NewRoom, Preset
from homeserver.model.nids import RoomNid
from homeserver.services.aliases import check_new_alias
from homeserver.storage import memberships
from homeserver.xmpp import displayed, invites, muc_register
from homeserver.xmpp.acting import Scene, perform
from homeserver.xmpp.addresses import Place
from homeserver.xmpp.chats import Chats
from homeserver.xmpp.hub import MUC, Hub
from homeserver.xmpp.nicks import occupant_id
from homeserver.xmpp.occupancy import Occupancies
from homeserver.xmpp.past import Span
from homeserver.xmpp.reading import Displayed, Say, Types, acts
from homeserver.xmpp.router import Handler, Key, Kind
from homeserver.xmpp.session import Session
from homeserver.xmpp.successions import successors

PING = "urn:xmpp:ping"
USUAL_HISTORY = 20
MOST_HISTORY = 100
MOST_ROOMS = 1000
"""Rooms in which one session is."""


@dataclass(frozen=True, slots=True)
class _Target:
    """The room that an address means."""

    room: RoomNid | None
    named: RoomID | RoomAlias | None


async def presence(session: Session, stanza: Element) -> None:
    """Enter a room, change one's nick there, or go. Raises `StanzaError` and what services raise."""
    to = Jid.parse(stanza.attributes["to"])
    kind = stanza.get("type")
    occupancies = session.accounts.kept(Occupancies)
    hub = occupancies.of(session, to)
    if kind == "unavailable":
        if hub is not None:
            _go(session, occupancies, hub)
        return
    if kind is not None:
        return
    if hub is not None and stanza.find("x", MUC) is None:
        await _rename(session, hub, to.resource or "")
        return
    await _enter(session, stanza, to, occupancies)


async def _enter(session: Session, stanza: Element, to: Jid, occupancies: Occupancies) -> None:
    if to.resource is None:
        # https://xmpp.org/extensions/xep-0045.html#enter-nonick
        raise StanzaError(StanzaCondition.JID_MALFORMED, "expected a nick behind the room's address")
    if occupancies.count(session) >= MOST_ROOMS:
        raise StanzaError(StanzaCondition.RESOURCE_CONSTRAINT, "You are in too many rooms")
    chats = session.accounts.kept(Chats)
    room, created = await _join(session, chats, to)
    await chats.names.entered(room, to)
    x = stanza.find("x", MUC)
    history = _history(x.find("history") if x is not None else None, chats.services.clock.now_ms())
    await occupancies.enter(session, to, room, history, created=created)


async def _join(session: Session, chats: Chats, to: Jid) -> tuple[RoomNid, bool]:
    """Let the user be in the room at an address; return it, and whether it was made for that."""
    services, who = chats.services, session.who

    def read(conn: Connection) -> tuple[_Target, bool, bool, RoomNid | None]:
        target = _Target(chats.names.known(conn, to), chats.addresses.room(to))
        if target.room is None:
            return target, False, False, None
        standing = memberships.of_user_in(conn, target.room, who.user)
        there = standing is not None and standing.membership is Membership.JOIN
        # Where a room goes on is for those who may know of it at all.
        views = services.summaries.views.load(conn, [target.room])
        knows = there or (target.room in views and views[target.room].is_open)
        return target, there, knows, successors(conn, services, views).get(target.room)

    target, joined, knows, successor = await services.db.read(read)
    if successor is not None and knows:
        address = f"xmpp:{await chats.names.of_room(successor)}?join"
        raise StanzaError(StanzaCondition.GONE, "The room goes on elsewhere", address=address)
    if joined and target.room is not None:
        return target.room, False
    services.limits.take("joins", who.user_id)
    created = False
    if target.room is not None:
        room_id = await services.db.read(lambda conn: services.history.names.room_id(conn, _known(target.room)))
        await _ask_in(session, room_id)
    elif target.named is None:
        raise StanzaError(StanzaCondition.ITEM_NOT_FOUND, "There is no such room")
    else:
        room_id, created = await _come_to(session, chats, target.named)
    room = await services.db.read(lambda conn: services.history.names.room(conn, room_id))
    if room is None:
        raise StanzaError(StanzaCondition.ITEM_NOT_FOUND, "There is no such room")
    return room, created


async def _come_to(session: Session, chats: Chats, named: RoomID | RoomAlias) -> tuple[RoomID, bool]:
    """Join a room of another server, or make one here."""
    try:
        return await session.services.memberships.join(session.who, named), False
    except NotFound:
        if not named.startswith("#") or server_of(RoomAlias(named)) != chats.addresses.server_name:
            raise
    return await _make(session, RoomAlias(named)), True


async def _ask_in(session: Session, room_id: RoomID) -> None:
    try:
        await session.services.memberships.join(session.who, room_id)
    except Forbidden as error:
        banned = await session.services.db.read(lambda conn: _is_banned(session, conn, room_id))
        # https://xmpp.org/extensions/xep-0045.html#enter-members and #enter-ban
        condition = StanzaCondition.FORBIDDEN if banned else StanzaCondition.REGISTRATION_REQUIRED
        raise StanzaError(condition, error.message) from error


def _is_banned(session: Session, conn: Connection, room_id: RoomID) -> bool:
    room = session.services.history.names.room(conn, room_id)
    standing = memberships.of_user_in(conn, room, session.who.user) if room is not None else None
    return standing is not None and standing.membership is Membership.BAN


async def _make(session: Session, alias: RoomAlias) -> RoomID:
    """Make a room that anyone may enter who knows its address, as XMPP clients expect, until its owner says else."""
    check_new_alias(alias)
    version = ROOM_VERSIONS[session.services.config.rooms.default_version]
    wanted = NewRoom(version=version, preset=Preset.PUBLIC, alias=alias, creation_content={}, power_levels={})
    return await session.services.rooms.create(session.who, wanted)


def _known(room: RoomNid | None) -> RoomNid:
    assert room is not None
    return room


def _history(wanted: Element | None, now_ms: int) -> Span | None:
    """Return how much of the past a client wants: https://xmpp.org/extensions/xep-0045.html#enter-managehistory."""
    limit, since = USUAL_HISTORY, None
    if wanted is not None:
        if "0" in (wanted.get("maxchars"), wanted.get("seconds")):
            return None
        limit = _number(wanted.get("maxstanzas"), limit)
        seconds = wanted.get("seconds")
        since = _moment(wanted.get("since"))
        if seconds is not None and since is None:
            since = now_ms - 1000 * _number(seconds, 0)
    return Span(min(limit, MOST_HISTORY), since_ms=since) if limit > 0 else None


def _number(text: str | None, otherwise: int) -> int:
    return int(text) if text is not None and text.isdecimal() and len(text) < 10 else otherwise


def _moment(text: str | None) -> int | None:
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000) if text else None
    except (ValueError, OverflowError):
        return None


def _go(session: Session, occupancies: Occupancies, hub: Hub) -> None:
    """Let a session go; the user stays. https://xmpp.org/extensions/xep-0045.html#exit."""
    occupancies.left(session, hub)
    own = hub.occupants.get(session.who.user_id)
    if own is not None:
        session.send(hub.presence(own.user_id, own.standing, 110, gone=True))


async def _rename(session: Session, hub: Hub, nick: str) -> None:
    """Change what a user is called in a room: https://xmpp.org/extensions/xep-0045.html#changenick.

    A client that says again by which nick it came in, though it was told of another, wants no change.
    """
    asked = hub.sessions.get(session)
    if not nick or nick in (asked, hub.nicks.of(session.who.user_id)):
        return
    if hub.nicks.user(nick) is not None:
        raise StanzaError(StanzaCondition.CONFLICT, "Somebody else is called that")
    own = hub.occupants.get(session.who.user_id)
    picture = {"avatar_url": own.avatar_url} if own is not None and own.avatar_url is not None else {}
    content = {"membership": "join", "displayname": nick, **picture}
    await session.services.messages.set_state(session.who, hub.room_id, "m.room.member", session.who.user_id, content)
    hub.sessions[session] = nick


async def message(session: Session, stanza: Element) -> None:
    """Say something in a room, or invite somebody to it. Raises `StanzaError` and what services raise."""
    to = Jid.parse(stanza.attributes["to"])
    kind = stanza.get("type")
    if kind == "error":
        return
    chats = session.accounts.kept(Chats)
    await chats.ready()
    if kind != "groupchat":
        if await muc_register.receive_answer(session, stanza):
            return
        room_id = await invites.room_at(chats, str(to.bare))
        if not await invites.receive_mediated(session, stanza, room_id):
            raise StanzaError(StanzaCondition.BAD_REQUEST, "Messages to a room are of type groupchat")
        return
    hub = session.accounts.kept(Occupancies).of(session, to)
    if hub is None:
        raise StanzaError(StanzaCondition.NOT_ACCEPTABLE, "You are not in this room")
    await displayed.assist(session, stanza)
    subject = stanza.text_of("subject")
    if subject is not None and stanza.find("body") is None and stanza.find("thread") is None:
        await session.services.messages.set_state(session.who, hub.room_id, "m.room.topic", "", {"topic": subject})
        return
    scene = Scene(hub.room, hub.room_id, hub.facts.encrypted, [hub.room])
    for act in acts(stanza):
        if isinstance(act, Say):
            scene = replace(scene, mentions=_named(session, hub, act), mentions_all=act.mentions.everybody)
        try:
            await perform(chats, session, act, scene, stanza.get("id"))
        except (StanzaError, MatrixError):
            # Nobody wants to hear that a marker was about nothing.
            if isinstance(act, Types | Displayed) and not isinstance(act, Say):
                continue
            raise


def _named(session: Session, hub: Hub, said: Say) -> list[UserID]:
    """Return whom a message in a room names: by nick at its beginning, by their address, or as an occupant."""
    found = dict.fromkeys(hub.nicks.addressed(said.body))
    for text in said.mentions.jids:
        try:
            jid = Jid.parse(text)
        except InvalidIdentifier:
            continue
        user_id = hub.nicks.user(jid.resource or "") if jid.bare == hub.jid else session.addresses.user(jid)
        if user_id is not None and user_id in hub.occupants:
            found[user_id] = None
    if said.mentions.occupants:
        wanted = set(said.mentions.occupants)
        found |= {user_id: None for user_id in hub.occupants if occupant_id(hub.room_id, user_id) in wanted}
    return list(found)


async def private_message(_session: Session, stanza: Element) -> None:
    """Refuse a message to one occupant: everybody's own address is known in our rooms. Raises `StanzaError`."""
    if stanza.get("type") == "error":
        return
    raise StanzaError(StanzaCondition.NOT_ACCEPTABLE, "Write to this person at their own address")


async def ping(session: Session, iq: Element) -> Element:
    """Tell a session whether it is still in a room: https://xmpp.org/extensions/xep-0410.html. Raises `StanzaError`."""
    to = Jid.parse(iq.attributes["to"])
    hub = session.accounts.kept(Occupancies).of(session, to)
    if hub is None or session.who.user_id not in hub.occupants:
        raise StanzaError(StanzaCondition.NOT_ACCEPTABLE, "You are not in this room")
    if to.resource is not None and hub.nicks.user(to.resource) is None:
        raise StanzaError(StanzaCondition.ITEM_NOT_FOUND, "Nobody in this room is called that")
    return stanzas.result(iq)


FEATURES: dict[Place, tuple[str, ...]] = {Place.ROOMS: (MUC,)}
HANDLERS: dict[Key, Handler] = {
    (Place.OCCUPANT, Kind.PRESENCE, namespaces.CLIENT, "presence"): presence,
    (Place.ROOM, Kind.PRESENCE, namespaces.CLIENT, "presence"): presence,
    (Place.ROOM, Kind.MESSAGE, namespaces.CLIENT, "message"): message,
    (Place.OCCUPANT, Kind.MESSAGE, namespaces.CLIENT, "message"): private_message,
    (Place.OCCUPANT, Kind.GET, PING, "ping"): ping,
}
