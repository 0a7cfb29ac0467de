"""Stanzas: made, answered and refused."""

import pytest

from federation.core.xmpp.element import Element, serialise
from federation.core.xmpp.errors import StanzaCondition, StanzaError
from federation.core.xmpp.jid import Jid
from federation.core.xmpp.stanza import (
    check_iq,
    error,
    is_stanza,
    may_be_answered,
    message,
    payload_of,
    presence,
    request,
    result,
)

ALICE, BOB = Jid.parse("alice@hs1"), Jid.parse("bob@hs1/desk")


def test_stanzas_are_made_with_addresses() -> None:
    assert (
        serialise(message(ALICE, from_=BOB, id_="1"))
        == "<message to='alice@hs1' from='bob@hs1/desk' type='chat' id='1'/>"
    )
    assert message(ALICE, from_=BOB, type_="normal").get("type") is None
    assert serialise(presence(ALICE, from_=BOB)) == "<presence to='alice@hs1' from='bob@hs1/desk'/>"
    asked = request(None, Element("ping", "urn:xmpp:ping"), type_="get", id_="7")
    assert serialise(asked) == "<iq type='get' id='7'><ping xmlns='urn:xmpp:ping'/></iq>"
    assert payload_of(asked).name == "ping"


def test_an_answer_goes_back_with_the_same_id() -> None:
    asked = Element("iq", "jabber:client", {"from": "a", "to": "b", "id": "1", "type": "get"})
    assert result(asked).attributes == {"to": "a", "from": "b", "id": "1", "type": "result"}


def test_an_error_names_its_condition_and_says_why() -> None:
    asked = Element("iq", "jabber:client", {"from": "a", "id": "1", "type": "get"})
    assert serialise(error(asked, StanzaError(StanzaCondition.NOT_ALLOWED, "no"))) == (
        "<iq to='a' type='error' id='1'><error type='cancel'><not-allowed xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"
        "<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>no</text></error></iq>"
    )
    detailed = StanzaError(StanzaCondition.NOT_ALLOWED, detail=("blocked", "urn:xmpp:blocking:errors"))
    assert "/><blocked xmlns='urn:xmpp:blocking:errors'/></error>" in serialise(error(asked, detailed))
    assert error(asked, StanzaError(StanzaCondition.GONE)).elements().__next__().find("text") is None


@pytest.mark.parametrize(
    ("name", "kind", "answered"),
    [
        ("iq", "get", True),
        ("iq", "result", False),
        ("iq", "error", False),
        ("message", "error", False),
        ("message", None, True),
    ],
)
def test_errors_are_never_answered_with_errors(name: str, kind: str | None, answered: bool) -> None:
    assert may_be_answered(Element(name, "jabber:client", {"type": kind})) is answered


def test_only_three_elements_are_stanzas() -> None:
    assert is_stanza(Element("iq"))
    assert not is_stanza(Element("iq", "jabber:server"))
    assert not is_stanza(Element("query"))


@pytest.mark.parametrize(
    "attributes", [{}, {"id": ""}, {"id": "1"}, {"id": "1", "type": "put"}, {"id": "x" * 2000, "type": "get"}]
)
def test_an_iq_needs_an_id_and_a_type(attributes: dict[str, str | None]) -> None:
    with pytest.raises(StanzaError) as raised:
        check_iq(Element("iq", "jabber:client", attributes))
    assert raised.value.condition is StanzaCondition.BAD_REQUEST
    check_iq(Element("iq", "jabber:client", {"id": "1", "type": "get"}))


@pytest.mark.parametrize("children", [[], ["text"], [Element("a"), Element("b")]])
def test_an_iq_that_asks_has_one_child(children: list[Element | str]) -> None:
    with pytest.raises(StanzaError):
        payload_of(Element("iq", "jabber:client", {}, *children))


def test_who_is_gone_may_be_found_elsewhere() -> None:
    why = StanzaError(StanzaCondition.GONE, "moved", address="xmpp:new@rooms.hs1?join")
    refused = error(presence(Jid.parse("old@rooms.hs1"), from_=ALICE), why)
    found = refused.find("error")
    assert found is not None
    assert found.text_of("gone", "urn:ietf:params:xml:ns:xmpp-stanzas") == "xmpp:new@rooms.hs1?join"
