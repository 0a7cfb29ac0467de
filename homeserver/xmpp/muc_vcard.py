"""The vCard of a room, which holds its picture: https://xmpp.org/extensions/xep-0486.html."""

from typing import Any

from federation.core.xmpp import stanza as stanzas
from federation.core.xmpp.element import Element
from federation.core.xmpp.errors import StanzaCondition, StanzaError
from homeserver.xmpp import pictures
from homeserver.xmpp.addresses import Place
from homeserver.xmpp.muc_disco import look, of_jid
from homeserver.xmpp.pictures import Pictures
from homeserver.xmpp.room_facts import AVATAR
from homeserver.xmpp.router import Handler, Key, Kind
from homeserver.xmpp.session import Session
from homeserver.xmpp.vcard import CARD, FULL_NAME, VCARD, card, photo_of


async def get(session: Session, iq: Element) -> Element:
    """Return name and picture of a room. Raises `StanzaError`."""
    facts, _ = await look(session, iq)
    made = await card(session.accounts, facts.name, facts.avatar_url)
    # A room has a name, and nobody calls it by a nick.
    shown = [child for child in made.elements() if child.name in (FULL_NAME, "PHOTO")]
    return stanzas.result(iq, made.with_children(shown))


async def put(session: Session, iq: Element) -> Element:
    """Give a room the picture in a vCard, or none. Raises `StanzaError` and what services raise."""
    facts = await of_jid(session, iq.attributes["to"])
    if facts.levels.user_level(session.who.user_id) < facts.levels.event_level(AVATAR, is_state=True):
        raise StanzaError(StanzaCondition.FORBIDDEN, "You may not change the picture of this room")
    data = photo_of(stanzas.payload_of(iq))
    shown = await session.accounts.kept(Pictures).find(facts.avatar_url)
    content: dict[str, Any] = {}
    if data is not None:
        if shown is not None and pictures.sha1(data) == shown.sha1:
            return stanzas.result(iq)
        content = {"url": await pictures.keep(session, data), "info": _info(data)}
    elif facts.avatar_url is None:
        return stanzas.result(iq)
    await session.services.messages.set_state(session.who, facts.room_id, AVATAR, "", content)
    return stanzas.result(iq)


def _info(data: bytes) -> dict[str, Any]:
    """Return what is said of a picture beside it: https://spec.matrix.org/v1.19/client-server-api/#mroomavatar."""
    info: dict[str, Any] = {"mimetype": pictures.type_of(data), "size": len(data)}
    size = pictures.dimensions(data)
    return info if size is None else {**info, "w": size[0], "h": size[1]}


FEATURES: dict[Place, tuple[str, ...]] = {Place.ROOMS: (VCARD,)}
HANDLERS: dict[Key, Handler] = {(Place.ROOM, Kind.GET, VCARD, CARD): get, (Place.ROOM, Kind.SET, VCARD, CARD): put}
