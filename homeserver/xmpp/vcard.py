"""Profiles of Matrix users as vCards, and what else an own vCard holds: https://xmpp.org/extensions/xep-0054.html.

Name and picture are those of the profile. All other fields have no place in Matrix: they are kept as the client sent
them, and given back to everybody, as vCards are.
"""

from federation.core.errors import ProtocolError
from federation.core.ids import UserID
from federation.core.xmpp.element import Element, serialise
from federation.core.xmpp.errors import StanzaCondition, StanzaError
from federation.core.xmpp.jid import Jid
from federation.core.xmpp.stanza import payload_of, result
from federation.core.xmpp.xml import AFTER_LOGIN, parse_frame
from homeserver.model.profiles import AVATAR_URL, DISPLAY_NAME
from homeserver.storage import private_xml
from homeserver.xmpp import pictures
from homeserver.xmpp.accounts import Accounts
from homeserver.xmpp.addresses import Place
from homeserver.xmpp.occupancy import Occupancies
from homeserver.xmpp.pictures import Pictures
from homeserver.xmpp.router import Handler, Key, Kind
from homeserver.xmpp.session import Session

VCARD = "vcard-temp"
CARD = "vCard"
NICKNAME, FULL_NAME, PHOTO = "NICKNAME", "FN", "PHOTO"
OF_PROFILE = (NICKNAME, FULL_NAME, PHOTO)


async def get(session: Session, iq: Element) -> Element:
    """Return the vCard of a user. Raises `StanzaError`, and `MatrixError` if there is no such user."""
    to = iq.get("to")
    user_id = session.who.user_id if to is None else session.addresses.user(Jid.parse(to))
    if user_id is None:
        raise StanzaError(StanzaCondition.ITEM_NOT_FOUND)
    profile = await session.services.profiles.all(user_id)
    names = profile.get(DISPLAY_NAME), profile.get(AVATAR_URL)
    return result(iq, await card(session.accounts, *names, await _others(session, user_id)))


async def of_occupant(session: Session, iq: Element) -> Element:
    """Return the vCard of somebody in a room, with name and picture as they are there. Raises `StanzaError`."""
    to = Jid.parse(iq.attributes["to"])
    hub = session.accounts.kept(Occupancies).of(session, to)
    if hub is None:
        raise StanzaError(StanzaCondition.NOT_ACCEPTABLE, "You are not in this room")
    user_id = hub.nicks.user(to.resource or "")
    occupant = hub.occupants.get(user_id) if user_id is not None else None
    if occupant is None:
        raise StanzaError(StanzaCondition.ITEM_NOT_FOUND, "Nobody in this room is called that")
    others = await _others(session, occupant.user_id)
    return result(iq, await card(session.accounts, occupant.display_name, occupant.avatar_url, others))


async def put(session: Session, iq: Element) -> Element:
    """Take the user's own vCard: name and picture into the profile. Raises `StanzaError` and what services raise."""
    told, services, who = payload_of(iq), session.services, session.who
    profile = await services.profiles.local(who.user_id)
    now = profile.get(AVATAR_URL)
    url = await _picture(session, told, now if isinstance(now, str) else None)
    name = _name(told, profile.get(DISPLAY_NAME))
    kept = told.with_children([child for child in told.elements() if child.name not in OF_PROFILE])
    await services.private_xml.put(who, VCARD, CARD, serialise(kept, "").encode())
    if name is not None:
        await services.profiles.put(who, who.user_id, DISPLAY_NAME, {DISPLAY_NAME: name})
    if url is not None:
        await services.profiles.put(who, who.user_id, AVATAR_URL, {AVATAR_URL: url})
    return result(iq)


async def card(accounts: Accounts, name: object, url: object, others: Element | None = None) -> Element:
    """Return a vCard with a name, the picture at a content URI, and other fields."""
    made = Element(CARD, VCARD)
    if isinstance(name, str) and name:
        made.add(Element(FULL_NAME, VCARD, {}, name), Element(NICKNAME, VCARD, {}, name))
    if others is not None:
        made.add(*(child for child in others.elements() if child.name not in OF_PROFILE))
    found = await accounts.kept(Pictures).get(url)
    if found is not None:
        picture, data = found
        photo = Element(PHOTO, VCARD, {}, Element("TYPE", VCARD, {}, picture.content_type))
        made.add(photo.add(Element("BINVAL", VCARD, {}, pictures.encode(data))))
    return made


def photo_of(told: Element) -> bytes | None:
    """Return the picture in a vCard, None if there is none. Raises `StanzaError`."""
    photo = told.find(PHOTO)
    text = photo.text_of("BINVAL") if photo is not None else None
    if text is not None and text.strip():
        return pictures.decode(text)
    if photo is not None and photo.find("EXTVAL") is not None:
        raise StanzaError(StanzaCondition.NOT_ACCEPTABLE, "Send the picture itself, not where it is")
    return None


async def _picture(session: Session, told: Element, now: str | None) -> str | None:
    """Return the content URI of the picture in a vCard, nothing to have none, None for the one that is there."""
    data = photo_of(told)
    shown = await session.accounts.kept(Pictures).find(now)
    if data is None:
        # A picture that could not be shown is not taken away by a client that sends back what it was given.
        return "" if now and shown is not None else None
    if shown is not None and pictures.sha1(data) == shown.sha1:
        return None
    return await pictures.keep(session, data)


def _name(told: Element, now: object) -> str | None:
    """Return the name in a vCard, None if it says no other than there is.

    Both fields were given out as the one display name, so what the user has changed is the one that differs.
    """
    said = [told.text_of(field) for field in (NICKNAME, FULL_NAME)]
    texts = [text.strip() for text in said if text is not None]
    names = [text for text in texts if text]
    if not names:
        return "" if texts and now else None
    return next((name for name in names if name != now), None)


async def _others(session: Session, user_id: UserID) -> Element | None:
    """Return the fields of a user's vCard that are not of the profile, as they were kept."""
    services = session.services
    user = await services.db.read(lambda conn: services.history.names.user(conn, user_id))
    if user is None:
        return None
    stored = await services.db.read(lambda conn: private_xml.find(conn, user, VCARD, CARD))
    try:
        return parse_frame(stored, AFTER_LOGIN) if stored is not None else None
    except ProtocolError:
        return None


FEATURES: dict[Place, tuple[str, ...]] = {Place.ACCOUNT: (VCARD,), Place.USER: (VCARD,), Place.SERVER: (VCARD,)}
HANDLERS: dict[Key, Handler] = {
    (Place.ACCOUNT, Kind.GET, VCARD, CARD): get,
    (Place.ACCOUNT, Kind.SET, VCARD, CARD): put,
    (Place.USER, Kind.GET, VCARD, CARD): get,
    (Place.OCCUPANT, Kind.GET, VCARD, CARD): of_occupant,
}
