"""The pieces of a sync answer, as bytes: put together without parsing what was serialised once."""

from collections.abc import Iterable, Mapping
from functools import cache

import orjson

EMPTY_LIST = b"[]"


def listed(items: Iterable[bytes]) -> bytes:
    """Return a JSON list of ready items."""
    return b"[" + b",".join(items) + b"]"


def mapped(members: Iterable[tuple[str, bytes]]) -> bytes:
    """Return a JSON object of ready members."""
    return b"{" + b",".join([orjson.dumps(name) + b":" + value for name, value in members]) + b"}"


def events(items: Iterable[bytes]) -> bytes:
    """Return `{"events": [...]}`."""
    return b'{"events":' + listed(items) + b"}"


def typed(event_type: str, content: bytes) -> bytes:
    """Return an event that has only a type and a content, as account data does."""
    return b'{"content":' + content + b',"type":' + orjson.dumps(event_type) + b"}"


def sections(parts: Mapping[str, bytes | None]) -> bytes:
    """Return a JSON object of those parts that are there; their names are few, and the same ones always."""
    return b"{" + b",".join([_name(name) + value for name, value in parts.items() if value is not None]) + b"}"


@cache
def _name(name: str) -> bytes:
    return orjson.dumps(name) + b":"


def nothing(token: object) -> bytes:
    """Return the answer of a sync that has nothing to tell."""
    return b'{"next_batch":"' + str(token).encode() + b'"}'
