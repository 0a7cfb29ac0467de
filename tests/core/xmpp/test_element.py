"""Elements, and how they are written."""

from hypothesis import given
from hypothesis import strategies as st

from federation.core.xmpp.element import Element, serialise
from federation.core.xmpp.xml import AFTER_LOGIN, parse_frame

BODY = Element("body", "jabber:client", {}, "hi")


def test_children_are_found_by_name_and_namespace() -> None:
    message = Element("message", "jabber:client", {"type": "chat"}, "\n", BODY, Element("body", "urn:other"), " x")
    assert message.find("body") is BODY
    assert message.find("body", "urn:other") is not BODY
    assert message.find("subject") is None
    assert message.text_of("body") == "hi"
    assert message.text_of("subject") is None
    assert message.text == "\n x"
    assert [child.namespace for child in message.elements()] == ["jabber:client", "urn:other"]
    assert len(list(message.find_all("body"))) == 1
    assert message.get("type") == "chat"
    assert message.get("to") is None


def test_copies_share_what_they_do_not_change() -> None:
    message = Element("message", "jabber:client", {"to": "b", "id": None}).add(BODY)
    moved = message.with_attributes(to=None, from_="a")
    assert moved.attributes == {"from": "a"}
    assert moved.children == [BODY]
    assert message.attributes == {"to": "b"}
    assert message.with_children(["x"]).children == ["x"]


def test_what_goes_to_many_is_written_once() -> None:
    message = Element("message", "jabber:client", {"from": "a", "to": "b"}, "<", BODY).written()
    for copy in (message.addressed("c"), message.with_attributes(to="c")):
        assert serialise(copy) == "<message from='a' to='c'>&lt;<body>hi</body></message>"
        assert copy.children == message.children
    assert serialise(Element("x", "urn:x", {}, message)) == (
        "<x xmlns='urn:x'><message xmlns='jabber:client' from='a' to='b'>&lt;<body>hi</body></message></x>"
    )
    assert serialise(message.addressed("c").add("!")) == "<message from='a' to='c'>&lt;<body>hi</body>!</message>"
    assert serialise(message) == "<message from='a' to='b'>&lt;<body>hi</body></message>"
    assert serialise(Element("presence").written()) == "<presence/>"


def test_elements_are_equal_by_what_they_hold_and_found_by_which_they_are() -> None:
    assert Element("a") == Element("a")
    assert Element("a") != Element("b")
    assert Element("a") != "a"
    assert len({Element("a"), Element("a")}) == 2


def test_namespaces_are_declared_where_they_change() -> None:
    element = Element("iq", "jabber:client", {"id": "1"}, Element("ping", "urn:xmpp:ping"), Element("x"))
    assert serialise(element) == "<iq id='1'><ping xmlns='urn:xmpp:ping'/><x/></iq>"
    assert serialise(element, "").startswith("<iq xmlns='jabber:client' id='1'>")
    assert repr(element) == serialise(element, "")


def test_what_xml_gives_a_meaning_is_escaped() -> None:
    element = Element("a", "jabber:client", {"b": "'\"<>&\t\n\r"}, "<&>\r\"'\n")
    text = serialise(element)
    assert text == "<a b='&apos;&quot;&lt;&gt;&amp;&#9;&#10;&#13;'>&lt;&amp;&gt;&#13;\"'\n</a>"
    assert parse_frame(text.encode(), AFTER_LOGIN).children == element.children


def test_what_xml_cannot_carry_is_replaced() -> None:
    assert serialise(Element("a", "jabber:client", {"b": "\0\ud800"}, "\x0b\ufffe")) == "<a b='��'>��</a>"


def test_attributes_may_have_namespaces() -> None:
    element = Element("a", "x", {"{urn:f}g": "1", "xml:lang": "de"})
    assert serialise(element, "") == "<a xmlns='x' xmlns:a0='urn:f' a0:g='1' xml:lang='de'/>"
    assert parse_frame(serialise(element, "").encode(), AFTER_LOGIN) == element


TEXTS = st.text(st.characters(codec="utf-8"), min_size=1)


@given(TEXTS, TEXTS)
def test_any_text_can_be_sent(text: str, value: str) -> None:
    element = Element("a", "urn:a", {"b": value}, text)
    parsed = parse_frame(serialise(element, "").encode(), AFTER_LOGIN)
    assert (parsed.name, parsed.namespace, set(parsed.attributes)) == ("a", "urn:a", {"b"})
    if text.isprintable() and value.isprintable():
        assert parsed == element
