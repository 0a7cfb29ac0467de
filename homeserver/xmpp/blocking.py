"""Whom a user wants to hear nothing of, which is Matrix's list of ignored users.

Source: https://xmpp.org/extensions/xep-0191.html
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import orjson

from federation.core.errors import InvalidIdentifier
from federation.core.ids import UserID, parse_user_id
from federation.core.xmpp.element import Element
from federation.core.xmpp.errors import StanzaCondition, StanzaError
from federation.core.xmpp.jid import Jid
from federation.core.xmpp.stanza import payload_of, request, result
from homeserver.errors import NotFound
from homeserver.services.account_data import IGNORED_USERS
from homeserver.xmpp.accounts import Account, News
from homeserver.xmpp.addresses import Place
from homeserver.xmpp.router import Kind
from homeserver.xmpp.session import Session

BLOCKING = "urn:xmpp:blocking"


@dataclass(slots=True)
class Shown:
    """The list as a session has it, once it has asked for it: it is told of changes from then on."""

    jids: frozenset[str] | None = None


async def get(session: Session, iq: Element) -> Element:
    """Return the list."""
    jids = _jids(session, await _ignored(session))
    session.kept(Shown).jids = jids
    return result(iq, Element("blocklist", BLOCKING, {}, *_items(jids)))


async def block(session: Session, iq: Element) -> Element:
    """Add users to the list."""
    users = _users(session, payload_of(iq))
    if not users:
        raise StanzaError(StanzaCondition.BAD_REQUEST, "expected whom to block")
    await _change(session, lambda ignored: ignored | users)
    return result(iq)


async def unblock(session: Session, iq: Element) -> Element:
    """Take users from the list, all if none is named."""
    users = _users(session, payload_of(iq))
    await _change(session, lambda ignored: ignored - users if users else set())
    return result(iq)


async def news(account: Account, told: News) -> None:
    """Tell sessions of changes, whoever made them: this is how they learn of their own, too."""
    interested = [one for one in account.sessions.values() if one.kept(Shown).jids is not None]
    if not (told.personal and interested):
        return
    now = _jids(interested[0], await _ignored(interested[0]))
    for session in interested:
        shown = session.kept(Shown)
        before, shown.jids = shown.jids or frozenset(), now
        for name, changed in (("block", now - before), ("unblock", before - now)):
            if changed:
                push = Element(name, BLOCKING, {}, *_items(changed))
                session.send(request(session.jid, push, type_="set", id_=session.services.ids.letters(12)))


async def _change(session: Session, change: Callable[[set[UserID]], set[UserID]]) -> None:
    content = await _content(session)
    kept = content.get("ignored_users")
    known = kept if isinstance(kept, dict) else {}
    now = change(_user_ids(known))
    users = {user_id: known.get(user_id, {}) for user_id in sorted(now)}
    await session.services.account_data.put(
        session.who, session.who.user_id, IGNORED_USERS, {**content, "ignored_users": users}
    )


async def _content(session: Session) -> dict[str, object]:
    try:
        stored = await session.services.account_data.get(session.who, session.who.user_id, IGNORED_USERS)
    except NotFound:
        return {}
    return dict(orjson.loads(stored))


async def _ignored(session: Session) -> set[UserID]:
    listed = (await _content(session)).get("ignored_users")
    return _user_ids(listed) if isinstance(listed, dict) else set()


def _user_ids(names: Iterable[str]) -> set[UserID]:
    found = set()
    for name in names:
        try:
            found.add(parse_user_id(name))
        except InvalidIdentifier:
            continue
    return found


def _users(session: Session, asked: Element) -> set[UserID]:
    found = set()
    for item in asked.find_all("item"):
        try:
            jid = Jid.parse(item.get("jid") or "")
        except InvalidIdentifier as error:
            raise StanzaError(StanzaCondition.JID_MALFORMED, str(error)) from error
        user_id = session.addresses.user(jid)
        if user_id is None or user_id == session.who.user_id:
            raise StanzaError(StanzaCondition.NOT_ACCEPTABLE, f"{jid} is no other user who could be blocked")
        found.add(user_id)
    return found


def _jids(session: Session, users: Iterable[UserID]) -> frozenset[str]:
    found = set()
    for user_id in users:
        try:
            found.add(str(session.addresses.of_user(user_id)))
        except InvalidIdentifier:
            continue
    return frozenset(found)


def _items(jids: Iterable[str]) -> list[Element]:
    return [Element("item", BLOCKING, {"jid": jid}) for jid in sorted(jids)]


FEATURES = {Place.SERVER: (BLOCKING,), Place.ACCOUNT: (BLOCKING,)}
HANDLERS = {
    (Place.ACCOUNT, Kind.GET, BLOCKING, "blocklist"): get,
    (Place.ACCOUNT, Kind.SET, BLOCKING, "block"): block,
    (Place.ACCOUNT, Kind.SET, BLOCKING, "unblock"): unblock,
}
