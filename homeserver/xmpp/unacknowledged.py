"""What a client has not confirmed to have got: https://xmpp.org/extensions/xep-0198.html#acking."""

from collections import deque

from federation.core.xmpp.element import Element
from federation.core.xmpp.stanza import is_stanza

STREAM_MANAGEMENT = "urn:xmpp:sm:3"
REQUEST = Element("r", STREAM_MANAGEMENT)
"""Asks the client how much it has got."""

MOST_WAITING = 5000
"""Stanzas of a session; of a connected client that confirms nothing, or of one that is away.

More than those of a few large rooms that are entered at once: 1,100 come together, before the client can say anything.
"""
MOST_BYTES = 4 * 1024 * 1024
"""About what they may take together."""
MODULUS = 2**32
"""After 2^32 - 1 stanzas both sides count from zero again."""


class Unacknowledged:
    """The stanzas sent to a session since the last one that its client has confirmed."""

    def __init__(self) -> None:
        """Start at zero, as both sides do."""
        self.received = 0
        """Stanzas handled of the client's."""
        self._confirmed = 0
        self._waiting: deque[tuple[Element, int]] = deque()
        self._bytes = 0
        self._asked = False

    def __len__(self) -> int:
        """Return how many stanzas wait to be confirmed."""
        return len(self._waiting)

    def add(self, element: Element) -> bool:
        """Take note of an element that is sent; return False if too much waits already. Only stanzas count."""
        if not is_stanza(element):
            return True
        size = size_of(element)
        if len(self._waiting) >= MOST_WAITING or self._bytes + size > MOST_BYTES:
            return False
        self._waiting.append((element, size))
        self._bytes += size
        return True

    def asks(self) -> bool:
        """Return whether the client is to be asked now what it has got: one question at a time."""
        if self._asked or not self._waiting:
            return False
        self._asked = True
        return True

    def asks_again(self) -> bool:
        """Return whether the client, which has just answered, is to be asked again."""
        self._asked = False
        return self.asks()

    def handled(self) -> None:
        """Take note that a stanza of the client was handled."""
        self.received = (self.received + 1) % MODULUS

    def confirm(self, handled: int) -> bool:
        """Forget what the client says it has got; return False if that is more than was ever sent."""
        new = (handled - self._confirmed) % MODULUS
        if handled < 0 or new > len(self._waiting):
            return False
        for _ in range(new):
            _, size = self._waiting.popleft()
            self._bytes -= size
        self._confirmed = handled % MODULUS
        return True

    def waiting(self) -> list[Element]:
        """Return what is to be sent again."""
        return [element for element, _ in self._waiting]


def size_of(element: Element) -> int:
    """Return about how many bytes an element takes."""
    attributes = sum(len(name) + len(value) for name, value in element.attributes.items())
    children = sum(len(child) if isinstance(child, str) else size_of(child) for child in element.children)
    return 100 + attributes + children
