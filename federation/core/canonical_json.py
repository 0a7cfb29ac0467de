"""Canonical JSON: https://spec.matrix.org/v1.19/appendices/#canonical-json.

`encode` is for room versions 6 and later and for all that is not an event; it refuses what the grammar has
no form for. `encode_lenient` is for room versions 1 to 5, where floats and great integers may occur and keep the
form that the rest of the network gives them. Where `encode` has a result, `encode_lenient` has the same.
"""

import json
import re
from typing import Any

import orjson

from federation.core.errors import BadJson
from federation.core.room_versions import MAX_SAFE_INTEGER

MAX_NESTING = 254
"""How deep lists and objects may nest, orjson's own bound; what is deeper is refused."""

_OPTIONS = (
    orjson.OPT_SORT_KEYS
    | orjson.OPT_STRICT_INTEGER
    | orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
)
# orjson writes a float with a point or an exponent, and NaN as null. Most values hold neither, so a look at
# the output is enough; only what looks suspicious, which may also be text, is walked through.
_suspicious = re.compile(rb"[:\[,]-?[0-9]+[.eE]|[:\[,]null").search


def encode(value: object) -> bytes:
    """Return the canonical JSON of `value`.

    `value` is made of dicts with text keys, lists, texts, integers, booleans and None. Raises `BadJson` for
    anything else: floats (integral ones too), integers beyond 2^53-1, lone surrogates, too deep nesting.
    """
    try:
        encoded = orjson.dumps(value, option=_OPTIONS)
    except TypeError as error:
        raise BadJson(f"not canonical JSON: {error}") from error
    if _suspicious(encoded) is not None or type(value) is float:
        check_strict(value)
    return encoded


def encode_lenient(value: object) -> bytes:
    """Return the JSON of `value` in the canonical layout, floats and integers of any size included.

    Raises `BadJson` for what is not JSON at all, for lone surrogates and for too deep nesting.
    """
    try:
        return encode(value)
    except BadJson:
        _check(value, strict=False)
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True)
        return text.encode()
    except ValueError as error:  # NaN, infinity, a lone surrogate, an integer of thousands of digits
        raise BadJson(f"not JSON: {error}") from error


def check_strict(value: object) -> None:
    """Raise `BadJson` unless `value` has a canonical form; the cost of this is that of a walk through it."""
    _check(value, strict=True)


def _check(value: object, *, strict: bool) -> None:
    level: list[Any] = [value]
    for _ in range(MAX_NESTING + 1):
        below: list[Any] = []
        for item in level:
            if item is None or isinstance(item, (str, bool)):
                continue
            if isinstance(item, dict):
                if not all(isinstance(key, str) for key in item):
                    raise BadJson("not JSON: a key is not text")
                below.extend(item.values())
            elif isinstance(item, (list, tuple)):
                below.extend(item)
            elif isinstance(item, int):
                if strict and abs(item) > MAX_SAFE_INTEGER:
                    raise BadJson("not canonical JSON: an integer is beyond 2^53-1")
            elif not isinstance(item, float) or strict:
                raise BadJson(f"not canonical JSON: {type(item).__name__}")
        if not below:
            return
        level = below
    raise BadJson("nested too deep")
