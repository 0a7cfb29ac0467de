"""Less traffic while nobody looks at a client: https://xmpp.org/extensions/xep-0352.html.

Presence waits, only the last one of each sender; who is typing is dropped. What is worth waking up for brings along
what waited before it, so the order stays.
"""

from collections.abc import Mapping

from federation.core.xmpp import stanza as stanzas
from federation.core.xmpp.element import Element
from homeserver.xmpp.connection import Connection, Nonza

CSI = "urn:xmpp:csi:0"
CHAT_STATES = "http://jabber.org/protocol/chatstates"
HINTS = "urn:xmpp:hints"
MOST_HELD = 500
STREAM_FEATURE = Element("csi", CSI)


class Inactive:
    """Holds back what is not urgent."""

    def __init__(self) -> None:
        """Start with nothing."""
        self._held: dict[str | None, Element] = {}

    def pass_on(self, element: Element) -> list[Element]:
        """Take an element that is to be sent; return what is to be sent now, in order."""
        if _is_idle_talk(element):
            return []
        if _can_wait(element):
            sender = element.get("from")
            self._held.pop(sender, None)
            self._held[sender] = element
            return self.release() if len(self._held) > MOST_HELD else []
        return [*self.release(), element]

    def release(self) -> list[Element]:
        """Return all that was held back, in order."""
        held, self._held = list(self._held.values()), {}
        return held


async def inactive(connection: Connection, _element: Element) -> None:
    """Hold back what can wait."""
    session = connection.session
    if session is not None and session.filter is None:
        session.filter = Inactive()


async def active(connection: Connection, _element: Element) -> None:
    """Send what was held back, and everything from now on."""
    session = connection.session
    if session is not None and session.filter is not None:
        held, session.filter = session.filter.release(), None
        for element in held:
            session.send_now(element)


NONZAS: Mapping[tuple[str, str], Nonza] = {(CSI, "inactive"): inactive, (CSI, "active"): active}


def _can_wait(element: Element) -> bool:
    return element.name == stanzas.PRESENCE and element.get("type") in (None, "unavailable") and not _is_own(element)


def _is_own(element: Element) -> bool:
    # What happens to the user in a room: https://xmpp.org/extensions/xep-0045.html#enter-pres
    user = element.find("x", "http://jabber.org/protocol/muc#user")
    return user is not None and any(status.get("code") == "110" for status in user.find_all("status"))


def _is_idle_talk(element: Element) -> bool:
    """Whether a message says only what somebody is about to do."""
    if element.name != stanzas.MESSAGE or element.get("type") == "error":
        return False
    children = [child for child in element.elements() if child.namespace not in (HINTS, "urn:xmpp:sid:0")]
    return bool(children) and all(child.namespace == CHAT_STATES for child in children)
