"""Texts in the configuration and what they mean."""

import pytest

from homeserver.config.formats import (
    ListenAddress,
    check_database_url,
    check_turn_uri,
    parse_listen,
    parse_network,
)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:8008", "127.0.0.1", 8008),
        ("localhost:0", "localhost", 0),
        ("[::]:65535", "::", 65535),
    ],
)
def test_an_address_to_listen_on_is_read_and_written(text: str, host: str, port: int) -> None:
    assert parse_listen(text) == ListenAddress(host, port)
    assert str(parse_listen(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "8008", ":8008", "a:", "a:b", "a:65536", "::1:80", "[a]:80", "[]:80", "a:-1", "a:\u0661", "a:+1"],
)
def test_other_texts_are_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="expected an address and a port"):
        parse_listen(text)


def test_a_network_may_be_a_single_address() -> None:
    assert parse_network("::1").num_addresses == 1
    assert parse_network("10.0.0.0/8").prefixlen == 8
    with pytest.raises(ValueError, match="expected an IP address or a network"):
        parse_network("10.0.0.1/8")


@pytest.mark.parametrize("url", ["sqlite:///data/x.db", "sqlite:////x.db", "postgresql://u:p@h:1/d"])
def test_two_databases_are_known(url: str) -> None:
    check_database_url(url)


@pytest.mark.parametrize("url", ["", "sqlite://", "sqlite:///", "postgresql://h", "mysql://h/d", "/x.db"])
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        check_database_url(url)


def test_turn_uris_have_their_scheme() -> None:
    check_turn_uri("turns:turn.example.org:5349?transport=tcp")
    for text in ("turn.example.org", "turn:", "https://example.org"):
        with pytest.raises(ValueError, match="expected a URI"):
            check_turn_uri(text)
