"""Reads what other servers answer: bounded in bytes (once decompressed) and in depth, and without guessing."""

import json
import re
from typing import Any

import aiohttp
import orjson

from federation.core.canonical_json import MAX_NESTING, nests_deeper
from federation.matrix.errors import BadAnswer

_LONG_NUMBER = re.compile(rb"[0-9]{19}")


async def read_bounded(response: aiohttp.ClientResponse, most_bytes: int) -> bytes:
    """Return the body. Raises `BadAnswer` as soon as it is larger than allowed, and what aiohttp raises."""
    if (response.content_length or 0) > most_bytes:
        raise BadAnswer(f"an answer of {response.content_length} bytes, where {most_bytes} are allowed")
    pieces, size = [], 0
    # Decompressed piece by piece: of a body that grows a thousandfold, one piece is seen.
    async for piece in response.content.iter_any():
        size += len(piece)
        if size > most_bytes:
            raise BadAnswer(f"an answer of more than {most_bytes} bytes")
        pieces.append(piece)
    return b"".join(pieces)


def parse_json(body: bytes) -> Any:
    """Return the JSON value in `body`. Raises `BadAnswer` if it is not JSON, or nested too deep to be written again."""
    try:
        value = orjson.loads(body)
        if body.count(b"{") + body.count(b"[") > MAX_NESTING and nests_deeper(value, MAX_NESTING):
            raise BadAnswer(f"an answer that nests deeper than {MAX_NESTING} levels")
        # orjson makes a float of an integer past 64 bits. Events of old room versions may hold such a one, and are
        # signed with all its digits.
        return json.loads(body) if _LONG_NUMBER.search(body) else value
    except (ValueError, RecursionError) as error:
        raise BadAnswer(f"an answer that is not JSON: {error}") from error
