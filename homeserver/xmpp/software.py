"""What runs here, for how long, and what time it is.

Sources: https://xmpp.org/extensions/xep-0092.html, https://xmpp.org/extensions/xep-0202.html,
https://xmpp.org/extensions/xep-0012.html
"""

from datetime import UTC, datetime
from importlib.metadata import version

from federation.core.xmpp.element import Element
from federation.core.xmpp.errors import StanzaCondition, StanzaError
from federation.core.xmpp.jid import Jid
from federation.core.xmpp.stanza import result
from homeserver.xmpp.addresses import Place
from homeserver.xmpp.router import Kind
from homeserver.xmpp.session import Session

VERSION = "jabber:iq:version"
TIME = "urn:xmpp:time"
LAST = "jabber:iq:last"
NAME = "Isthmus"


async def tell_version(_session: Session, iq: Element) -> Element:
    """Tell name and version of the software. What it runs on is nobody's business."""
    query = Element("query", VERSION, {}, Element("name", VERSION, {}, NAME))
    return result(iq, query.add(Element("version", VERSION, {}, version("isthmus"))))


async def tell_time(session: Session, iq: Element) -> Element:
    """Tell the server's time."""
    now = datetime.fromtimestamp(session.services.clock.now_ms() // 1000, UTC)
    told = Element("time", TIME, {}, Element("tzo", TIME, {}, "+00:00"))
    return result(iq, told.add(Element("utc", TIME, {}, now.strftime("%Y-%m-%dT%H:%M:%SZ"))))


async def tell_uptime(session: Session, iq: Element) -> Element:
    """Tell for how many seconds the server has been running."""
    seconds = session.services.clock.monotonic() - session.accounts.started_at
    return result(iq, Element("query", LAST, {"seconds": str(int(seconds))}))


async def tell_last_activity(session: Session, iq: Element) -> Element:
    """Tell for how many seconds a user has done nothing, to whom may see their presence."""
    to = iq.get("to")
    user_id = session.addresses.user(Jid.parse(to)) if to is not None else session.who.user_id
    if user_id is None:
        raise StanzaError(StanzaCondition.ITEM_NOT_FOUND)
    presence = await session.services.presence.get(session.who, user_id)
    ago = 0 if presence.get("currently_active") else presence.get("last_active_ago", 0)
    return result(iq, Element("query", LAST, {"seconds": str(int(ago) // 1000)}))


FEATURES = {Place.SERVER: (VERSION, TIME, LAST), Place.ACCOUNT: (LAST,), Place.USER: (LAST,)}
HANDLERS = {
    (Place.SERVER, Kind.GET, VERSION, "query"): tell_version,
    (Place.SERVER, Kind.GET, TIME, "time"): tell_time,
    (Place.SERVER, Kind.GET, LAST, "query"): tell_uptime,
    (Place.ACCOUNT, Kind.GET, LAST, "query"): tell_last_activity,
    (Place.USER, Kind.GET, LAST, "query"): tell_last_activity,
}
