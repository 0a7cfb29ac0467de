"""Profiles of Matrix users as vCards: https://xmpp.org/extensions/xep-0054.html."""

import base64
import re

from federation.core.errors import InvalidIdentifier
from federation.core.ids import UserID, parse_server_name
from federation.core.xmpp.element import Element
from federation.core.xmpp.errors import StanzaCondition, StanzaError
from federation.core.xmpp.jid import Jid
from federation.core.xmpp.stanza import result
from homeserver.errors import MatrixError
from homeserver.model.media import MediaID, Method, Shape
from homeserver.model.profiles import AVATAR_URL, DISPLAY_NAME
from homeserver.services import Services
from homeserver.xmpp.addresses import Place
from homeserver.xmpp.router import Kind
from homeserver.xmpp.session import Session

VCARD = "vcard-temp"
SHAPE = Shape(96, 96, Method.CROP, animated=False)
LARGEST_PICTURE = 64 * 1024
WAIT_MS = 5000

_mxc = re.compile(r"mxc://([^/]+)/([A-Za-z0-9_-]+)").fullmatch


async def get(session: Session, iq: Element) -> Element:
    """Return the vCard of a user: their display name and picture."""
    to = iq.get("to")
    user_id = session.who.user_id if to is None else session.addresses.user(Jid.parse(to))
    if user_id is None:
        raise StanzaError(StanzaCondition.ITEM_NOT_FOUND)
    return result(iq, await card(session.services, user_id))


async def card(services: Services, user_id: UserID) -> Element:
    """Return a user's vCard. Raises `MatrixError` if there is no such user."""
    profile = await services.profiles.all(user_id)
    made = Element("vCard", VCARD)
    name = profile.get(DISPLAY_NAME)
    if isinstance(name, str) and name:
        made.add(Element("FN", VCARD, {}, name), Element("NICKNAME", VCARD, {}, name))
    found = await picture(services, profile.get(AVATAR_URL))
    if found is not None:
        kind, content = found
        made.add(
            Element(
                "PHOTO", VCARD, {},
                Element("TYPE", VCARD, {}, kind),
                Element("BINVAL", VCARD, {}, base64.b64encode(content).decode()),
            )
        )  # fmt: skip
    return made


async def picture(services: Services, url: object) -> tuple[str, bytes] | None:
    """Return type and bytes of a small picture at a content URI; None if there is none that can be shown."""
    found = _mxc(url) if isinstance(url, str) else None
    if found is None:
        return None
    try:
        origin = parse_server_name(found[1])
        thumbnail = await services.media.downloads.find_thumbnail(origin, MediaID(found[2]), SHAPE, WAIT_MS)
    except (InvalidIdentifier, MatrixError):
        return None
    if thumbnail.content.size > LARGEST_PICTURE:
        return None
    content = await services.media.downloads.store.run(thumbnail.path.read_bytes)
    return thumbnail.content.content_type, content


FEATURES = {Place.ACCOUNT: (VCARD,), Place.SERVER: (VCARD,)}
HANDLERS = {(place, Kind.GET, VCARD, "vCard"): get for place in (Place.ACCOUNT, Place.USER)}
