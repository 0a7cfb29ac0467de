"""Who may do what in a room: https://xmpp.org/extensions/xep-0045.html#admin, and what moderators take away
(https://xmpp.org/extensions/xep-0425.html).

Affiliations and roles are power levels and memberships; each change is the event that a Matrix client would send.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from federation.core.errors import InvalidIdentifier
from federation.core.events.content import Membership
from federation.core.ids import UserID
from federation.core.xmpp import stanza as stanzas
from federation.core.xmpp.element import Element
from federation.core.xmpp.errors import StanzaCondition, StanzaError
from federation.core.xmpp.jid import Jid
from homeserver.model.rooms import Member
from homeserver.storage import memberships
from homeserver.xmpp.acting import first_version
from homeserver.xmpp.addresses import Place
from homeserver.xmpp.affiliations import (
    Affiliation,
    Role,
    level_for,
    level_for_role,
    standing_of,
    with_level,
)
from homeserver.xmpp.chats import Chats
from homeserver.xmpp.muc_disco import of_jid
from homeserver.xmpp.occupancy import Occupancies
from homeserver.xmpp.room_facts import POWER_LEVELS, RoomFacts
from homeserver.xmpp.router import Handler, Key, Kind
from homeserver.xmpp.session import Session

ADMIN = "http://jabber.org/protocol/muc#admin"
MODERATE = "urn:xmpp:message-moderate:1"
RETRACT = "urn:xmpp:message-retract:1"
MOST_ITEMS = 50
"""Changes in one request; each is an event."""
MOST_LISTED = 10_000
"""Members that are told at once: a longer answer would be more than what a client may leave unread."""


async def lists(session: Session, iq: Element) -> Element:
    """Tell who has an affiliation or a role. Raises `StanzaError`."""
    facts = await of_jid(session, iq.attributes["to"])
    item = stanzas.payload_of(iq).find("item")
    affiliation, role = (item.get("affiliation"), item.get("role")) if item is not None else (None, None)
    if (affiliation is None) == (role is None):
        raise StanzaError(StanzaCondition.BAD_REQUEST, "expected an affiliation or a role")
    chats = session.accounts.kept(Chats)
    kinds = [Membership.BAN] if affiliation == "outcast" else [Membership.JOIN, Membership.INVITE]

    def read(conn: Connection) -> list[Member]:
        return memberships.members(conn, facts.nid, kinds)

    hub = session.accounts.kept(Occupancies).of(session, Jid.parse(iq.attributes["to"]))
    query = Element("query", ADMIN)
    for member in await session.services.db.read(read):
        if len(query.children) == MOST_LISTED:
            break
        standing = standing_of(facts.levels, member.user_id, member.membership)
        if (affiliation, role) not in ((standing.affiliation.value, None), (None, standing.role.value)):
            continue
        nick = hub.nicks.of(member.user_id) if hub is not None else None
        attributes = {
            "affiliation": standing.affiliation.value,
            "jid": str(chats.addresses.of_user(member.user_id)),
            "nick": nick,
            "role": standing.role.value if role is not None else None,
        }
        query.add(Element("item", ADMIN, attributes))
    return stanzas.result(iq, query)


async def change(session: Session, iq: Element) -> Element:
    """Change affiliations and roles. Raises `StanzaError` and what services raise."""
    facts = await of_jid(session, iq.attributes["to"])
    items = list(stanzas.payload_of(iq).find_all("item"))
    if not items or len(items) > MOST_ITEMS:
        raise StanzaError(StanzaCondition.BAD_REQUEST, f"expected 1 to {MOST_ITEMS} items")
    hub = session.accounts.kept(Occupancies).of(session, Jid.parse(iq.attributes["to"]))
    for number, item in enumerate(items):
        if number:
            # What was changed before decides what may be changed now.
            facts = await of_jid(session, iq.attributes["to"])
        user_id = _user_of(session, item)
        nick = item.get("nick")
        if user_id is None and nick is not None and hub is not None:
            user_id = hub.nicks.user(nick)
        if user_id is None:
            raise StanzaError(StanzaCondition.ITEM_NOT_FOUND, "There is no such user")
        reason = item.text_of("reason") or None
        try:
            if item.get("affiliation") is not None:
                await _affiliate(session, facts, user_id, Affiliation(item.get("affiliation") or ""), reason)
            else:
                await _give_role(session, facts, user_id, Role(item.get("role") or ""), reason)
        except ValueError as error:
            raise StanzaError(StanzaCondition.BAD_REQUEST, "no such affiliation or role") from error
    return stanzas.result(iq)


def _user_of(session: Session, item: Element) -> UserID | None:
    jid = item.get("jid")
    try:
        return session.addresses.user(Jid.parse(jid)) if jid is not None else None
    except InvalidIdentifier as error:
        raise StanzaError(StanzaCondition.JID_MALFORMED, str(error)) from error


async def _affiliate(
    session: Session, facts: RoomFacts, user_id: UserID, wanted: Affiliation, reason: str | None
) -> None:
    """Give somebody an affiliation: https://xmpp.org/extensions/xep-0045.html#affil."""
    membership = await _membership(session, facts, user_id)
    services, who, room_id = session.services.memberships, session.who, facts.room_id
    if wanted is Affiliation.OUTCAST:
        await services.ban(who, room_id, user_id, reason)
        return
    if membership is Membership.BAN:
        await services.unban(who, room_id, user_id, reason)
        membership = Membership.LEAVE
    if wanted is Affiliation.NONE:
        if user_id == who.user_id:
            await services.leave(who, room_id, reason)
        elif membership in (Membership.JOIN, Membership.INVITE, Membership.KNOCK):
            await services.kick(who, room_id, user_id, reason)
        return
    if membership is Membership.KNOCK or (
        membership not in (Membership.JOIN, Membership.INVITE) and facts.members_only
    ):
        await services.invite(who, room_id, user_id, reason)
    if standing_of(facts.levels, user_id, Membership.JOIN).affiliation is not wanted:
        await _set_level(session, facts, user_id, level_for(wanted, facts.levels))


async def _give_role(session: Session, facts: RoomFacts, user_id: UserID, wanted: Role, reason: str | None) -> None:
    """Give somebody a role, none to remove them: https://xmpp.org/extensions/xep-0045.html#roles."""
    if wanted is Role.NONE:
        await session.services.memberships.kick(session.who, facts.room_id, user_id, reason)
    elif standing_of(facts.levels, user_id, Membership.JOIN).role is not wanted:
        await _set_level(session, facts, user_id, level_for_role(wanted, facts.levels))


async def _set_level(session: Session, facts: RoomFacts, user_id: UserID, level: int | None) -> None:
    content: Mapping[str, Any] = with_level(facts.levels_content, user_id, level)
    await session.services.messages.set_state(session.who, facts.room_id, POWER_LEVELS, "", content)


async def _membership(session: Session, facts: RoomFacts, user_id: UserID) -> Membership | None:
    def read(conn: Connection) -> Membership | None:
        user = session.services.history.names.user(conn, user_id)
        standing = memberships.of_user_in(conn, facts.nid, user) if user is not None else None
        return standing.membership if standing is not None else None

    return await session.services.db.read(read)


async def moderate(session: Session, iq: Element) -> Element:
    """Take somebody's message away: https://xmpp.org/extensions/xep-0425.html. Raises what services raise."""
    facts = await of_jid(session, iq.attributes["to"])
    wanted = stanzas.payload_of(iq)
    chats = session.accounts.kept(Chats)
    target = wanted.get("id") or ""
    if wanted.find("retract", RETRACT) is None:
        raise StanzaError(StanzaCondition.BAD_REQUEST, "messages can only be retracted")
    # With the first version all others are gone.
    event = await session.services.db.read(lambda conn: first_version(conn, chats, [facts.nid], target))
    if event is None:
        raise StanzaError(StanzaCondition.ITEM_NOT_FOUND, "There is no such message")
    reason = wanted.text_of("reason")
    content = {"reason": reason} if reason else {}
    if event.redacted_by is None:
        await chats.take_away(session, facts.room_id, event.event_id, content, None)
    return stanzas.result(iq)


FEATURES: dict[Place, tuple[str, ...]] = {}
HANDLERS: dict[Key, Handler] = {
    (Place.ROOM, Kind.GET, ADMIN, "query"): lists,
    (Place.ROOM, Kind.SET, ADMIN, "query"): change,
    (Place.ROOM, Kind.SET, MODERATE, "moderate"): moderate,
}
