"""Canonical JSON: https://spec.matrix.org/v1.19/appendices/#canonical-json.

`encode` is for room versions 6 and later and for all that is not an event; it refuses what the grammar has
no form for. `encode_lenient` is for room versions 1 to 5, where floats and great integers may occur and keep
the form that the rest of the network gives them. Where `encode` has a result, `encode_lenient` has the same.
"""

import json
from typing import Any

import orjson

from federation.core.errors import BadJson

MAX_NESTING = 254
"""How deep lists and objects may nest, orjson's own bound; what is deeper is refused."""

_OPTIONS = (
    orjson.OPT_SORT_KEYS
    | orjson.OPT_STRICT_INTEGER
    | orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
)


def encode(value: object) -> bytes:
    """Return the canonical JSON of `value`.

    `value` is made of dicts with text keys, lists, texts, integers, booleans and None. Raises `BadJson` for
    anything else: floats (integral ones too), integers beyond 2^53-1, lone surrogates, too deep nesting.
    """
    try:
        encoded = orjson.dumps(value, option=_OPTIONS)
    except TypeError as error:
        raise BadJson(f"not canonical JSON: {error}") from error
    _refuse_floats(value)
    return encoded


def encode_lenient(value: object) -> bytes:
    """Return the JSON of `value` in the canonical layout, floats and integers of any size included.

    Raises `BadJson` for what is not JSON at all, for lone surrogates and for too deep nesting.
    """
    try:
        return encode(value)
    except BadJson:
        _check_json(value)
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True)
        return text.encode()
    except ValueError as error:  # NaN, infinity, a lone surrogate, an integer of thousands of digits
        raise BadJson(f"not JSON: {error}") from error


def check_strict(value: object) -> None:
    """Raise `BadJson` unless `value` has a canonical form."""
    encode(value)


def _refuse_floats(value: object) -> None:
    """Raise `BadJson` for a float, which orjson writes (and NaN as null), and what else it is too kind to."""
    pending = [value]
    for item in pending:  # grows while it is walked
        kind = type(item)
        if kind is str or kind is int:
            continue
        if isinstance(item, dict):
            pending += item.values()
        elif isinstance(item, (list, tuple)):
            pending += item
        elif not isinstance(item, (str, int)) and item is not None:
            raise BadJson(f"not canonical JSON: {kind.__name__}")


def _check_json(value: object) -> None:
    """Raise `BadJson` unless `value` is JSON and not nested too deep for the recursion of `json`."""
    level = [value]
    for _ in range(MAX_NESTING + 1):
        below: list[object] = []
        for item in level:
            if isinstance(item, dict):
                if not all(isinstance(key, str) for key in item):
                    raise BadJson("not JSON: a key is not text")
                below.extend(item.values())
            elif isinstance(item, (list, tuple)):
                below.extend(item)
            elif not isinstance(item, (str, int, float)) and item is not None:
                raise BadJson(f"not JSON: {type(item).__name__}")
        if not below:
            return
        level = below
    raise BadJson("nested too deep")


def nests_deeper(value: Any, levels: int) -> bool:
    """Return whether a JSON value holds objects and lists in each other on more than so many levels.

    Walked without recursion, so that no depth is too much to ask about.
    """
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(levels):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return bool(level)
