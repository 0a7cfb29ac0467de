"""The session of RFC 3921, which old clients still ask for; there is nothing to do."""

from federation.core.xmpp.element import Element
from federation.core.xmpp.stanza import result
from homeserver.xmpp.addresses import Place
from homeserver.xmpp.router import Kind
from homeserver.xmpp.session import Session

SESSION = "urn:ietf:params:xml:ns:xmpp-session"
STREAM_FEATURE = Element("session", SESSION, {}, Element("optional", SESSION))


async def establish(_session: Session, iq: Element) -> Element:
    """Say that the session is there: it is since the resource was bound."""
    return result(iq)


FEATURES: dict[Place, tuple[str, ...]] = {}
HANDLERS = {(place, Kind.SET, SESSION, "session"): establish for place in (Place.ACCOUNT, Place.SERVER)}
