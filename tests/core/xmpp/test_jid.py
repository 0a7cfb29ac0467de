"""Addresses, by the examples of RFC 7622 and what clients get wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.core.errors import InvalidIdentifier
from federation.core.xmpp.jid import Jid, prepare_domain


@pytest.mark.parametrize(
    ("text", "local", "domain", "resource"),
    [
        ("juliet@example.com", "juliet", "example.com", None),
        ("juliet@example.com/foo", "juliet", "example.com", "foo"),
        ("juliet@example.com/foo bar", "juliet", "example.com", "foo bar"),
        ("juliet@example.com/foo@bar", "juliet", "example.com", "foo@bar"),
        ("foo\\20bar@example.com", "foo\\20bar", "example.com", None),
        ("fussball@example.com", "fussball", "example.com", None),
        ("fußball@example.com", "fußball", "example.com", None),
        ("π@example.com", "π", "example.com", None),
        ("Σ@example.com/foo", "\u03c3", "example.com", "foo"),
        ("king@example.com/♚", "king", "example.com", "♚"),
        ("example.com", None, "example.com", None),
        ("example.com/foobar", None, "example.com", "foobar"),
        ("a.example.com/b@example.net", None, "a.example.com", "b@example.net"),
        ("Alice@HS1./Phone", "alice", "hs1", "Phone"),
        ("a@[::1]/x", "a", "[::1]", "x"),
        ("a@127.0.0.1", "a", "127.0.0.1", None),
        ("a@MÜNCHEN.de", "a", "münchen.de", None),
        ("a@例。jp", "a", "例.jp", None),
    ],
)
def test_addresses_are_prepared(text: str, local: str | None, domain: str, resource: str | None) -> None:
    jid = Jid.parse(text)
    assert (jid.local, jid.domain, jid.resource) == (local, domain, resource)
    assert Jid.parse(str(jid)) == jid


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@example.com",
        "juliet@",
        "/foobar",
        "juliet@example.com/",
        "juliet@example.com/\t",
        '"juliet"@example.com',
        "foo bar@example.com",
        "henry\u2163@example.com",
        "♚@example.com",
        "a@b@c",
        "a@hs:8448",
        "a@-b",
        "a@b..c",
        "a@b_c",
        "a@ü-☃",
        "a@-ü",
        "a@[nonsense]",
        "\ud800@b",
        "a" * 1024 + "@b",
        "ä" * 512 + "@b",
        "a@b/" + "x" * 1024,
        "a@" + "b" * 1024,
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidIdentifier):
        Jid.parse(text)


def test_an_address_has_a_bare_form_and_other_resources() -> None:
    full = Jid.parse("alice@hs1/phone")
    assert not full.is_bare
    assert full.bare == Jid.parse("alice@hs1")
    bare = full.bare
    assert bare.bare is bare
    assert bare.is_bare
    assert str(full.with_resource("desk")) == "alice@hs1/desk"
    with pytest.raises(InvalidIdentifier):
        full.with_resource("")


def test_a_domain_alone_can_be_prepared() -> None:
    assert prepare_domain("Example.ORG.") == "example.org"


@given(st.text())
def test_any_text_is_an_address_that_stays_itself_or_is_refused(text: str) -> None:
    try:
        jid = Jid.parse(text)
    except InvalidIdentifier:
        return
    assert Jid.parse(str(jid)) == jid
