"""The parser: what it reads, what it refuses by which name, and what it bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.core.xmpp.element import Element
from federation.core.xmpp.errors import StreamCondition, StreamError
from federation.core.xmpp.xml import AFTER_LOGIN, BEFORE_LOGIN, Closed, Completed, Limits, Opened, Parser, parse_frame

HEADER = b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"


def opened(limits: Limits = AFTER_LOGIN) -> Parser:
    parser = Parser(limits)
    (header,) = parser.feed(HEADER)
    assert isinstance(header, Opened)
    return parser


def test_a_stream_is_read_piece_by_piece() -> None:
    parser = Parser(AFTER_LOGIN)
    stanza = b"<message xml:lang='de'><body>gr\xc3\xbc\xc3\x9fe &lt;3</body></message>"
    found = [one for byte in HEADER + stanza + b" \n</stream:stream>" for one in parser.feed(bytes([byte]))]
    body = Element("body", "jabber:client", {}, "grüße <3")
    assert found == [
        Opened(Element("stream", "http://etherx.jabber.org/streams")),
        Completed(Element("message", "jabber:client", {"xml:lang": "de"}, body)),
        Closed(),
    ]


def test_the_last_stanza_is_there_at_once() -> None:
    # expat 2.6 and later would hold it back.
    parser = opened()
    assert parser.feed(b"<presence id='1'") == []
    assert parser.feed(b"/>") == [Completed(Element("presence", "jabber:client", {"id": "1"}))]


def test_whitespace_between_stanzas_keeps_the_connection_alive_for_ever() -> None:
    parser = opened(BEFORE_LOGIN)
    for _ in range(BEFORE_LOGIN.bytes // 512 + 10):
        assert parser.feed(b" \n" * 512) == []
    assert parser.feed(b"<a/>") != []


@pytest.mark.parametrize(
    ("data", "condition"),
    [
        (b"<a>&nbsp;</a>", StreamCondition.RESTRICTED_XML),
        (b"<!-- hi -->", StreamCondition.RESTRICTED_XML),
        (b"<?php echo ?>", StreamCondition.RESTRICTED_XML),
        (b"<!DOCTYPE x>", StreamCondition.NOT_WELL_FORMED),
        (b"<a:b/>", StreamCondition.BAD_NAMESPACE_PREFIX),
        (b"<a b='1' b='2'/>", StreamCondition.NOT_WELL_FORMED),
        (b"<a b=1/>", StreamCondition.NOT_WELL_FORMED),
        (b"<a></b>", StreamCondition.NOT_WELL_FORMED),
        (b"\xff", StreamCondition.NOT_WELL_FORMED),
        (b"hello", StreamCondition.BAD_FORMAT),
        (b"<![CDATA[", StreamCondition.BAD_FORMAT),
        (b"</stream:stream>x", StreamCondition.NOT_WELL_FORMED),
        (b"<a>" * 100, StreamCondition.POLICY_VIOLATION),
        (b"<a>" + b"<b/>" * 5000, StreamCondition.POLICY_VIOLATION),
        (b"<a " + b" ".join(b"a%d=''" % n for n in range(200)) + b"/>", StreamCondition.POLICY_VIOLATION),
        (b"<a b='" + b">" * 20000, StreamCondition.POLICY_VIOLATION),
        (b"<a>" + b"x" * 300000, StreamCondition.POLICY_VIOLATION),
        (b"<a/>" * 10000, StreamCondition.POLICY_VIOLATION),
    ],
)
def test_what_may_not_be_sent_ends_the_stream(data: bytes, condition: StreamCondition) -> None:
    parser = opened()
    with pytest.raises(StreamError) as raised:
        parser.feed(data)
    assert raised.value.condition is condition
    with pytest.raises(StreamError):
        parser.feed(b"<a/>")


@pytest.mark.parametrize(
    ("data", "condition"),
    [
        (b"<!DOCTYPE a [<!ENTITY x 'y'>]><a>", StreamCondition.RESTRICTED_XML),
        (b"<?xml version='1.0' encoding='ISO-8859-1'?>", StreamCondition.UNSUPPORTED_ENCODING),
        (b"GET / HTTP/1.1\r\n\r\n", StreamCondition.NOT_WELL_FORMED),
        (b"\x16\x03\x01", StreamCondition.NOT_WELL_FORMED),
    ],
)
def test_what_is_no_stream_is_refused(data: bytes, condition: StreamCondition) -> None:
    with pytest.raises(StreamError) as raised:
        Parser().feed(data)
    assert raised.value.condition is condition


def test_utf_8_may_be_named() -> None:
    assert Parser().feed(b"<?xml version='1.0' encoding='utf-8'?><a>") == [Opened(Element("a", ""))]


def test_limits_hold_for_each_stanza_alone() -> None:
    parser = opened(Limits(bytes=2000, elements=10))
    for _ in range(20):
        assert len(parser.feed(b"<a>" + b"<b/>" * 8 + b"x" * 1500 + b"</a>")) == 1


@pytest.mark.parametrize("inside", [b"<a:b/>" * 30, b"<b " + b" ".join(b"a:c%d=''" % n for n in range(30)) + b"/>"])
def test_a_short_prefix_does_not_make_a_short_stanza_a_long_one(inside: bytes) -> None:
    namespace = b"n" * 12_000
    with pytest.raises(StreamError) as caught:
        opened().feed(b"<message><x xmlns:a='" + namespace + b"'>" + inside + b"</x></message>")
    assert caught.value.condition is StreamCondition.POLICY_VIOLATION
    # One after the other, and as the namespace of everything that is inside, it is no more than what was sent.
    parser = opened()
    for _ in range(50):
        assert parser.feed(b"<x xmlns='" + namespace + b"'>" + b"<b/>" * 100 + b"</x>") != []


def test_large_stanzas_that_come_in_one_piece_are_bounded_together() -> None:
    large = b"<x>" + b"<a/>" * 4000 + b"</x>"
    parser = opened()
    for _ in range(10):
        assert len(parser.feed(large * 4)) == 4
    with pytest.raises(StreamError) as caught:
        parser.feed(large * 5)
    assert caught.value.condition is StreamCondition.POLICY_VIOLATION


def test_what_was_complete_before_an_error_is_not_lost() -> None:
    parser = opened()
    with pytest.raises(StreamError):
        parser.feed(b"<a/><b></c>")
    assert parser.rest() == [Completed(Element("a"))]
    assert parser.rest() == []


def test_nothing_comes_after_the_end() -> None:
    parser = opened()
    assert parser.feed(b"</stream:stream>") == [Closed()]
    with pytest.raises(StreamError):
        parser.feed(b" ")


@pytest.mark.parametrize("data", [b"", b"<a>", b"<a/><b/>", b"x", b"<a/>x", b"</frame>", b"<a></b>", b"<!-- --><a/>"])
def test_a_frame_holds_one_element(data: bytes) -> None:
    assert parse_frame(b" <a b='c'/>\n", AFTER_LOGIN) == Element("a", "", {"b": "c"})
    with pytest.raises(StreamError):
        parse_frame(data, AFTER_LOGIN)


PIECES = st.sampled_from(
    [
        b"<a>",
        b"</a>",
        b"<a",
        b" b='",
        b"'",
        b">",
        b"/>",
        b"&amp;",
        b"&x;",
        b"<![CDATA[",
        b"]]>",
        b"<!--",
        b"<?x",
        b"\xff",
        b"\0",
    ]
)


@given(st.lists(st.binary(max_size=20) | PIECES, max_size=30), st.booleans())
def test_any_bytes_are_stanzas_or_an_error(pieces: list[bytes], greeted: bool) -> None:
    parser = opened() if greeted else Parser()
    try:
        for piece in pieces:
            parser.feed(piece)
    except StreamError:
        return


def test_a_stream_that_rests_goes_on_where_it_was() -> None:
    header = HEADER.replace(b"<stream:stream", b"<stream:stream  a='>' b=\"'>\" xmlns:p='urn:p'")
    parser = Parser(AFTER_LOGIN)
    parser.rest_between_stanzas()
    parser.feed(header + b"<a/>")
    for _ in range(3):
        parser.rest_between_stanzas()
        assert parser.feed(b"<p:b/> ") == [Completed(Element("b", "urn:p"))]
    parser.feed(b"<c><d")
    parser.rest_between_stanzas()
    assert parser.feed(b"/><![CDATA[") == []
    parser.rest_between_stanzas()
    assert parser.feed(b"]]></c>") == [Completed(Element("c", "jabber:client", {}, Element("d")))]
    parser.rest_between_stanzas()
    assert parser.feed(b"</stream:stream>") == [Closed()]


def test_limits_hold_after_a_rest() -> None:
    parser = opened(Limits(bytes=3000, tag_bytes=2500))
    for _ in range(3):
        parser.rest_between_stanzas()
        assert len(parser.feed(b"<a>" + b"x" * 2900 + b"</a>")) == 1
    parser.rest_between_stanzas()
    with pytest.raises(StreamError):
        parser.feed(b"<a>" + b"x" * 3100)
