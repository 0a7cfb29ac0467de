"""Stanzas: made, answered and refused as https://www.rfc-editor.org/rfc/rfc6120#section-8 says."""

from typing import Final

from federation.core.xmpp import namespaces
from federation.core.xmpp.element import Child, Element
from federation.core.xmpp.errors import StanzaCondition, StanzaError
from federation.core.xmpp.jid import Jid

MESSAGE: Final = "message"
PRESENCE: Final = "presence"
IQ: Final = "iq"
KINDS = frozenset((MESSAGE, PRESENCE, IQ))

IQ_TYPES = frozenset(("get", "set", "result", "error"))
_LONGEST_ID = 1024


def is_stanza(element: Element) -> bool:
    """Return whether an element of the first level is a stanza."""
    return element.namespace == namespaces.CLIENT and element.name in KINDS


def message(to: Jid | str, *children: Child, from_: Jid | str, type_: str = "chat", id_: str | None = None) -> Element:
    """Return a message. The type `normal` is what a message without a type has."""
    return Element(MESSAGE, namespaces.CLIENT, _addressed(to, from_, type_, id_), *children)


def presence(
    to: Jid | str, *children: Child, from_: Jid | str, type_: str | None = None, id_: str | None = None
) -> Element:
    """Return a presence stanza, one that says "available" without a type."""
    return Element(PRESENCE, namespaces.CLIENT, _addressed(to, from_, type_, id_), *children)


def request(to: Jid | str | None, payload: Element, *, type_: str, id_: str, from_: Jid | str | None = None) -> Element:
    """Return an iq that asks (`get`) or orders (`set`)."""
    return Element(IQ, namespaces.CLIENT, _addressed(to, from_, type_, id_), payload)


def result(asked: Element, *payload: Child) -> Element:
    """Return the answer to an iq, back from where it was sent to."""
    attributes = {"to": asked.get("from"), "from": asked.get("to"), "type": "result", "id": asked.get("id")}
    return Element(IQ, namespaces.CLIENT, attributes, *payload)


def error(refused: Element, why: StanzaError) -> Element:
    """Return what tells the sender of a stanza that it is refused; what it held comes back only where that is short.

    https://www.rfc-editor.org/rfc/rfc6120#section-8.3.1
    """
    attributes = {"to": refused.get("from"), "from": refused.get("to"), "type": "error", "id": refused.get("id")}
    answer = Element(refused.name, namespaces.CLIENT, attributes)
    return answer.add(error_element(why))


def error_element(why: StanzaError) -> Element:
    """Return the `<error/>` child of a stanza that is refused."""
    # https://www.rfc-editor.org/rfc/rfc6120#section-8.3.3.5: whoever is gone may be found at another address.
    where = (why.address,) if why.address else ()
    condition = Element(why.condition.element, namespaces.STANZA_ERRORS, None, *where)
    found = Element("error", namespaces.CLIENT, {"type": why.type.value}, condition)
    if why.text:
        found.add(Element("text", namespaces.STANZA_ERRORS, {"xml:lang": "en"}, why.text))
    if why.detail is not None:
        # https://www.rfc-editor.org/rfc/rfc6120#section-8.3.4
        found.add(Element(*why.detail))
    return found


def may_be_answered(stanza: Element) -> bool:
    """Return whether an error may be sent for a stanza: never for an error, and never for the result of an iq.

    https://www.rfc-editor.org/rfc/rfc6120#section-8.3.1
    """
    kind = stanza.get("type")
    return kind != "error" and not (stanza.name == IQ and kind == "result")


def payload_of(iq: Element) -> Element:
    """Return the one child of an iq that asks or orders. Raises `StanzaError`.

    https://www.rfc-editor.org/rfc/rfc6120#section-8.2.3
    """
    children = list(iq.elements())
    if len(children) != 1:
        raise StanzaError(StanzaCondition.BAD_REQUEST, "an iq of type get or set has exactly one child")
    return children[0]


def check_iq(iq: Element) -> None:
    """Check an iq's id and type. Raises `StanzaError`: https://www.rfc-editor.org/rfc/rfc6120#section-8.2.3."""
    identifier = iq.get("id")
    if not identifier or len(identifier) > _LONGEST_ID:
        raise StanzaError(StanzaCondition.BAD_REQUEST, "an iq needs an id")
    if iq.get("type") not in IQ_TYPES:
        raise StanzaError(StanzaCondition.BAD_REQUEST, "the type of an iq is get, set, result or error")


def _addressed(
    to: Jid | str | None, from_: Jid | str | None, type_: str | None, id_: str | None
) -> dict[str, str | None]:
    return {
        "to": None if to is None else str(to),
        "from": None if from_ is None else str(from_),
        "type": type_ if type_ != "normal" else None,
        "id": id_,
    }
