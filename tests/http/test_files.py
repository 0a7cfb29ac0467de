"""How a file is named and typed in a browser; tables to be held against the specification and the RFCs."""

import pytest

from homeserver.http.files import clean_name, content_type_of, disposition, served_type


@pytest.mark.parametrize(
    ("content_type", "shown"),
    [
        ("image/png", True),
        ("IMAGE/PNG", True),
        ("text/plain; charset=utf-8", True),
        ("audio/ogg;codecs=opus", True),
        ("video/quicktime", True),
        ("text/html", False),
        ("text/html; image/png", False),
        ("image/svg+xml", False),
        ("application/xhtml+xml", False),
        ("application/pdf", False),
        ("application/octet-stream", False),
    ],
)
def test_a_browser_shows_only_what_is_harmless(content_type: str, shown: bool) -> None:
    assert served_type(content_type) == (content_type, shown)


@pytest.mark.parametrize(
    "content_type", ["text/javascript", "Application/JavaScript; charset=utf-8", "application/wasm"]
)
def test_no_page_can_load_a_file_as_its_script(content_type: str) -> None:
    assert served_type(content_type) == ("application/octet-stream", False)


@pytest.mark.parametrize(
    "header",
    ["image/png", "text/plain; charset=utf-8", 'text/plain;charset="utf-8"', "audio/ogg; codecs=opus ;", "a/b;c=d;e=f"],
)
def test_a_type_is_kept_as_it_was_sent(header: str) -> None:
    assert content_type_of(header) == header
    assert content_type_of(f" {header} ") == header


@pytest.mark.parametrize(
    "header",
    [
        None, "", "nonsense", "text/", "/plain", "text/plain, text/html", "a b/c", "text/plain; =", "x/" + "y" * 300,
        "text/html\r\nX: y", "text/pl\x00in", "text/é", 'text/plain; a="b\nc"',
    ],
)  # fmt: skip
def test_a_malformed_type_is_that_of_mere_bytes(header: str | None) -> None:
    assert content_type_of(header) == "application/octet-stream"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("plain.txt", 'inline; filename="plain.txt"'),
        ("with space.txt", 'inline; filename="with space.txt"'),
        ("semi;colon=.txt", 'inline; filename="semi;colon=.txt"'),
        ('quo"te.txt', 'inline; filename="quo\\"te.txt"'),
        ("ünï☕.txt", "inline; filename*=UTF-8''%C3%BCn%C3%AF%E2%98%95.txt"),
        ("../../etc/passwd", 'inline; filename=".._.._etc_passwd"'),
        ("..\\..\\boot.ini", 'inline; filename=".._.._boot.ini"'),
        ("a\r\nSet-Cookie: x=y", 'inline; filename="aSet-Cookie: x=y"'),
        ("nul\0l.txt", 'inline; filename="null.txt"'),
        ("ü\r\nX: y", "inline; filename*=UTF-8''%C3%BCX%3A%20y"),
        ("nel\x85.txt", 'inline; filename="nel.txt"'),
        ("..", "inline"),
        ("\r\n", "inline"),
        ("", "inline"),
        (None, "inline"),
    ],
)
def test_a_name_is_a_name_and_nothing_else(name: str | None, expected: str) -> None:
    assert disposition("inline", name) == expected


def test_what_is_left_of_a_name_has_no_directories() -> None:
    assert clean_name("a/b\\c") == "a_b_c"
    assert clean_name(" / ") == "_"
    assert clean_name(" .. ") is None
