"""The two ways in which a stream of stanzas is carried: one XML document over TCP, or frames over WebSocket.

Sources: https://www.rfc-editor.org/rfc/rfc6120#section-4, https://www.rfc-editor.org/rfc/rfc7395#section-3
"""

from collections.abc import Mapping
from typing import Protocol

from federation.core.xmpp import namespaces
from federation.core.xmpp.element import Element, serialise
from federation.core.xmpp.errors import StreamCondition, StreamError
from federation.core.xmpp.xml import Closed, Limits, Opened, Parsed, Parser, read_frame


class Framing(Protocol):
    """Reads and writes what stands around stanzas."""

    limits: Limits

    def feed(self, data: bytes) -> list[Parsed]:
        """Return what is complete now. Raises `StreamError`; what was complete before is what `rest` returns."""
        ...

    def rest(self) -> list[Parsed]:
        """Return what was complete when `feed` raised."""
        ...

    def restart(self) -> None:
        """Begin a new stream on the same connection."""
        ...

    def rest_between_stanzas(self) -> None:
        """Let go of what costs memory while nothing comes."""
        ...

    def header(self, attributes: Mapping[str, str | None]) -> str:
        """Return what opens a stream."""
        ...

    def footer(self) -> str:
        """Return what closes it."""
        ...

    def write(self, element: Element) -> str:
        """Return an element as it is sent."""
        ...


class TcpFraming:
    """One XML document a direction; a stanza is a child of its root."""

    def __init__(self, limits: Limits) -> None:
        """Start at the beginning."""
        self.limits = limits
        self._parser = Parser(limits)

    def feed(self, data: bytes) -> list[Parsed]:
        """Return what is complete now. Raises `StreamError`; what was complete before is what `rest` returns."""
        self._parser.limits = self.limits
        return self._parser.feed(data)

    def rest(self) -> list[Parsed]:
        """Return what was complete when `feed` raised."""
        return self._parser.rest()

    def restart(self) -> None:
        """Begin a new document: https://www.rfc-editor.org/rfc/rfc6120#section-4.3.3."""
        self._parser = Parser(self.limits)

    def rest_between_stanzas(self) -> None:
        """Let go of the parser while nothing comes."""
        self._parser.rest_between_stanzas()

    def header(self, attributes: Mapping[str, str | None]) -> str:
        """Return what opens a stream: https://www.rfc-editor.org/rfc/rfc6120#section-4.7."""
        root = serialise(Element("stream:stream", namespaces.CLIENT, {**_PREFIX, **attributes}), "")
        return f"<?xml version='1.0'?>{root.removesuffix('/>')}>"

    def footer(self) -> str:
        """Return what closes it."""
        return "</stream:stream>"

    def write(self, element: Element) -> str:
        """Return an element as it is sent."""
        if element.namespace == namespaces.STREAM:
            # Some clients know the stream's own elements by their prefix.
            return serialise(Element(f"stream:{element.name}", namespaces.CLIENT, {}, *element.children))
        return serialise(element)


class WebSocketFraming:
    """One frame an element, each on its own."""

    def __init__(self, limits: Limits) -> None:
        """Start at the beginning."""
        self.limits = limits

    def feed(self, data: bytes) -> list[Parsed]:
        """Return what a frame holds. Raises `StreamError`."""
        found = read_frame(data, self.limits)
        element = found.element
        if element.namespace != namespaces.FRAMING:
            # https://www.rfc-editor.org/rfc/rfc7395#section-3.3.2: <stream:stream/> is not used here.
            return [found]
        if element.name == "open":
            return [Opened(Element("stream", namespaces.STREAM, element.attributes))]
        if element.name == "close":
            return [Closed()]
        raise StreamError(StreamCondition.BAD_FORMAT, "expected open or close")

    def rest(self) -> list[Parsed]:
        """Return nothing: a frame is complete or broken."""
        return []

    def restart(self) -> None:
        """Begin anew; nothing is kept from frame to frame."""

    def rest_between_stanzas(self) -> None:
        """Nothing is kept from frame to frame."""

    def header(self, attributes: Mapping[str, str | None]) -> str:
        """Return what opens a stream: https://www.rfc-editor.org/rfc/rfc7395#section-3.4."""
        return serialise(Element("open", namespaces.FRAMING, attributes), "")

    def footer(self) -> str:
        """Return what closes it: https://www.rfc-editor.org/rfc/rfc7395#section-3.6."""
        return serialise(Element("close", namespaces.FRAMING), "")

    def write(self, element: Element) -> str:
        """Return an element as it is sent."""
        if element.namespace == namespaces.STREAM:
            return serialise(Element(f"stream:{element.name}", "", _PREFIX, *element.children), "")
        return serialise(element, "")


_PREFIX = {"xmlns:stream": namespaces.STREAM}
