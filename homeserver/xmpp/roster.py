"""Rosters: https://www.rfc-editor.org/rfc/rfc6121#section-2."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from sqlalchemy import Connection

from federation.core.errors import InvalidIdentifier
from federation.core.ids import UserID
from federation.core.xmpp.element import Element
from federation.core.xmpp.errors import StanzaCondition, StanzaError
from federation.core.xmpp.jid import Jid
from federation.core.xmpp.stanza import payload_of, request, result
from homeserver.model.accounts import Requester
from homeserver.model.rosters import RosterItem
from homeserver.xmpp.accounts import Account, News
from homeserver.xmpp.addresses import Place
from homeserver.xmpp.router import Kind
from homeserver.xmpp.session import Session

ROSTER = "jabber:iq:roster"
VERSIONING = "urn:xmpp:features:rosterver"
STREAM_FEATURE = Element("ver", VERSIONING)
LONGEST = 1500
"""Characters of the name of a contact and of its groups together: all contacts go in one stanza."""
MOST_GROUPS = 50


@dataclass(slots=True)
class Shown:
    """The roster as a session has it, once it has asked for it: it is told of changes from then on."""

    items: dict[str, RosterItem] | None = None


async def get(session: Session, iq: Element) -> Element:
    """Return the roster; nothing if the client has it already: https://www.rfc-editor.org/rfc/rfc6121#section-2.6."""
    items = await contacts(session)
    session.kept(Shown).items = {item.jid: item for item in items}
    known = payload_of(iq).get("ver")
    version = _version(items)
    if known is not None and known == version:
        return result(iq)
    return result(iq, Element("query", ROSTER, {"ver": version}, *map(_element, items)))


async def change(session: Session, iq: Element) -> Element:
    """Add, change or remove one contact: https://www.rfc-editor.org/rfc/rfc6121#section-2.1.5."""
    query = payload_of(iq)
    items = list(query.find_all("item"))
    if len(items) != 1:
        raise StanzaError(StanzaCondition.BAD_REQUEST, "a roster is changed item by item")
    item = items[0]
    jid = _contact(session, item)
    rosters = session.services.rosters
    if item.get("subscription") == "remove":
        await rosters.remove(session.who, str(jid), session.addresses.user(jid))
    else:
        name = item.get("name") or None
        groups = [group.text for group in item.find_all("group")]
        if len(groups) != len(set(groups)) or len(groups) > MOST_GROUPS:
            raise StanzaError(StanzaCondition.BAD_REQUEST, "the groups of a contact differ, and are few")
        if any(not group for group in groups) or sum(map(len, (*groups, name or ""))) > LONGEST:
            raise StanzaError(StanzaCondition.NOT_ACCEPTABLE, "a name or a group is empty or too long")
        await rosters.put(session.who, str(jid), name, groups)
    await push_changes(session.account, session)
    return result(iq)


def removed(session: Session, iq: Element) -> Jid | None:
    """Return whom a change of the roster takes away."""
    item = payload_of(iq).find("item")
    return _contact(session, item) if item is not None and item.get("subscription") == "remove" else None


async def contacts(session: Session) -> Sequence[RosterItem]:
    """Return the contacts of a session's user."""
    return await of_user(session, session.who)


async def of_user(session: Session, who: Requester) -> Sequence[RosterItem]:
    """Return the contacts of somebody of this server."""

    def jid_of(user_id: UserID) -> str | None:
        try:
            return str(session.addresses.of_user(user_id))
        except InvalidIdentifier:
            return None

    return await session.services.rosters.all(who, jid_of)


async def near(session: Session) -> Sequence[RosterItem]:
    """Return the contacts of a session's user, but for those whom they have blocked, or who have blocked them."""
    services, who = session.services, session.who
    items = await contacts(session)
    users = {user_id: item for item in items if (user_id := session.addresses.user(Jid.parse(item.jid))) is not None}
    if not users:
        return items

    def read(conn: Connection) -> set[UserID]:
        nids = services.history.names.user_nids(conn, users)
        ignored = services.account_data.ignored(conn, [who.user, *nids.values()])
        theirs = {user_id for user_id, nid in nids.items() if who.user_id in ignored[nid]}
        return theirs | ignored[who.user]

    away = await services.db.read(read)
    blocked = {item.jid for user_id, item in users.items() if user_id in away}
    return [item for item in items if item.jid not in blocked]


async def may_reach(session: Session, other: Jid) -> bool:
    """Return whether a session's user knows by presence that another one is there, and may ask it things."""
    bare = str(other.bare)
    return any(item.jid == bare and item.subscription in ("both", "to") for item in await near(session))


async def push_changes(account: Account, by: Session) -> dict[Jid, bool]:
    """Tell the user's sessions that know the roster what is new.

    Return whom the user sees from now on, and whether they were asked for that.

    https://www.rfc-editor.org/rfc/rfc6121#section-2.1.6
    """
    now = {item.jid: item for item in await contacts(by)}
    seen: dict[Jid, bool] = {}
    version = _version(list(now.values()))
    for session in account.sessions.values():
        shown = session.kept(Shown)
        if shown.items is None:
            continue
        changed = [item for jid, item in now.items() if shown.items.get(jid) != item]
        gone = [
            Element("item", ROSTER, {"jid": jid, "subscription": "remove"}) for jid in shown.items if jid not in now
        ]
        for one in changed:
            before = shown.items.get(one.jid)
            if _sees(one) and not _sees(before):
                jid = Jid.parse(one.jid)
                seen[jid] = seen.get(jid, False) or _asked(before)
        shown.items = now
        for element in (*map(_element, changed), *gone):
            query = Element("query", ROSTER, {"ver": version}, element)
            name = session.services.ids.letters(12)
            # From the account, which is what no address means; clients refuse pushes from anybody else.
            session.send(request(session.jid, query, type_="set", id_=name))
    return seen


async def look(account: Account, told: News) -> dict[Jid, bool]:
    """Tell of new and former direct chats; return whom the user sees from now on, and whether they were asked."""
    interested = [one for one in account.sessions.values() if one.kept(Shown).items is not None]
    # Somebody who is asked accepts by joining a room.
    asking = told.rooms and any(
        map(_asked, (item for one in interested for item in (one.kept(Shown).items or {}).values()))
    )
    if interested and (told.personal or asking):
        return await push_changes(account, interested[0])
    return {}


def _sees(item: RosterItem | None) -> bool:
    return item is not None and item.subscription in ("both", "to")


def _asked(item: RosterItem | None) -> bool:
    return item is not None and item.ask is not None


def _contact(session: Session, item: Element) -> Jid:
    try:
        jid = Jid.parse(item.get("jid") or "")
    except InvalidIdentifier as error:
        raise StanzaError(StanzaCondition.BAD_REQUEST, f"jid: {error}") from error
    if jid.bare == session.jid.bare:
        raise StanzaError(StanzaCondition.NOT_ALLOWED, "nobody is their own contact")
    return jid.bare


def _element(item: RosterItem) -> Element:
    attributes = {"jid": item.jid, "name": item.name, "subscription": item.subscription, "ask": item.ask}
    return Element("item", ROSTER, attributes, *(Element("group", ROSTER, {}, group) for group in item.groups))


def _version(items: Sequence[RosterItem]) -> str:
    return sha256(repr(items).encode()).hexdigest()[:20]


FEATURES: dict[Place, tuple[str, ...]] = {Place.SERVER: (ROSTER,)}
HANDLERS = {(Place.ACCOUNT, Kind.GET, ROSTER, "query"): get}
"""Changing it changes who sees whom, so that `subscriptions` answers that."""
