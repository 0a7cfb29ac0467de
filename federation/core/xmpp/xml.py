"""From bytes to elements, hardened: what XMPP forbids is refused, and nothing grows without bound.

https://www.rfc-editor.org/rfc/rfc6120#section-11: no comments, processing instructions, DTDs and entities of one's own;
UTF-8 only. expat reads; what it keeps back (an unfinished tag) it reads again with each piece of input, so that is
bounded, too: a tag has at most `tag_bytes`.
"""

import re
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any
from xml.parsers import expat

from federation.core.xmpp import namespaces
from federation.core.xmpp.element import Child, Element
from federation.core.xmpp.errors import StreamCondition, StreamError

_PIECE = 2048
TOGETHER = 4
"""As many times the elements of one stanza may come in one piece."""
# A start tag that is known to be well-formed.
_tag = re.compile(rb"""<(?:[^>"']|"[^"]*"|'[^']*')*>""").match
_SEPARATOR = "\f"  # XML cannot hold it

_NOBODY = expat.ParserCreate()
"""Stands for the parser of a stream that rests."""

_CONDITIONS = {
    expat.errors.codes[expat.errors.XML_ERROR_UNBOUND_PREFIX]: StreamCondition.BAD_NAMESPACE_PREFIX,
    expat.errors.codes[expat.errors.XML_ERROR_UNKNOWN_ENCODING]: StreamCondition.UNSUPPORTED_ENCODING,
    expat.errors.codes[expat.errors.XML_ERROR_UNDEFINED_ENTITY]: StreamCondition.RESTRICTED_XML,
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What one stanza may cost."""

    bytes: int
    tag_bytes: int = 16384
    depth: int = 64
    elements: int = 4096
    """Of one stanza; and stanzas that come in one piece, for the smallest takes a hundred times its bytes in memory."""
    attributes: int = 128
    """Of one element."""


BEFORE_LOGIN = Limits(bytes=16384, tag_bytes=4096, depth=8, elements=64, attributes=32)
AFTER_LOGIN = Limits(bytes=262144)


@dataclass(frozen=True, slots=True)
class Opened:
    """The stream's header: its element, without children."""

    header: Element


@dataclass(frozen=True, slots=True)
class Completed:
    """A whole element on the first level of the stream."""

    element: Element
    elements: int = field(default=1, compare=False)
    """How many it is, with all that is in it."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The end of the stream's root element."""


Parsed = Opened | Completed | Closed


class Parser:
    """Reads one stream. After an error, or after the stream's end, it takes nothing more."""

    def __init__(self, limits: Limits = BEFORE_LOGIN) -> None:
        """Start at the very beginning of a stream."""
        self.limits = limits
        self._found: list[Parsed] = []
        self._open: list[Element] = []
        self._elements = self._together = 0
        self._repeated = 0
        """Characters of namespaces in the stanza, each time that one is to be written when it is passed on."""
        self._fed = 0
        self._done = 0
        """Where the last element of the first level ended."""
        self._over = False
        self._begun = bytearray()
        """What was fed until the header was complete."""
        self._header: bytes | None = None
        self._resting = False
        self._expat = self._new()

    def _new(self) -> expat.XMLParserType:
        made = expat.ParserCreate("UTF-8", _SEPARATOR)
        # expat >= 2.6 would hold back the last stanza until more comes: https://github.com/python/cpython/issues/115398
        getattr(made, "SetReparseDeferralEnabled", bool)(False)
        made.StartElementHandler = self._start
        made.EndElementHandler = self._end
        made.CharacterDataHandler = self._text
        made.StartCdataSectionHandler = self._cdata
        made.XmlDeclHandler = self._declaration
        made.StartDoctypeDeclHandler = _restricted
        made.CommentHandler = _restricted
        made.ProcessingInstructionHandler = _restricted
        return made

    def rest_between_stanzas(self) -> None:
        """Let go of what expat keeps (12 KiB) if nothing is half read; the next input makes it anew from the header."""
        if self._header is not None and len(self._open) == 1 and self._expat.CurrentByteIndex == self._fed:
            self._resting = True
            self._expat = _NOBODY
            self._open = []

    def _wake(self) -> None:
        assert self._header is not None
        self._resting = False
        self._expat = self._new()
        self._expat.Parse(self._header, False)
        self._found.clear()
        self._fed = self._done = len(self._header)

    def feed(self, data: bytes) -> list[Parsed]:
        """Return what is complete now. Raises `StreamError`, and then again for whatever follows.

        What was complete before the error is what `rest` returns.
        """
        if self._over:
            raise StreamError(StreamCondition.NOT_WELL_FORMED, "something follows the end of the stream")
        if self._resting:
            self._wake()
        for start in range(0, len(data), _PIECE):
            piece = data[start : start + _PIECE]
            if self._header is None:
                self._begun += piece
            self._parse(piece)
            self._fed += len(piece)
            if self._fed - self._done > self.limits.bytes:
                raise self._fail(StreamCondition.POLICY_VIOLATION, "the stanza is too large")
            if self._fed - self._expat.CurrentByteIndex > self.limits.tag_bytes:
                raise self._fail(StreamCondition.POLICY_VIOLATION, "a tag is too large")
            if len(self._found) > self.limits.elements or self._together > TOGETHER * self.limits.elements:
                raise self._fail(StreamCondition.POLICY_VIOLATION, "too much comes at once")
        return self.rest()

    def rest(self) -> list[Parsed]:
        """Return what was complete and has not been returned."""
        found, self._found, self._together = self._found, [], 0
        return found

    def _parse(self, piece: bytes) -> None:
        try:
            self._expat.Parse(piece, False)
        except expat.ExpatError as error:
            condition = _CONDITIONS.get(error.code, StreamCondition.NOT_WELL_FORMED)
            raise self._fail(condition, expat.ErrorString(error.code)) from error
        except StreamError:
            self._over = True
            raise

    def _fail(self, condition: StreamCondition, text: str) -> StreamError:
        self._over = True
        return StreamError(condition, text)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if len(attributes) > self.limits.attributes:
            raise StreamError(StreamCondition.POLICY_VIOLATION, "an element has too many attributes")
        parent = self._open[-1] if self._open else None
        element = _element(name, attributes, parent)
        if parent is None or element.namespace is not parent.namespace:
            self._repeated += len(element.namespace)
        self._repeated += sum(len(key) for key in element.attributes if key[0] == "{")
        if self._repeated > self.limits.bytes:
            # A prefix of one letter may stand for a namespace of thousands.
            raise StreamError(StreamCondition.POLICY_VIOLATION, "the stanza has too many namespaces")
        self._elements += 1
        if len(self._open) > self.limits.depth or self._elements > self.limits.elements:
            raise StreamError(StreamCondition.POLICY_VIOLATION, "the stanza has too many elements")
        if not self._open:
            if self._header is None:
                self._keep_header()
            self._found.append(Opened(element))
            self._finished()
        elif len(self._open) > 1:
            self._open[-1].children.append(element)
        self._open.append(element)

    def _keep_header(self) -> None:
        tag = _tag(self._begun, self._expat.CurrentByteIndex)
        assert tag is not None
        self._header = tag[0]
        self._begun.clear()

    def _end(self, _name: str) -> None:
        element = self._open.pop()
        if len(element.children) > 1:
            element.children = _joined(element.children)
        if len(self._open) == 1:
            self._found.append(Completed(element, self._elements))
            self._together += self._elements
            self._finished()
        elif not self._open:
            self._found.append(Closed())
            self._over = True

    def _finished(self) -> None:
        self._elements = self._repeated = 0
        self._done = self._expat.CurrentByteIndex

    def _text(self, text: str) -> None:
        if len(self._open) > 1:
            self._open[-1].children.append(text)
        elif text.strip(" \t\r\n"):
            # https://www.rfc-editor.org/rfc/rfc6120#section-4.9.3.1
            raise StreamError(StreamCondition.BAD_FORMAT, "text stands between stanzas")
        else:
            self._done = self._expat.CurrentByteIndex

    def _cdata(self) -> None:
        if len(self._open) <= 1:
            # Even if it held only whitespace: a parser that rests would forget that it has begun.
            raise StreamError(StreamCondition.BAD_FORMAT, "text stands between stanzas")

    def _declaration(self, _version: str, encoding: str | None, _standalone: int) -> None:
        # https://www.rfc-editor.org/rfc/rfc6120#section-11.6
        if encoding is not None and encoding.upper() != "UTF-8":
            raise StreamError(StreamCondition.UNSUPPORTED_ENCODING, "the stream must be UTF-8")


def parse_frame(data: bytes, limits: Limits) -> Element:
    """Return the one element that some bytes hold. Raises `StreamError`."""
    return read_frame(data, limits).element


def read_frame(data: bytes, limits: Limits) -> Completed:
    """Return what a WebSocket frame holds, one element. Raises `StreamError`.

    https://www.rfc-editor.org/rfc/rfc7395#section-3.3.3
    """
    parser = Parser(limits)
    parser.feed(b"<frame>")
    whole = parser.feed(data)
    if len(whole) != 1 or not isinstance(whole[0], Completed):
        raise StreamError(StreamCondition.NOT_WELL_FORMED, "a frame must hold one whole element")
    return whole[0]


def _element(name: str, attributes: dict[str, str], parent: Element | None) -> Element:
    namespace, _, local = name.rpartition(_SEPARATOR)
    # What is the same is kept once: namespaces may be long.
    element = Element(local, parent.namespace if parent is not None and parent.namespace == namespace else namespace)
    for key, value in attributes.items():
        within, _, plain = key.rpartition(_SEPARATOR)
        if within == namespaces.XML:
            element.attributes[f"xml:{plain}"] = value
        else:
            element.attributes[f"{{{within}}}{plain}" if within else plain] = value
    return element


def _joined(children: list[Child]) -> list[Child]:
    """Return children with texts that stand side by side made one: they come in the pieces that were read."""
    joined: list[Child] = []
    for is_text, run in groupby(children, lambda child: isinstance(child, str)):
        if is_text:
            joined.append("".join(piece for piece in run if isinstance(piece, str)))
        else:
            joined.extend(run)
    return joined


def _restricted(*_what: Any) -> None:
    # https://www.rfc-editor.org/rfc/rfc6120#section-11.1
    raise StreamError(StreamCondition.RESTRICTED_XML, "no comments, processing instructions or document types")
