"""Message carbons: what a user's other sessions send: https://xmpp.org/extensions/xep-0280.html.

What somebody else sends comes to every session as it is, so only what the user sends is copied.
"""

from dataclasses import dataclass

from federation.core.xmpp import stanza as stanzas
from federation.core.xmpp.element import Element
from homeserver.xmpp.addresses import Place
from homeserver.xmpp.router import Handler, Key, Kind
from homeserver.xmpp.session import Session

CARBONS = "urn:xmpp:carbons:2"
FORWARD = "urn:xmpp:forward:0"


@dataclass(slots=True)
class Carbons:
    """Whether a session wants copies."""

    enabled: bool = False


async def _enable(session: Session, iq: Element) -> Element:
    session.kept(Carbons).enabled = True
    return stanzas.result(iq)


async def _disable(session: Session, iq: Element) -> Element:
    session.kept(Carbons).enabled = False
    return stanzas.result(iq)


def copy(session: Session, sent: Element) -> None:
    """Give a session a copy of what another one of the user has sent, if it wants that."""
    if not (session.available and session.kept(Carbons).enabled):
        return
    forwarded = Element("forwarded", FORWARD, None, sent)
    session.send(
        stanzas.message(
            session.jid,
            Element("sent", CARBONS, None, forwarded),
            from_=session.jid.bare,
            type_=sent.get("type") or "chat",
        )
    )


FEATURES = {Place.SERVER: (CARBONS,), Place.ACCOUNT: (CARBONS,)}
HANDLERS: dict[Key, Handler] = {
    (place, Kind.SET, CARBONS, name): handler
    for place in (Place.SERVER, Place.ACCOUNT)
    for name, handler in (("enable", _enable), ("disable", _disable))
}
