"""What is seen of a picture by its first bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.core.xmpp.errors import StanzaError
from homeserver.xmpp.pictures import decode, dimensions, type_of
from tests.support.media import encoded, film, picture


@pytest.mark.parametrize(
    ("data", "kind", "size"),
    [
        (encoded(picture(30, 20)), "image/png", (30, 20)),
        (encoded(picture(30, 20), "JPEG"), "image/jpeg", (30, 20)),
        (encoded(picture(30, 20), "JPEG", progressive=True, exif=b"Exif\0\0" + bytes(200)), "image/jpeg", (30, 20)),
        (film("GIF", 30, 20), "image/gif", (30, 20)),
        (encoded(picture(30, 20), "WEBP"), "image/webp", None),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", None, None),
        (b"\x89PNG\r\n\x1a\n", "image/png", None),
        (b"\xff\xd8\xff\xe0\0\0", "image/jpeg", None),
        (b"\xff\xd8\xff\xda\0\x04\0\0\0\0\0\0", "image/jpeg", None),
        (b"GIF89a\x01", "image/gif", None),
        (b"", None, None),
    ],
)
def test_type_and_size_are_in_the_first_bytes(data: bytes, kind: str | None, size: tuple[int, int] | None) -> None:
    assert type_of(data) == kind
    assert dimensions(data) == size


@given(st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a"]), st.binary(max_size=200))
def test_any_bytes_are_looked_at_without_an_accident(start: bytes, rest: bytes) -> None:
    found = dimensions(start + rest)
    assert found is None or len(found) == 2


@pytest.mark.parametrize("text", ["a", "aGVsbG8", "aGVsbG8=!", "\u00fc", "data:image/png;base64,aGVsbG8="])
def test_what_is_no_base64_is_refused(text: str) -> None:
    with pytest.raises(StanzaError) as raised:
        decode(text)
    assert raised.value.condition.element == "bad-request"


def test_white_space_in_base64_does_not_matter() -> None:
    assert decode(" aGVs\n\tbG8= ") == b"hello"
