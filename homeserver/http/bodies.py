"""Reads JSON that comes from outside: bounded, strict, and with errors that name the field.

Refused with `M_NOT_JSON`: what is not JSON, NaN and infinities, lone surrogates. Refused with `M_BAD_JSON`: names
that stand twice in one object, nesting deeper than `DEEPEST`, integers that canonical JSON cannot hold.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec
import orjson

from federation.core.canonical_json import nests_deeper
from homeserver.errors import BadJson, InvalidParam, MatrixError, MissingParam, NotJson

T = TypeVar("T")
JsonObject = dict[str, Any]
DEEPEST = 100
"""Levels of nesting; a real event has fewer than ten."""

_MISSING = re.compile(r"Object missing required field `(?P<name>[^`]+)`(?: - at `\$\.?(?P<path>[^`]*)`)?")
_AT = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<path>[^`]*)`)?$", re.DOTALL)
_LONG_NUMBER = re.compile(rb"\d{16}")


def parse_object(raw: bytes) -> JsonObject:
    """Return the JSON object in `raw`. Raises `NotJson` or `BadJson`."""
    value = _parse(raw)
    if raw.count(b"{") + raw.count(b"[") > DEEPEST and nests_deeper(value, DEEPEST):
        raise BadJson(f"The body nests deeper than {DEEPEST} levels")
    _check_names(raw, value)
    if _LONG_NUMBER.search(raw):
        _check_integers(value)
    return value


def parse_signed(raw: bytes) -> JsonObject:
    """Return the JSON object that another server has sent. Raises `NotJson` or `BadJson`.

    Only what is no JSON is refused. Such a body holds events of many people, and one of them must not keep the others
    out: whether each of them can be used is for the law to say.
    """
    value = _parse(raw)
    if _LONG_NUMBER.search(raw) is None:
        return value
    # orjson makes a float of an integer past 64 bits. Events of old room versions may hold such a one, and are signed
    # with all its digits; so is the request that brings them.
    try:
        found: JsonObject = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise NotJson(f"The body is not JSON: {error}") from error
    return found


def _parse(raw: bytes) -> JsonObject:
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise NotJson(f"The body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise BadJson("The body must be a JSON object")
    return value


def _check_names(raw: bytes, value: JsonObject) -> None:
    # Every member has one colon outside of strings, and colons inside strings survive parsing. So if none was written
    # as an escape, fewer colons after a round trip mean that a name stood twice. Escapes are rare: look closely then.
    if b"\\u003" not in raw and raw.count(b":") == orjson.dumps(value).count(b":"):
        return
    try:
        json.loads(raw, object_pairs_hook=_once)
    except RecursionError as error:
        raise BadJson(f"The body nests deeper than {DEEPEST} levels") from error


def _once(pairs: list[tuple[str, Any]]) -> None:
    names = set()
    for name, _ in pairs:
        if name in names:
            raise BadJson(f"The name {name!r} stands twice in one object")
        names.add(name)


def _check_integers(value: Any) -> None:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
        elif isinstance(item, int | float) and not -(2**53) < item < 2**53:
            raise BadJson(f"The number {item} is out of range")


def refuse_nul(value: Any, path: str = "") -> None:
    """Refuse a text or a name with a NUL character in it. Raises `InvalidParam`, naming the field."""
    members: Iterable[tuple[str, Any]] = ()
    if isinstance(value, dict):
        members = value.items()
    elif isinstance(value, list):
        members = ((str(index), item) for index, item in enumerate(value))
    elif isinstance(value, str) and "\0" in value:
        raise InvalidParam(f"{path}: holds a NUL character")
    for name, item in members:
        if "\0" in name:
            raise InvalidParam(f"{path or 'The body'}: has a name with a NUL character")
        refuse_nul(item, f"{path}.{name}" if path else name)


def convert(value: Mapping[str, Any], wanted: type[T]) -> T:
    """Return the body as the struct `wanted`. Raises `MissingParam` or `BadJson`, naming the field."""
    try:
        return msgspec.convert(value, wanted)
    except msgspec.ValidationError as error:
        raise _named(str(error), BadJson) from error


def convert_query(value: Mapping[str, Any], wanted: type[T]) -> T:
    """Return the query as the struct `wanted`; texts are read as numbers and booleans where those are wanted.

    Raises `MissingParam` or `InvalidParam`, naming the parameter.
    """
    try:
        return msgspec.convert(value, wanted, strict=False)
    except msgspec.ValidationError as error:
        raise _named(str(error), InvalidParam) from error


def _named(text: str, kind: type[MatrixError]) -> MatrixError:
    if (missing := _MISSING.fullmatch(text)) is not None:
        path = missing["path"]
        return MissingParam(f"Missing {path + '.' if path else ''}{missing['name']}")
    found = _AT.fullmatch(text)
    if found is not None and found["path"]:
        return kind(f"{found['path']}: {found['what']}")
    return kind(text)
