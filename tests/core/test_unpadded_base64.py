"""Unpadded Base64: https://spec.matrix.org/v1.19/appendices/#unpadded-base64."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.core.errors import BadJson
from federation.core.unpadded_base64 import decode, encode, encode_url_safe


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("", ""),
        ("f", "Zg"),
        ("fo", "Zm8"),
        ("foo", "Zm9v"),
        ("foob", "Zm9vYg"),
        ("fooba", "Zm9vYmE"),
        ("foobar", "Zm9vYmFy"),
    ],
)
def test_the_examples_of_the_specification_hold(text: str, encoded: str) -> None:
    assert encode(text.encode()) == encoded
    assert decode(encoded) == text.encode()


def test_the_two_alphabets_differ_in_two_characters() -> None:
    assert (encode(b"\xfb\xff"), encode_url_safe(b"\xfb\xff")) == ("+/8", "-_8")


@given(st.binary())
def test_both_alphabets_are_read_padded_or_not(data: bytes) -> None:
    padding = "=" * (-len(encode(data)) % 4)
    for encoded in (encode(data), encode_url_safe(data)):
        assert decode(encoded) == decode(encoded + padding) == data


@pytest.mark.parametrize("text", ["a", "ab c", "ab\n", "a=b", "é", "ab*d", "abcde"])
def test_what_is_not_base64_is_refused(text: str) -> None:
    with pytest.raises(BadJson):
        decode(text)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        decode(text)
    except BadJson:
        return
