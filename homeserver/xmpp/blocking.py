"""Whom a user wants to hear nothing of, which is Matrix's list of ignored users.

Between XMPP clients whoever is blocked sees nobody there and gets no answer. What they write is kept like all that is
said in a room, and shown to the user by none of their clients: in Matrix nobody is told that they are ignored.

Source: https://xmpp.org/extensions/xep-0191.html
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from federation.core.errors import InvalidIdentifier
from federation.core.ids import UserID, parse_user_id
from federation.core.xmpp import stanza as stanzas
from federation.core.xmpp.element import Element
from federation.core.xmpp.errors import ErrorType, StanzaCondition, StanzaError
from federation.core.xmpp.jid import Jid
from federation.core.xmpp.stanza import payload_of, request, result
from homeserver.errors import NotFound
from homeserver.model.nids import UserNid
from homeserver.services import Services
from homeserver.services.account_data import IGNORED_USERS
from homeserver.xmpp import presence
from homeserver.xmpp.accounts import Account, News
from homeserver.xmpp.addresses import Addresses, Place
from homeserver.xmpp.router import Kind
from homeserver.xmpp.session import Session

BLOCKING = "urn:xmpp:blocking"
ERRORS = "urn:xmpp:blocking:errors"


@dataclass(slots=True)
class Shown:
    """The list as a session has it, once it has asked for it: it is told of changes from then on."""

    jids: frozenset[str] | None = None


class _Blocked:
    """Whom each user who has sessions was known to block: what is new is told to those whom it is about."""

    def __init__(self, _accounts: object) -> None:
        self.of: dict[UserNid, frozenset[UserID]] = {}


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
    if not told.personal:
        return
    await _carry_on(account)
    interested = [one for one in account.sessions.values() if one.kept(Shown).jids is not None]
    if not interested:
        return
    now = _jids(interested[0], await _ignored(interested[0]))
    for session in interested:
        shown = session.kept(Shown)
        before, shown.jids = shown.jids or frozenset(), now
        for name, changed in (("block", now - before), ("unblock", before - now)):
            if changed:
                push = Element(name, BLOCKING, {}, *_items(changed))
                session.send(request(session.jid, push, type_="set", id_=session.services.ids.letters(12)))


async def begun(session: Session) -> None:
    """Take note whom a user blocks who comes."""
    known = session.accounts.kept(_Blocked).of
    known.setdefault(session.who.user, await _blocked_by(session.services, session.who.user))


async def ended(session: Session) -> None:
    """Forget a user who has no session any more."""
    if not session.account.sessions:
        session.accounts.kept(_Blocked).of.pop(session.who.user, None)


async def _carry_on(account: Account) -> None:
    """Let those see each other no more whom a new block keeps apart, and those again whom none does."""
    known = account.accounts.kept(_Blocked).of
    now = await _blocked_by(account.accounts.services, account.user)
    before = known.get(account.user, now)
    known[account.user] = now
    for users, tell in ((now - before, presence.blocked), (before - now, presence.unblocked)):
        for jid in _addresses(account.accounts.addresses, users):
            await tell(account, jid)


async def guard(session: Session, place: Place, to: Jid | None, stanza: Element) -> bool:
    """Keep apart what a block is between. Raises `StanzaError`: https://xmpp.org/extensions/xep-0191.html#block."""
    peer = session.addresses.user(to) if to is not None and place in (Place.USER, Place.SESSION) else None
    if to is None or peer is None or peer == session.who.user_id:
        return True
    if peer in await _blocked_by(session.services, session.who.user):
        text = "You have blocked this user"
        raise StanzaError(StanzaCondition.NOT_ACCEPTABLE, text, type=ErrorType.CANCEL, detail=("blocked", ERRORS))
    if stanza.name == stanzas.MESSAGE or not await _blocks(session, to, peer):
        return True
    if stanza.name == stanzas.IQ and stanza.get("type") in ("get", "set"):
        raise StanzaError(StanzaCondition.SERVICE_UNAVAILABLE)
    return False


async def _blocks(session: Session, to: Jid, peer: UserID) -> bool:
    """Return whether somebody blocks the session's user."""
    account, services = session.accounts.at(to), session.services
    if account is not None:
        user: UserNid | None = account.user
    else:
        user = await services.db.read(lambda conn: services.history.names.user(conn, peer))
    return user is not None and session.who.user_id in await _blocked_by(services, user)


async def _blocked_by(services: Services, user: UserNid) -> frozenset[UserID]:
    known = services.account_data.known_ignored(user)
    if known is not None:
        return known
    return await services.db.read(lambda conn: services.account_data.ignored(conn, [user])[user])


async def _change(session: Session, change: Callable[[set[UserID]], set[UserID]]) -> None:
    def changed(content: dict[str, Any]) -> dict[str, Any]:
        kept = content.get("ignored_users")
        known = kept if isinstance(kept, dict) else {}
        now = change(_user_ids(known))
        return {**content, "ignored_users": {user_id: known.get(user_id, {}) for user_id in sorted(now)}}

    await session.services.account_data.change(session.who, IGNORED_USERS, changed)


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
    return frozenset(map(str, _addresses(session.addresses, users)))


def _addresses(addresses: Addresses, users: Iterable[UserID]) -> set[Jid]:
    found = set()
    for user_id in users:
        try:
            found.add(addresses.of_user(user_id))
        except InvalidIdentifier:
            continue
    return found


def _items(jids: Iterable[str]) -> list[Element]:
    return [Element("item", BLOCKING, {"jid": jid}) for jid in sorted(jids)]


FEATURES = {Place.SERVER: (BLOCKING,), Place.ACCOUNT: (BLOCKING,)}
HANDLERS = {
    (Place.ACCOUNT, Kind.GET, BLOCKING, "blocklist"): get,
    (Place.ACCOUNT, Kind.SET, BLOCKING, "block"): block,
    (Place.ACCOUNT, Kind.SET, BLOCKING, "unblock"): unblock,
}
