"""Bodies in several parts, cut into pieces anywhere."""

from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.matrix.errors import BadAnswer
from federation.matrix.multipart import LARGEST_HEADERS, Multipart

TYPE = "multipart/mixed; boundary=gc0p4Jq0M2Yt08jU534c0p"
BODY = (
    b"--gc0p4Jq0M2Yt08jU534c0p\r\nContent-Type: application/json\r\n\r\n{}\r\n"
    b"--gc0p4Jq0M2Yt08jU534c0p\r\nContent-Type: text/plain\r\n"
    b"Content-Disposition: inline; filename*=UTF-8''a%C3%A4.txt\r\n\r\nThis media is plain text. \r\n--gc Maybe.\r\n"
    b"--gc0p4Jq0M2Yt08jU534c0p--\r\n"
)


async def pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@pytest.mark.parametrize("size", [1, 2, 7, 64, 4096])
async def test_the_parts_are_the_same_however_the_bytes_arrive(size: int) -> None:
    body = Multipart(TYPE, pieces(BODY, size))
    first = await body.next_part()
    assert first.get_content_type() == "application/json"
    assert await body.small_body(100) == b"{}"
    second = await body.next_part()
    assert second.get_content_type() == "text/plain"
    assert second.get_filename() == "aä.txt"
    assert await body.small_body(100) == b"This media is plain text. \r\n--gc Maybe."
    with pytest.raises(BadAnswer, match="fewer parts"):
        await body.next_part()


async def test_a_part_may_have_no_headers() -> None:
    body = Multipart("multipart/mixed; boundary=x", pieces(b"--x\r\n\r\nhello\r\n--x--", 3))
    await body.next_part()
    assert await body.small_body(10) == b"hello"


@pytest.mark.parametrize(
    "content_type", ["text/plain", "multipart/mixed", "", "multipart/mixed; boundary=" + "x" * 300]
)
def test_what_is_not_multipart_is_a_bad_answer(content_type: str) -> None:
    with pytest.raises(BadAnswer):
        Multipart(content_type, pieces(b"", 1))


async def test_endless_headers_are_given_up() -> None:
    body = Multipart("multipart/mixed; boundary=x", pieces(b"--x\r\nA: " + b"b" * (LARGEST_HEADERS + 5000), 1000))
    with pytest.raises(BadAnswer, match="too large"):
        await body.next_part()


async def test_a_large_part_is_given_up_where_a_small_one_is_expected() -> None:
    body = Multipart("multipart/mixed; boundary=x", pieces(b"--x\r\n\r\n" + b"b" * 5000 + b"\r\n--x--", 1000))
    await body.next_part()
    with pytest.raises(BadAnswer, match="too large"):
        await body.small_body(2000)


@given(st.binary(max_size=300), st.integers(1, 50))
async def test_any_bytes_are_parts_or_a_bad_answer(data: bytes, size: int) -> None:
    body = Multipart("multipart/mixed; boundary=x", pieces(data, size))
    try:
        for _ in range(3):
            await body.next_part()
            await body.small_body(1000)
    except BadAnswer:
        return


@given(st.binary(max_size=200).filter(lambda data: b"--x" not in data), st.integers(1, 50))
async def test_what_is_sent_arrives(data: bytes, size: int) -> None:
    body = Multipart("multipart/mixed; boundary=x", pieces(b"--x\r\n\r\n" + data + b"\r\n--x--\r\n", size))
    await body.next_part()
    assert await body.small_body(1000) == data
