"""What tells of published items: https://xmpp.org/extensions/xep-0163.html#notify."""

from collections.abc import Iterable

from federation.core.xmpp import stanza as stanzas
from federation.core.xmpp.element import Element
from federation.core.xmpp.jid import Jid
from homeserver.xmpp.interests import Interests
from homeserver.xmpp.session import Session

EVENT = "http://jabber.org/protocol/pubsub#event"


def event(node: str, items: Iterable[Element]) -> Element:
    """Return what tells of items of a node."""
    return Element("event", EVENT, None, Element("items", EVENT, {"node": node}, *items))


def send(sessions: Iterable[Session], node: str, told: Element, owner: Jid) -> None:
    """Tell those of the sessions that want to hear of a node."""
    for session in sessions:
        if node in session.kept(Interests).nodes:
            session.send(stanzas.message(session.jid, told, from_=owner, type_="headline"))
