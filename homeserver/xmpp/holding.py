"""What may stand between a session and its connection: something that holds stanzas back for a while."""

from typing import Protocol

from federation.core.xmpp.element import Element


class Filter(Protocol):
    """Holds back what is not urgent."""

    def pass_on(self, element: Element) -> list[Element]:
        """Take an element that is to be sent; return what is to be sent now, in order."""
        ...

    def release(self) -> list[Element]:
        """Return all that was held back, in order."""
        ...
