"""What a client has not confirmed to have got: https://xmpp.org/extensions/xep-0198.html#acking."""

from collections import deque

from federation.core.xmpp.element import Element
from federation.core.xmpp.stanza import is_stanza

MOST_WAITING = 1000
"""Stanzas of a session; of a connected client that confirms nothing, or of one that is away."""
MODULUS = 2**32
"""https://xmpp.org/extensions/xep-0198.html#acking: "the value of 'h' is reset to zero" after 2^32 - 1."""


class Unacknowledged:
    """The stanzas sent to a session since the last one that its client has confirmed."""

    def __init__(self) -> None:
        """Start at zero, as both sides do."""
        self.received = 0
        """Stanzas handled of the client's."""
        self._confirmed = 0
        self._waiting: deque[Element] = deque()

    def __len__(self) -> int:
        """Return how many stanzas wait to be confirmed."""
        return len(self._waiting)

    def add(self, element: Element) -> bool:
        """Take note of an element that is sent; return False if too much waits already. Only stanzas count."""
        if not is_stanza(element):
            return True
        if len(self._waiting) >= MOST_WAITING:
            return False
        self._waiting.append(element)
        return True

    def handled(self) -> None:
        """Take note that a stanza of the client was handled."""
        self.received = (self.received + 1) % MODULUS

    def confirm(self, handled: int) -> bool:
        """Forget what the client says it has got; return False if that is more than was ever sent."""
        new = (handled - self._confirmed) % MODULUS
        if new > len(self._waiting):
            return False
        for _ in range(new):
            self._waiting.popleft()
        self._confirmed = handled % MODULUS
        return True

    def waiting(self) -> list[Element]:
        """Return what is to be sent again."""
        return list(self._waiting)

    @property
    def sent(self) -> int:
        """How many stanzas were sent in all."""
        return (self._confirmed + len(self._waiting)) % MODULUS
