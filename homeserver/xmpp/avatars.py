"""A user's picture and name as nodes that their contacts hear of, filled from the profile.

Pictures are https://xmpp.org/extensions/xep-0084.html, names https://xmpp.org/extensions/xep-0172.html. What a client
publishes there becomes the profile's, and what a Matrix client says in the profile is told to whoever listens. The same
picture is in the vCard (`vcard`) and its hash in presence (`photos`), which is what
https://xmpp.org/extensions/xep-0398.html asks for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from federation.core.ids import UserID, server_of
from federation.core.xmpp.element import Element
from federation.core.xmpp.errors import StanzaCondition, StanzaError
from federation.core.xmpp.jid import Jid
from homeserver.model.nids import UserNid
from homeserver.model.profiles import AVATAR_URL, DISPLAY_NAME, PublicNames
from homeserver.storage import account_data, profiles
from homeserver.xmpp import direct, pictures, presence, roster
from homeserver.xmpp.accounts import Account, Accounts, News
from homeserver.xmpp.eventing import EVENT, event, send
from homeserver.xmpp.faces import faces
from homeserver.xmpp.interests import Interests
from homeserver.xmpp.pictures import Picture, Pictures
from homeserver.xmpp.session import Session

DATA = "urn:xmpp:avatar:data"
METADATA = "urn:xmpp:avatar:metadata"
NICK = "http://jabber.org/protocol/nick"
NODES = frozenset((METADATA, NICK))
"""What is told of when it changes. The picture itself is not: whoever wants it asks for it."""
FEATURES = ("urn:xmpp:pep-vcard-conversion:0",)
CURRENT = "current"

Items = Sequence[tuple[str, Element]]


@dataclass(slots=True)
class _Offered:
    """The picture that a session has sent, and not yet said to be the user's."""

    sha1: str | None = None
    url: str = ""


@dataclass(slots=True)
class _Told:
    """What a session knows of whom: a picture's hash or a name, by whose and which node."""

    known: dict[tuple[str, str], str | None] = field(default_factory=dict)


# What clients ask for


async def read_data(session: Session, user_id: UserID) -> Items:
    """Return somebody's picture."""
    found = await session.accounts.kept(Pictures).get((await names_of(session, user_id)).avatar_url)
    if found is None:
        return []
    picture, data = found
    return [(picture.sha1, Element("data", DATA, None, pictures.encode(data)))]


async def read_metadata(session: Session, user_id: UserID) -> Items:
    """Return what is told of somebody's picture."""
    picture = await session.accounts.kept(Pictures).find((await names_of(session, user_id)).avatar_url)
    return [_metadata(picture)] if picture is not None else []


async def read_nick(session: Session, user_id: UserID) -> Items:
    """Return somebody's name."""
    name = (await names_of(session, user_id)).display_name
    return [_nick(name)] if name else []


async def names_of(session: Session, user_id: UserID) -> PublicNames:
    """Return somebody's name and picture. Raises `MatrixError` if there is no such user."""
    profile = await session.services.profiles.all(user_id)
    name, url = profile.get(DISPLAY_NAME), profile.get(AVATAR_URL)
    return PublicNames(name if isinstance(name, str) else None, url if isinstance(url, str) else None)


# What clients publish


async def publish_data(session: Session, name: str, payload: Element) -> None:
    """Take a picture, to be shown once its metadata is published. Raises `StanzaError` and what services raise."""
    if (payload.name, payload.namespace) != ("data", DATA):
        raise StanzaError(StanzaCondition.BAD_REQUEST, "expected data")
    data = pictures.decode(payload.text)
    if pictures.sha1(data) != name.lower():
        raise StanzaError(StanzaCondition.BAD_REQUEST, "the ID of a picture is the SHA-1 of its bytes")
    shown = await session.accounts.kept(Pictures).find((await _own(session)).avatar_url)
    offered = session.kept(_Offered)
    if name.lower() not in (offered.sha1, shown.sha1 if shown is not None else None):
        offered.url = await pictures.keep(session, data)
        offered.sha1 = name.lower()


async def publish_metadata(session: Session, _name: str, payload: Element) -> None:
    """Show a picture that was sent before, or none. Raises `StanzaError` and what services raise."""
    if (payload.name, payload.namespace) != ("metadata", METADATA):
        raise StanzaError(StanzaCondition.BAD_REQUEST, "expected metadata")
    infos = list(payload.find_all("info"))
    if not infos:
        await _set(session, AVATAR_URL, "")
        return
    # What lies somewhere else is another form of the same picture.
    sha1 = next((info.get("id") or "" for info in infos if info.get("url") is None), "").lower()
    shown = await session.accounts.kept(Pictures).find((await _own(session)).avatar_url)
    if shown is not None and sha1 == shown.sha1:
        return
    for one in session.account.sessions.values():
        if sha1 and one.kept(_Offered).sha1 == sha1:
            await _set(session, AVATAR_URL, one.kept(_Offered).url)
            return
    raise StanzaError(StanzaCondition.ITEM_NOT_FOUND, "Publish the picture itself first")


async def publish_nick(session: Session, _name: str, payload: Element) -> None:
    """Take a name as the user's display name. Raises `StanzaError` and what services raise."""
    if (payload.name, payload.namespace) != ("nick", NICK):
        raise StanzaError(StanzaCondition.BAD_REQUEST, "expected a nick")
    await _set(session, DISPLAY_NAME, payload.text.strip())


async def retract_data(session: Session, name: str) -> None:
    """Forget a picture that was not shown yet; the one that is stays until its metadata says otherwise."""
    offered = session.kept(_Offered)
    if offered.sha1 == name.lower():
        offered.sha1 = None


async def retract_metadata(session: Session, _name: str) -> None:
    """Show no picture."""
    await _set(session, AVATAR_URL, "")


async def retract_nick(session: Session, _name: str) -> None:
    """Have no name."""
    await _set(session, DISPLAY_NAME, "")


async def _own(session: Session) -> PublicNames:
    return await names_of(session, session.who.user_id)


async def _set(session: Session, field_: str, value: str) -> None:
    await session.services.profiles.put(session.who, session.who.user_id, field_, {field_: value})


# What clients are told


async def tell(session: Session, owner: Jid, names: PublicNames, wanted: frozenset[str] = NODES) -> None:
    """Tell a session what it does not know of somebody's picture and name, of those nodes that it listens to."""
    known = session.kept(_Told).known
    listens = wanted & session.kept(Interests).nodes
    if METADATA in listens:
        picture = await session.accounts.kept(Pictures).find(names.avatar_url)
        now = picture.sha1 if picture is not None else None
        if known.get((str(owner), METADATA)) != now:
            known[str(owner), METADATA] = now
            _send(session, METADATA, owner, _metadata(picture))
    if NICK in listens and known.get((str(owner), NICK)) != (names.display_name or None):
        known[str(owner), NICK] = names.display_name or None
        _send(session, NICK, owner, _nick(names.display_name))


async def introduce(session: Session, wanted: frozenset[str] = NODES) -> None:
    """Tell a session what it does not know of its own user and of contacts."""
    if not wanted & session.kept(Interests).nodes:
        return
    owners = {session.who.user_id: session.jid.bare, **await _contacts(session)}
    for user_id, names in (await faces(session, owners)).items():
        await tell(session, owners[user_id], names, wanted)


async def profile_changed(accounts: Accounts, user: UserNid, user_id: UserID) -> None:
    """Tell of a new name or picture of a user of this server, beside what else is done."""
    accounts.soon(_tell_everybody(accounts, user, user_id)).set_name("xmpp-profile")


async def _tell_everybody(accounts: Accounts, user: UserNid, user_id: UserID) -> None:
    own = accounts.of_user(user)
    if own is not None:
        await presence.picture_changed(own)
    services, owner = accounts.services, accounts.addresses.of_user(user_id)
    listening = {session.account for session in accounts.all() if _listens(session)}

    def read(conn: Connection) -> tuple[PublicNames, set[UserNid]]:
        lists = account_data.of_users(conn, [account.user for account in listening], direct.DIRECT)
        # A first look, to ask for few rosters: whoever has a direct chat with the user names them there.
        named = {nid for nid, (_, content) in lists.items() if user_id.encode() in content}
        return profiles.names_of(conn, [user])[user], named

    names, named = await services.db.read(read)
    for account in listening:
        available = [session for session in account.available() if _listens(session)]
        if not available:
            continue
        if account is own or (account.user in named and user_id in await _contacts(available[0])):
            for session in available:
                await tell(session, owner, names)


async def news(account: Account, told: News) -> None:
    """Tell of new names and pictures of contacts of other servers, as rooms say them."""
    listening = [session for session in account.available() if _listens(session)]
    if not listening or not told.rooms:
        return
    services, own = account.accounts.services, account.accounts.addresses.server_name
    moved = {
        UserID(event.state_key)
        for room in told.rooms
        for event in services.receipts.recent.since(room, told.since) or ()
        if event.type == "m.room.member" and event.state_key is not None and event.state_key == event.sender
    }
    moved = {user_id for user_id in moved if server_of(user_id) != own}
    contacts = await _contacts(listening[0]) if moved else {}
    for user_id in moved & contacts.keys():
        services.profiles.elsewhere.forget(user_id)
    for user_id, names in (await faces(listening[0], moved & contacts.keys())).items():
        for session in listening:
            account.accounts.soon(tell(session, contacts[user_id], names)).set_name("xmpp-profile")


async def _contacts(session: Session) -> dict[UserID, Jid]:
    """Return those whom a session's user listens to."""
    found = {}
    for item in await roster.near(session):
        jid = Jid.parse(item.jid)
        user_id = session.addresses.user(jid) if item.subscription in ("both", "to") else None
        if user_id is not None:
            found[user_id] = jid
    return found


def _listens(session: Session) -> bool:
    return session.available and bool(NODES & session.kept(Interests).nodes)


def _send(session: Session, node: str, owner: Jid, item: tuple[str, Element]) -> None:
    send([session], node, event(node, [Element("item", EVENT, {"id": item[0]}, item[1])]), owner)


def _metadata(picture: Picture | None) -> tuple[str, Element]:
    metadata = Element("metadata", METADATA)
    if picture is None:
        return CURRENT, metadata
    width, height = picture.dimensions or (None, None)
    info = {
        "id": picture.sha1, "bytes": str(picture.size), "type": picture.content_type,
        "width": str(width) if width is not None else None, "height": str(height) if height is not None else None,
    }  # fmt: skip
    return picture.sha1, metadata.add(Element("info", METADATA, info))


def _nick(name: str | None) -> tuple[str, Element]:
    return CURRENT, Element("nick", NICK, None, *([name] if name else []))
