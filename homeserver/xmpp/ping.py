"""Whether the other side is still there: https://xmpp.org/extensions/xep-0199.html."""

from federation.core.xmpp.element import Element
from federation.core.xmpp.stanza import result
from homeserver.xmpp.addresses import Place
from homeserver.xmpp.router import Kind
from homeserver.xmpp.session import Session

PING = "urn:xmpp:ping"


async def ping(_session: Session, iq: Element) -> Element:
    """Answer that the server is there."""
    return result(iq)


PLACES = (Place.SERVER, Place.ACCOUNT, Place.ROOMS, Place.GATEWAY)
FEATURES = dict.fromkeys(PLACES, (PING,))
HANDLERS = {(place, Kind.GET, PING, "ping"): ping for place in PLACES}
