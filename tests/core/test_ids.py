"""Identifier grammar: https://spec.matrix.org/v1.19/appendices/#identifier-grammar."""

from collections.abc import Callable

import pytest

from federation.core.errors import InvalidIdentifier
from federation.core.ids import (
    EventID,
    RoomAlias,
    RoomID,
    ServerName,
    UserID,
    domain_of,
    fits,
    is_compliant_user_id,
    is_hash_room_id,
    is_ip_literal,
    localpart_of,
    new_user_id,
    parse_alias,
    parse_device_id,
    parse_event_id,
    parse_room_id,
    parse_server_name,
    parse_user_id,
    server_of,
    split_server_name,
)

HASH = "Rqnc-F-dvnEYJTyHq_iKxU2bZ1CI92-kuZq3a5lr5Zg"


def accepts(parse: Callable[[str], str], text: str) -> bool:
    try:
        return parse(text) == text
    except InvalidIdentifier:
        return False


@pytest.mark.parametrize(
    "name",
    [
        # the examples of the specification
        "matrix.org",
        "matrix.org:8888",
        "1.2.3.4",
        "1.2.3.4:1234",
        "[1234:5678::abcd]",
        "[1234:5678::abcd]:5678",
        # without a dot, with upper case, with hyphens; case is kept
        "localhost",
        "hs1:8448",
        "Example.ORG",
        "xn--bcher-kva.example",
        "[::]",
        "[::ffff:1.2.3.4]:1",
        "1.2.3",
        "1.2.3.4.example.org",
        "0.0.0.0",
        "255.255.255.255",
        "a:65535",
        "a" * 255,
    ],
)
def test_a_server_name_is_a_host_and_perhaps_a_port(name: str) -> None:
    assert accepts(parse_server_name, name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ":8448",
        "matrix.org:",
        "matrix.org:123456",
        "matrix.org:65536",
        "matrix.org:80a",
        "matrix.org:-1",
        "matrix_org",
        "matrix org",
        "matrix.org/",
        "bücher.example",
        "matrix.org\n",
        "1.2.3.256",
        "[1234:5678::abcd",
        "1234:5678::abcd",
        "[]",
        "[:]",
        "[1::2::3]",
        "[::g]",
        "[fe80::1%eth0]",
        "[1.2.3.4]",
        "user@matrix.org",
        "a" * 256,
        "\u0661.example",  # a digit, but not an ASCII one
    ],
)
def test_what_no_server_could_be_reached_at_is_no_server_name(name: str) -> None:
    assert not accepts(parse_server_name, name)


@pytest.mark.parametrize(
    ("name", "host", "port"),
    [
        ("example.org", "example.org", None),
        ("example.org:8448", "example.org", 8448),
        ("[::1]", "[::1]", None),
        ("[::1]:8448", "[::1]", 8448),
        ("1.2.3.4:80", "1.2.3.4", 80),
    ],
)
def test_a_server_name_splits_into_host_and_port(name: str, host: str, port: int | None) -> None:
    assert split_server_name(ServerName(name)) == (host, port)


@pytest.mark.parametrize(
    ("host", "literal"),
    [("1.2.3.4", True), ("[::1]", True), ("1.2.3", False), ("1.2.3.4.org", False), ("localhost", False), ("", False)],
)
def test_ip_literals_are_told_from_names(host: str, literal: bool) -> None:
    assert is_ip_literal(host) is literal


@pytest.mark.parametrize(
    "user_id",
    [
        "@alice:example.org",
        "@a.b_c=d-e/f+g:example.org:8448",
        "@alice:[::1]:8448",
        "@alice:localhost",
        "@alice:1.2.3.256",  # the grammar alone counts inside an identifier
        # historical: any code point but ":" and NUL, and nothing at all
        "@Alice:example.org",
        "@:example.org",
        "@ali ce\n!#$%\x7f:example.org",
        "@日本語😀:example.org",
        "@" + "a" * (255 - 13) + ":example.org",
    ],
)
def test_existing_users_may_have_historical_names(user_id: str) -> None:
    assert accepts(parse_user_id, user_id)


@pytest.mark.parametrize(
    "user_id",
    [
        "",
        "@",
        "@alice",
        "@alice:",
        "alice:example.org",
        "#alice:example.org",
        "@al\x00ice:example.org",
        "@al\ud800ice:example.org",
        "@alice:example.org:port",
        "@alice:bob:example.org",
        "@alice:example.org\n",
        "@" + "a" * (256 - 13) + ":example.org",
        "@" + "é" * 122 + ":example.org",  # 257 bytes in 135 characters
    ],
)
def test_what_is_no_user_id_is_refused(user_id: str) -> None:
    assert not accepts(parse_user_id, user_id)


@pytest.mark.parametrize("localpart", ["alice", "0", "a.b_c=d-e/f+g", "a" * (255 - 13)])
def test_new_users_get_names_of_the_strict_grammar(localpart: str) -> None:
    assert new_user_id(localpart, ServerName("example.org")) == f"@{localpart}:example.org"


@pytest.mark.parametrize("localpart", ["", "Alice", "al ice", "a:b", "ä", "a*", "a\n", "a" * (256 - 13)])
def test_new_users_get_no_other_names(localpart: str) -> None:
    with pytest.raises(InvalidIdentifier):
        new_user_id(localpart, ServerName("example.org"))


@pytest.mark.parametrize(
    ("user_id", "compliant"),
    [
        ("@alice:example.org", True),
        ("@ALICE!~:example.org", True),
        ("@:example.org", False),
        ("@a b:example.org", False),
        ("@a\x7f:example.org", False),
        ("@é:example.org", False),
    ],
)
def test_non_compliant_users_are_known_as_such(user_id: str, compliant: bool) -> None:
    assert is_compliant_user_id(parse_user_id(user_id)) is compliant


@pytest.mark.parametrize(
    ("room_id", "valid"),
    [
        (f"!{HASH}", True),
        ("!room:example.org", True),
        (f"!{HASH}:example.org", True),
        ("!ro om日本:example.org:1", True),
        ("!" + "a" * (255 - 13) + ":example.org", True),
        ("", False),
        ("!", False),
        ("!room", False),
        (f"!{HASH[:-1]}", False),
        (f"!{HASH}a", False),
        (f"!{HASH[:-1]}+", False),
        (f"!{HASH}\n", False),
        (f"${HASH}", False),
        ("room:example.org", False),
        ("!ro\x00om:example.org", False),
        ("!room:exa_mple.org", False),
        ("!" + "a" * (256 - 13) + ":example.org", False),
    ],
)
def test_a_room_id_has_a_domain_or_is_a_hash(room_id: str, valid: bool) -> None:
    assert accepts(parse_room_id, room_id) is valid


def test_room_ids_that_are_hashes_are_told_from_those_with_a_domain() -> None:
    assert is_hash_room_id(f"!{HASH}")
    assert not is_hash_room_id(f"!{HASH}:example.org")


@pytest.mark.parametrize(
    ("event_id", "valid"),
    [
        ("$143273582443PhrSn:example.org", True),  # versions 1 and 2
        ("$acR1l0raoZnm60CBwAVgqbZqoO/mYU81xysh1u7XcJk", True),  # version 3
        (f"${HASH}", True),  # since version 4
        ("$" + "a" * (255 - 13) + ":example.org", True),
        ("$", False),
        ("$abc", False),
        ("$abc:", False),
        (f"!{HASH}", False),
        (f"{HASH}", False),
        (f"${HASH}=", False),
        ("$acR1l0raoZnm60CBwAVgqbZqoO/mYU81xysh1u7XcJ_", False),  # two alphabets in one
        ("$" + "a" * (256 - 13) + ":example.org", False),
    ],
)
def test_an_event_id_has_a_domain_or_is_a_hash(event_id: str, valid: bool) -> None:
    assert accepts(parse_event_id, event_id) is valid


@pytest.mark.parametrize(
    ("alias", "valid"),
    [
        ("#room:example.org", True),
        ("#日 本:example.org:8448", True),
        ("#:example.org", True),
        ("#" + "a" * (255 - 13) + ":example.org", True),
        ("#room", False),
        ("!room:example.org", False),
        ("#ro\x00om:example.org", False),
        ("#a:b:example.org", False),
        ("#" + "a" * (256 - 13) + ":example.org", False),
    ],
)
def test_an_alias_has_a_domain(alias: str, valid: bool) -> None:
    assert accepts(parse_alias, alias) is valid


@pytest.mark.parametrize(
    ("device_id", "valid"),
    [("ABCDEFGH", True), ("é /", True), ("", False), ("a\x00", False), ("é" * 128, False)],
)
def test_a_device_id_is_a_short_text(device_id: str, valid: bool) -> None:
    assert accepts(parse_device_id, device_id) is valid


def test_identifiers_come_apart() -> None:
    user_id, alias = UserID("@alice:example.org:8448"), RoomAlias("#room:[::1]:80")
    assert (localpart_of(user_id), server_of(user_id)) == ("alice", "example.org:8448")
    assert (localpart_of(alias), server_of(alias)) == ("room", "[::1]:80")
    assert domain_of(RoomID("!room:example.org:1")) == "example.org:1"
    assert domain_of(EventID(f"${HASH}")) is None


def test_length_is_counted_in_bytes() -> None:
    assert fits("é", 2)
    assert not fits("é", 1)
    assert fits("ab", 2)
    assert not fits("abc", 2)
    assert not fits("\ud800", 2)
