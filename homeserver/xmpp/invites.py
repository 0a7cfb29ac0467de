"""Invites, both ways.

An invite to talk with one person is accepted for a user who is here by XMPP: there nobody asks before a message comes.
Others are told as https://xmpp.org/extensions/xep-0045.html#invite-mediated and sent as that or as
https://xmpp.org/extensions/xep-0249.html.
"""

import asyncio
from dataclasses import dataclass, field

import structlog
from sqlalchemy import Connection

from federation.core.errors import InvalidIdentifier
from federation.core.events.content import Membership
from federation.core.ids import RoomID, UserID, server_of
from federation.core.xmpp import stanza as stanzas
from federation.core.xmpp.element import Element
from federation.core.xmpp.errors import StanzaCondition, StanzaError
from federation.core.xmpp.jid import Jid
from homeserver.errors import MatrixError
from homeserver.model.nids import RoomNid
from homeserver.storage import memberships
from homeserver.xmpp import direct
from homeserver.xmpp.chats import Chats
from homeserver.xmpp.session import Session

log = structlog.get_logger()

CONFERENCE = "jabber:x:conference"
MUC_USER = "http://jabber.org/protocol/muc#user"
PATIENCE_SECONDS = 2.0
"""How long the acceptance of an invite is waited for."""
MOST_TOLD = 100
"""Invites that a client is told of when it comes online."""


@dataclass(frozen=True, slots=True)
class _Pending:
    room: RoomNid
    room_id: RoomID
    inviter: UserID
    is_direct: bool
    reason: str | None
    position: int


@dataclass(slots=True)
class _Tried:
    """The invites that a session has tried to accept, by room and position."""

    known: set[tuple[RoomNid, int]] = field(default_factory=set)
    accepted: list[tuple[RoomNid, int]] = field(default_factory=list)
    """Those with which that went well, and which nobody was told of."""


@dataclass(slots=True)
class _Told:
    """The invites that a session knows of, by room and position."""

    known: set[tuple[RoomNid, int]] = field(default_factory=set)


async def accept_direct(session: Session, chats: Chats) -> list[tuple[RoomNid, int]]:
    """Accept the invites to talk with one person; return the rooms, and the positions before they were told."""
    tried = session.kept(_Tried)
    for invite in await _pending(session, chats):
        # Whom a stranger's server lets in could be anybody: that is asked first.
        if not invite.is_direct or server_of(invite.inviter) != chats.addresses.server_name:
            continue
        if (invite.room, invite.position) in tried.known:
            continue
        tried.known.add((invite.room, invite.position))
        # The room may be on another server by now, and that one out of reach: nobody waits for it to log in.
        task = session.accounts.soon(_accept(session, chats, invite, tried))
        await asyncio.wait([task], timeout=PATIENCE_SECONDS)
    # Those are among them that took long before.
    accepted, tried.accepted = tried.accepted, []
    return accepted


async def _accept(session: Session, chats: Chats, invite: _Pending, tried: _Tried) -> None:
    try:
        await chats.services.memberships.join(session.who, invite.room_id)
        await direct.remember(chats.services, session.who, invite.inviter, invite.room_id)
    except MatrixError as error:
        log.info("direct_invite_failed", room_id=invite.room_id, reason=error.message)
    else:
        tried.accepted.append((invite.room, invite.position))


async def tell_all(session: Session, chats: Chats) -> None:
    """Tell a session of the invites to rooms that it has not heard of."""
    told = session.kept(_Told).known
    new = [each for each in await _pending(session, chats) if (each.room, each.position) not in told][:MOST_TOLD]
    jids = await chats.names.of_rooms([each.room for each in new])
    for invite in new:
        told.add((invite.room, invite.position))
        if invite.room in jids:
            session.send(_mediated(session, chats, invite, jids[invite.room]))


def _mediated(session: Session, chats: Chats, invite: _Pending, room: Jid) -> Element:
    element = Element("invite", MUC_USER, {"from": str(chats.addresses.of_user(invite.inviter))})
    if invite.reason:
        element.add(Element("reason", MUC_USER, None, invite.reason))
    legacy = Element("x", CONFERENCE, {"jid": str(room), "reason": invite.reason})
    user = Element("x", MUC_USER, None, element)
    return stanzas.message(session.jid, user, legacy, from_=room, type_="normal")


async def receive_direct(session: Session, stanza: Element, peer: UserID) -> bool:
    """Invite somebody to a room if that is what a message is; return whether it was: XEP-0249."""
    invite = stanza.find("x", CONFERENCE)
    if invite is None or stanza.find("x", MUC_USER) is not None:
        return False
    chats = session.accounts.kept(Chats)
    room_id = await room_at(chats, invite.get("jid") or "")
    await chats.services.memberships.invite(session.who, room_id, peer, invite.get("reason") or None)
    return True


async def receive_mediated(session: Session, stanza: Element, room_id: RoomID) -> bool:
    """Invite somebody, or turn an invite down, if that is what a message to a room is; return whether it was."""
    user = stanza.find("x", MUC_USER)
    if user is None:
        return False
    chats = session.accounts.kept(Chats)
    invites, decline = list(user.find_all("invite")), user.find("decline")
    for invite in invites:
        try:
            peer = chats.addresses.user(Jid.parse(invite.get("to") or ""))
        except InvalidIdentifier as error:
            raise StanzaError(StanzaCondition.JID_MALFORMED, str(error)) from error
        if peer is None:
            raise StanzaError(StanzaCondition.ITEM_NOT_FOUND, "There is no such user")
        reason = invite.text_of("reason")
        await chats.services.memberships.invite(session.who, room_id, peer, reason or None)
    if decline is not None:
        await chats.services.memberships.leave(session.who, room_id, decline.text_of("reason") or None)
    return bool(invites) or decline is not None


async def room_at(chats: Chats, address: str) -> RoomID:
    """Return the room of this server at a JID. Raises `StanzaError`."""
    try:
        jid = Jid.parse(address)
    except InvalidIdentifier as error:
        raise StanzaError(StanzaCondition.JID_MALFORMED, str(error)) from error

    def read(conn: Connection) -> RoomID | None:
        room = chats.names.known(conn, jid)
        return chats.services.history.names.room_id(conn, room) if room is not None else None

    room_id = await chats.services.db.read(read)
    if room_id is None:
        raise StanzaError(StanzaCondition.ITEM_NOT_FOUND, "There is no such room here")
    return room_id


async def _pending(session: Session, chats: Chats) -> list[_Pending]:
    """Return the invites of a user, the oldest first, but for those of whom they ignore."""
    services, user = chats.services, session.who.user

    def read(conn: Connection) -> list[_Pending]:
        standings = memberships.of_user(conn, user, [Membership.INVITE])
        ignored = services.account_data.ignored(conn, [user])[user]
        events = services.history.events.by_nids(conn, [each.event for each in standings])
        found = []
        for standing in sorted(standings, key=lambda each: each.position):
            event = events.get(standing.event)
            if event is None or event.sender in ignored:
                continue
            reason = event.content.get("reason")
            found.append(
                _Pending(
                    standing.room, event.room_id, event.sender, event.content.get("is_direct") is True,
                    reason if isinstance(reason, str) else None, standing.position,
                )
            )  # fmt: skip
        return found

    return await services.db.read(read)
