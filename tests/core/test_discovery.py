"""Server discovery: https://spec.matrix.org/v1.19/server-server-api/#resolving-server-names."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.core.discovery import (
    DEFAULT_LIFETIME,
    Answer,
    Place,
    Question,
    Service,
    Target,
    WellKnown,
    delegate_in,
    find,
    lifetime,
)
from federation.core.ids import ServerName

HOST = "example.org"
DELEGATE = "delegate.example"
WELL_KNOWN = WellKnown(HOST)


def discover(name: str, answers: Mapping[Question, Answer] | None = None) -> tuple[Target, list[Question]]:
    """Hold the conversation about `name`; what is not among the answers is not there."""
    conversation, asked, known = find(ServerName(name)), [], answers or {}
    try:
        question = next(conversation)
        while True:
            asked.append(question)
            question = conversation.send(known.get(question))
    except StopIteration as end:
        return end.value, asked


def fed(host: str) -> Service:
    return Service(f"_matrix-fed._tcp.{host}")


def old(host: str) -> Service:
    return Service(f"_matrix._tcp.{host}")


# Server name, what the network knows; step, host and port to connect to, Host header, name in the certificate.
@pytest.mark.parametrize(
    ("name", "answers", "step", "place", "host_header", "tls_name"),
    [
        ("1.2.3.4", {}, "1", ("1.2.3.4", 8448), "1.2.3.4", "1.2.3.4"),
        ("1.2.3.4:80", {}, "1", ("1.2.3.4", 80), "1.2.3.4:80", "1.2.3.4"),
        ("[2001:db8::1]", {}, "1", ("2001:db8::1", 8448), "[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:80", {}, "1", ("2001:db8::1", 80), "[2001:db8::1]:80", "2001:db8::1"),
        ("example.org:443", {}, "2", ("example.org", 443), "example.org:443", "example.org"),
        ("localhost:8448", {}, "2", ("localhost", 8448), "localhost:8448", "localhost"),
        (HOST, {WELL_KNOWN: "5.6.7.8"}, "3.1", ("5.6.7.8", 8448), "5.6.7.8", "5.6.7.8"),
        (HOST, {WELL_KNOWN: "5.6.7.8:80"}, "3.1", ("5.6.7.8", 80), "5.6.7.8:80", "5.6.7.8"),
        (HOST, {WELL_KNOWN: "[::5]:80"}, "3.1", ("::5", 80), "[::5]:80", "::5"),
        (HOST, {WELL_KNOWN: f"{DELEGATE}:443"}, "3.2", (DELEGATE, 443), f"{DELEGATE}:443", DELEGATE),
        (
            HOST,
            {WELL_KNOWN: DELEGATE, fed(DELEGATE): (Place("srv", 1),), old(DELEGATE): (Place("old", 2),)},
            "3.3", ("srv", 1), DELEGATE, DELEGATE,
        ),
        (HOST, {WELL_KNOWN: DELEGATE, old(DELEGATE): (Place("old", 2),)}, "3.4", ("old", 2), DELEGATE, DELEGATE),
        (HOST, {WELL_KNOWN: DELEGATE, fed(HOST): (Place("x", 1),)}, "3.5", (DELEGATE, 8448), DELEGATE, DELEGATE),
        (HOST, {fed(HOST): (Place("srv", 1),), old(HOST): (Place("old", 2),)}, "4", ("srv", 1), HOST, HOST),
        (HOST, {old(HOST): (Place("old", 2),)}, "5", ("old", 2), HOST, HOST),
        (HOST, {}, "6", (HOST, 8448), HOST, HOST),
    ],
)  # fmt: skip
def test_a_server_is_found_in_the_steps_of_the_specification(
    name: str,
    answers: Mapping[Question, Answer],
    step: str,
    place: tuple[str, int],
    host_header: str,
    tls_name: str,
) -> None:
    target, _ = discover(name, answers)
    assert target == Target((Place(*place),), host_header, tls_name, step)


@pytest.mark.parametrize(
    ("name", "answers", "questions"),
    [
        ("1.2.3.4", {}, []),
        ("[::1]:80", {}, []),
        ("example.org:8448", {}, []),
        (HOST, {WELL_KNOWN: "5.6.7.8"}, [WELL_KNOWN]),
        (HOST, {WELL_KNOWN: f"{DELEGATE}:443"}, [WELL_KNOWN]),
        (HOST, {WELL_KNOWN: DELEGATE}, [WELL_KNOWN, fed(DELEGATE), old(DELEGATE)]),
        (HOST, {fed(HOST): (Place("srv", 1),)}, [WELL_KNOWN, fed(HOST)]),
        (HOST, {}, [WELL_KNOWN, fed(HOST), old(HOST)]),
    ],
)
def test_nothing_is_asked_that_does_not_matter(
    name: str, answers: Mapping[Question, Answer], questions: list[Question]
) -> None:
    assert discover(name, answers)[1] == questions


def test_all_places_of_a_service_are_kept_in_their_order() -> None:
    places = (Place("b", 2), Place("a", 1))
    assert discover(HOST, {fed(HOST): places})[0].places == places


def test_a_service_that_is_not_to_be_had_ends_the_search() -> None:
    target, asked = discover(HOST, {fed(HOST): (), old(HOST): (Place("old", 2),)})
    assert target == Target((), HOST, HOST, "4")
    assert old(HOST) not in asked


def test_a_delegate_delegates_no_further() -> None:
    assert WellKnown(DELEGATE) not in discover(HOST, {WELL_KNOWN: DELEGATE, WellKnown(DELEGATE): "third"})[1]


@pytest.mark.parametrize(
    "name",
    ["example.org", "example.org:443", "1.2.3.4", "[::1]:8448", "hs1"],
)
def test_a_well_known_file_names_a_server(name: str) -> None:
    assert delegate_in(b'{"m.server": "%s", "other": 1}' % name.encode()) == name


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        b'"m.server"',
        b"{}",
        b'{"m.server": null}',
        b'{"m.server": ["example.org"]}',
        b'{"m.server": ""}',
        b'{"m.server": "https://example.org"}',
        b'{"m.server": "example.org/"}',
        b'{"m.server": "example.org:99999"}',
        b'{"m.server": "a b"}',
        b'{"m.server": "\xff"}',
        b"[" * 100_000,
    ],
)
def test_a_file_that_is_not_valid_delegates_to_no_one(body: bytes) -> None:
    assert delegate_in(body) is None


@given(st.binary())
def test_any_file_is_read_without_fault(body: bytes) -> None:
    delegate_in(body)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, DEFAULT_LIFETIME),
        ({"cache-control": "public"}, DEFAULT_LIFETIME),
        ({"cache-control": "max-age=600"}, 600),
        ({"cache-control": 'Public , MAX-AGE="600"'}, 600),
        ({"cache-control": "max-age=600", "age": "100"}, 500),
        ({"cache-control": "max-age=600", "age": "900"}, 0),
        ({"cache-control": "max-age=600", "age": "soon"}, 600),
        ({"cache-control": "max-age=600", "age": "²"}, 600),
        ({"cache-control": "max-age=later"}, DEFAULT_LIFETIME),
        ({"cache-control": "max-age=600, no-cache"}, 0),
        ({"cache-control": "no-store"}, 0),
        (
            {"cache-control": "max-age=5", "expires": "Sun, 22 Nov 2026 10:00:00 GMT"},
            5,  # max-age comes before Expires
        ),
        ({"expires": "Sun, 22 Nov 2026 10:00:00 GMT", "date": "Sun, 22 Nov 2026 09:00:00 GMT"}, 3600),
        ({"expires": "Sun, 22 Nov 2026 10:00:00 -0000", "date": "Sun, 22 Nov 2026 09:00:00 GMT"}, 3600),
        ({"expires": "Sun, 22 Nov 2026 08:00:00 GMT", "date": "Sun, 22 Nov 2026 09:00:00 GMT"}, 0),
        ({"expires": "0", "date": "Sun, 22 Nov 2026 09:00:00 GMT"}, 0),
        ({"expires": "Sun, 22 Nov 2026 10:00:00 GMT"}, 0),
    ],
)
def test_a_file_holds_for_as_long_as_its_headers_say(headers: dict[str, str], seconds: int) -> None:
    assert lifetime(headers) == seconds


@given(st.dictionaries(st.sampled_from(["cache-control", "age", "expires", "date"]), st.text()))
def test_any_headers_give_a_time_that_is_not_negative(headers: dict[str, str]) -> None:
    assert lifetime(headers) >= 0
