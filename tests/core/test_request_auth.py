"""Request authentication: https://spec.matrix.org/v1.19/server-server-api/#request-authentication."""

import string
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.core import unpadded_base64
from federation.core.canonical_json import encode, encode_lenient
from federation.core.errors import BadSignature
from federation.core.ids import ServerName
from federation.core.request_auth import MOST_SIGNATURES, RequestAuth, make, parse, verify
from federation.core.signing import SigningKey, verify_json
from tests.core.test_canonical_json import strict_json

KEY = SigningKey.from_seed("1", b"\x01" * 32)
OTHER_KEY = SigningKey.from_seed("2", b"\x02" * 32)
ORIGIN = ServerName("origin.example:8448")
DESTINATION = ServerName("destination.example")
URI = "/_matrix/federation/v1/send/1?a=%2F&b"
SIGNATURE = b"\x05\xfb\xf0" * 8
SIG = unpadded_base64.encode(SIGNATURE)
FULL = f'X-Matrix origin="{ORIGIN}",destination="{DESTINATION}",key="ed25519:1",sig="{SIG}"'
CLAIM = RequestAuth(ORIGIN, DESTINATION, {"ed25519:1": SIGNATURE})


def signed(content: bytes | None = None, *, key: SigningKey = KEY, method: str = "PUT", uri: str = URI) -> str:
    return make(key, ORIGIN, DESTINATION, method, uri, content)


def check(
    header: str, content: bytes | None = None, *, key: SigningKey = KEY, method: str = "PUT", uri: str = URI,
    destination: ServerName = DESTINATION,
) -> None:  # fmt: skip
    auth = parse([header])
    assert auth is not None
    verify(auth, key.key_id, key.public_key, destination=destination, method=method, uri=uri, content=content)


def test_what_is_signed_is_the_json_of_the_request() -> None:
    auth = parse([signed(encode({"b": 1, "a": "é"}))])
    assert auth is not None
    request: dict[str, Any] = {
        "method": "PUT", "uri": URI, "origin": ORIGIN, "destination": DESTINATION, "content": {"b": 1, "a": "é"},
        "signatures": {ORIGIN: {"ed25519:1": unpadded_base64.encode(auth.signatures["ed25519:1"])}},
    }  # fmt: skip
    verify_json(request, ORIGIN, "ed25519:1", KEY.public_key)


def test_a_request_without_a_body_signs_no_content() -> None:
    auth = parse([signed(None, method="GET")])
    assert auth is not None
    signature = unpadded_base64.encode(auth.signatures["ed25519:1"])
    request = {"method": "GET", "uri": URI, "origin": ORIGIN, "destination": DESTINATION}
    verify_json({**request, "signatures": {ORIGIN: {"ed25519:1": signature}}}, ORIGIN, "ed25519:1", KEY.public_key)


def test_a_header_is_written_as_older_servers_can_read_it() -> None:
    header = signed()
    assert header.startswith(f'X-Matrix origin="{ORIGIN}",destination="{DESTINATION}",key="ed25519:1",sig="')
    assert "\\" not in header
    assert header.count(" ") == 1


@given(strict_json, st.sampled_from(["GET", "POST", "PUT"]))
def test_what_is_made_verifies(content: Any, method: str) -> None:
    body = encode_lenient({"body": content})
    check(signed(body, method=method), body, method=method)


@pytest.mark.parametrize(
    ("content", "method", "uri", "destination"),
    [
        (b'{"a":2}', "PUT", URI, DESTINATION),
        (None, "PUT", URI, DESTINATION),
        (b'{"a":1}', "POST", URI, DESTINATION),
        (b'{"a":1}', "PUT", URI + "=", DESTINATION),
        (b'{"a":1}', "PUT", URI, ServerName("other.example")),
    ],
)
def test_a_signature_is_good_for_one_request_only(
    content: bytes | None, method: str, uri: str, destination: ServerName
) -> None:
    with pytest.raises(BadSignature):
        check(signed(b'{"a":1}'), content, method=method, uri=uri, destination=destination)


def test_a_signature_is_good_for_the_server_that_was_meant_also_if_the_header_does_not_name_it() -> None:
    header = signed().replace(f'destination="{DESTINATION}",', "")
    check(header)
    with pytest.raises(BadSignature):
        check(header, destination=ServerName("other.example"))


def test_another_key_does_not_verify() -> None:
    with pytest.raises(BadSignature, match="not signed with ed25519:2"):
        check(signed(), key=OTHER_KEY)
    impostor = SigningKey.from_seed("1", b"\x09" * 32)
    with pytest.raises(BadSignature, match="wrong"):
        check(signed(), key=impostor)


def test_a_request_line_that_is_not_text_does_not_verify() -> None:
    with pytest.raises(BadSignature, match="not text"):
        check(signed(), uri="/\udcff")


@pytest.mark.parametrize(
    "header",
    [
        FULL,
        FULL.replace("X-Matrix", "x-mAtRiX"),
        FULL.replace("X-Matrix ", "X-Matrix   "),
        FULL.replace(",", " ,\t "),
        FULL.replace(",", ",,"),
        FULL + " , ,",
        FULL.replace("X-Matrix ", "X-Matrix , "),
        FULL.replace("=", " =\t"),
        FULL.replace("origin=", "Origin=").replace("sig=", "SIG="),
        FULL.replace("sig=", "signature="),
        FULL + ',extension="x, y=z",another=1',
        f"X-Matrix origin={ORIGIN},destination={DESTINATION},key=ed25519:1,sig={SIG.replace('/', '_')}",
        f'X-Matrix sig="{SIG}",key=ed25519:1,origin={ORIGIN},destination={DESTINATION}',
        FULL.replace("origin.example", r"or\i\gin\.example"),
        FULL.replace(SIG, SIG + "=="),
    ],
)
def test_a_header_may_be_written_in_many_ways(header: str) -> None:
    assert parse([header]) == CLAIM


@pytest.mark.parametrize(
    "headers", [[], ["Bearer abc"], ["Basic YTpi, x"], [""], ["Negotiate"], ["@"], ["X-Matrix\torigin=a"]]
)
def test_other_schemes_are_not_ours(headers: list[str]) -> None:
    assert parse(headers) is None


def test_another_scheme_beside_ours_is_passed_over() -> None:
    assert parse(["Bearer a=b", FULL, "Digest x"]) == CLAIM


def test_each_key_has_a_header_of_its_own() -> None:
    second = FULL.replace("ed25519:1", "ed25519:2")
    expected = RequestAuth(ORIGIN, DESTINATION, {"ed25519:1": SIGNATURE, "ed25519:2": SIGNATURE})
    assert parse([FULL, second]) == expected
    # ... which a proxy may have joined.
    assert parse([f"{FULL}, {second}"]) == expected
    assert parse([f'{FULL}, Digest a="b"']) == CLAIM


def test_a_header_need_not_name_its_destination() -> None:
    assert parse([FULL.replace(f'destination="{DESTINATION}",', "")]) == RequestAuth(
        ORIGIN, None, {"ed25519:1": SIGNATURE}
    )


@pytest.mark.parametrize(
    "headers",
    [
        ["X-Matrix"],
        ["X-Matrix "],
        ["X-Matrix abc"],
        ["X-Matrix origin"],
        ["X-Matrix =x"],
        [FULL.replace('sig="', "sig=")],
        [FULL[:-1]],
        [FULL + "x"],
        [FULL + ", x y"],
        [FULL + ", X-Matrix"],
        [FULL + ' origin="b"'],
        [FULL + ',origin="other.example"'],
        [FULL + ',ORIGIN="other.example"'],
        [FULL.replace("key=", "kay=")],
        [FULL.replace("sig=", "sag=")],
        [FULL.replace("origin=", "x=")],
        [FULL.replace(ORIGIN, "not a name")],
        [FULL.replace(ORIGIN, "")],
        [FULL.replace(DESTINATION, "a:b:c")],
        [FULL.replace(SIG, "%")],
        [FULL.replace(SIG, "A")],
        [FULL.replace("example", "ex\x00ample")],
        [FULL.replace("example", "ex\\\x7fample")],
        [FULL, FULL.replace("origin.example", "another.example")],
        [FULL, FULL.replace(f'destination="{DESTINATION}",', "")],
        [FULL, "X-Matrix"],
        [FULL.replace("ed25519:1", f"ed25519:{number}") for number in range(MOST_SIGNATURES + 1)],
    ],
)
def test_a_header_that_cannot_be_read_is_refused(headers: list[str]) -> None:
    with pytest.raises(BadSignature):
        parse(headers)


tokens = st.text(string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~", min_size=1, max_size=8)
texts = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=12)
gaps = st.sampled_from(["", " ", "\t", " \t "])


@st.composite
def headers(draw: st.DrawFn) -> tuple[str, dict[str, str]]:
    """A header in one of the many ways to write it, and the values of its parameters."""
    values = {"origin": "a.example:1", "destination": "[::1]", "key": "ed25519:x", "sig": SIG}
    names = {name.lower() for name in draw(st.sets(tokens, max_size=3))} - {*values, "signature"}
    values |= {name: draw(texts) for name in names}
    parts = []
    for name, value in draw(st.permutations(list(values.items()))):
        is_plain = value and all(char in string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~:" for char in value)
        if is_plain and draw(st.booleans()):
            written = value
        else:
            written = "".join("\\" + char if char in '"\\' or draw(st.booleans()) else char for char in value)
            written = f'"{written}"'
        parts.append(f"{draw(st.sampled_from([name, name.upper()]))}{draw(gaps)}={draw(gaps)}{written}")
    header = parts[0]
    for part in parts[1:]:
        header += f"{draw(gaps)},{draw(gaps)}{part}"
    return f"X-Matrix {header}", values


@given(headers())
def test_every_way_to_write_a_header_is_read(written: tuple[str, dict[str, str]]) -> None:
    header, values = written
    assert parse([header]) == RequestAuth(
        ServerName(values["origin"]), ServerName(values["destination"]), {values["key"]: SIGNATURE}
    )


@given(headers(), st.data())
def test_a_header_that_was_damaged_is_read_or_refused(written: tuple[str, dict[str, str]], data: st.DataObject) -> None:
    header = written[0]
    at = data.draw(st.integers(0, len(header)))
    damaged = header[:at] + data.draw(st.text(max_size=3)) + header[data.draw(st.integers(at, len(header))) :]
    with suppress(BadSignature):
        parse([damaged])


@given(st.lists(st.one_of(st.text(), st.text().map(lambda rest: f"X-Matrix {rest}")), max_size=3))
def test_any_text_is_read_or_refused(texts: list[str]) -> None:
    with suppress(BadSignature):
        parse(texts)


def test_a_long_header_takes_no_long_time() -> None:
    # The grammar has no way to be read twice: a hundred thousand characters are seen once each.
    for unit in ('a="', "a=b,", "\\", ", ", "a= ", 'a="\\\\', "x"):
        with pytest.raises(BadSignature):
            parse(["X-Matrix " + unit * (100_000 // len(unit))])
