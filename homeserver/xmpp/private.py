"""What clients keep for themselves: https://xmpp.org/extensions/xep-0049.html."""

from federation.core.xmpp.element import Element, serialise
from federation.core.xmpp.errors import StanzaCondition, StanzaError
from federation.core.xmpp.stanza import payload_of, result
from federation.core.xmpp.xml import AFTER_LOGIN, parse_frame
from homeserver.xmpp import bookmarks
from homeserver.xmpp.addresses import Place
from homeserver.xmpp.router import Kind
from homeserver.xmpp.session import Session

PRIVATE = "jabber:iq:private"


async def get(session: Session, iq: Element) -> Element:
    """Return what is kept under the name and namespace of an element; that element, empty, if nothing is."""
    wanted = _kept(iq)
    if wanted.namespace == bookmarks.LEGACY:
        return result(iq, Element("query", PRIVATE, {}, await bookmarks.storage(session)))
    stored = await session.services.private_xml.get(session.who, wanted.namespace, wanted.name)
    found = Element(wanted.name, wanted.namespace) if stored is None else parse_frame(stored, AFTER_LOGIN)
    return result(iq, Element("query", PRIVATE, {}, found))


async def put(session: Session, iq: Element) -> Element:
    """Keep an element under its name and namespace."""
    kept = _kept(iq)
    if kept.namespace == bookmarks.LEGACY:
        await bookmarks.publish_legacy(session, "current", kept)
        return result(iq)
    content = serialise(kept, "").encode()
    await session.services.private_xml.put(session.who, kept.namespace, kept.name, content)
    return result(iq)


def _kept(iq: Element) -> Element:
    children = list(payload_of(iq).elements())
    if len(children) != 1:
        raise StanzaError(StanzaCondition.BAD_REQUEST, "expected one element")
    if children[0].namespace in ("", PRIVATE):
        raise StanzaError(StanzaCondition.NOT_ACCEPTABLE, "the element needs a namespace of its own")
    return children[0]


FEATURES = {Place.SERVER: (PRIVATE,), Place.ACCOUNT: (PRIVATE,)}
HANDLERS = {
    (Place.ACCOUNT, Kind.GET, PRIVATE, "query"): get,
    (Place.ACCOUNT, Kind.SET, PRIVATE, "query"): put,
}
