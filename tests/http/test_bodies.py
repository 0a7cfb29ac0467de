"""JSON from outside: what is refused, and that what is good never is."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.errors import BadJson, InvalidParam, NotJson
from homeserver.http.bodies import DEEPEST, parse_object, refuse_nul

LARGEST_INTEGER = 2**53 - 1

# Texts full of what a scanner of raw JSON could stumble over.
texts = st.text(st.sampled_from('a:"\\{}[],/\n\u003a\u00e9\u2028\U0001f600'), max_size=8) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=8
)
scalars = st.none() | st.booleans() | st.integers(-LARGEST_INTEGER, LARGEST_INTEGER) | st.floats(-1e15, 1e15) | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=12
)
objects = st.dictionaries(texts, values, max_size=5)


@st.composite
def written(draw: st.DrawFn, value: Any) -> str:
    """Write a value as JSON, with any of the escapes and spaces that JSON allows."""
    space = st.sampled_from(["", "", " ", "\n\t"])
    if isinstance(value, dict):
        members = [f"{draw(written(name))}{draw(space)}:{draw(written(inner))}" for name, inner in value.items()]
        return "{" + draw(space) + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(draw(written(inner)) + draw(space) for inner in value) + "]"
    if isinstance(value, str):
        return '"' + "".join(draw(_character(char)) for char in value) + '"'
    return json.dumps(value)


def _character(char: str) -> st.SearchStrategy[str]:
    escapes = "".join(f"\\u{unit:04x}" for unit in _units(char))
    plain = json.dumps(char, ensure_ascii=False)[1:-1]
    return st.sampled_from([plain, plain, escapes, escapes.upper().replace("\\U", "\\u")])


def _units(char: str) -> list[int]:
    raw = char.encode("utf-16-be")
    return [int.from_bytes(raw[at : at + 2]) for at in range(0, len(raw), 2)]


@given(st.data(), objects)
def test_good_json_is_read_as_it_was_meant(data: st.DataObject, value: dict[str, Any]) -> None:
    raw = data.draw(written(value))
    assert parse_object(raw.encode()) == value


@given(st.data(), objects, texts, values, values)
def test_a_name_that_stands_twice_is_never_overlooked(
    data: st.DataObject, value: dict[str, Any], name: str, first: Any, second: Any
) -> None:
    pairs = [(key, inner) for key, inner in value.items() if key != name]
    for twin in (first, second):
        pairs.insert(data.draw(st.integers(0, len(pairs))), (name, twin))
    raw = "{" + ",".join(f"{data.draw(written(key))}:{data.draw(written(inner))}" for key, inner in pairs) + "}"
    for _ in range(data.draw(st.integers(0, 3))):
        raw = data.draw(st.sampled_from([f'{{"a:b":{raw}}}', f'{{"l":[1,{raw}]}}', f'{{"x":":::","y":{raw}}}']))
    with pytest.raises(BadJson, match="stands twice"):
        parse_object(raw.encode())


@pytest.mark.parametrize(
    "raw",
    [
        b"", b" ", b"nonsense", b"{", b'{"a":1', b'{"a":1}{', b"{'a':1}", b'{"a":1,}', b'{"a":01}', b"\xef\xbb\xbf{}",
        b'{"a":NaN}', b'{"a":Infinity}', b'{"a":-Infinity}', b'{"a":1e400}', b'{"a":-1e400}',
        b'{"a":"\xff"}', b'{"\xff":1}', b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\\ud800"}', b'{"a":"\\udc00\\ud800"}', b'{"\\ud800":1}', b'{"a":"\0"}', b'{"a":"\n"}',
        '{"a":1}'.encode("utf-16"),
    ],
)  # fmt: skip
def test_what_is_not_json_is_refused(raw: bytes) -> None:
    with pytest.raises(NotJson):
        parse_object(raw)


@pytest.mark.parametrize("raw", [b"[]", b"[{}]", b"null", b"true", b"5", b'"text"', b'""'])
def test_json_that_is_no_object_is_refused(raw: bytes) -> None:
    with pytest.raises(BadJson):
        parse_object(raw)


@pytest.mark.parametrize("brackets", [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
def test_nesting_has_a_bound(brackets: tuple[str, str]) -> None:
    opening, closing = brackets
    levels = opening.count("[") + opening.count("{")

    def nested(times: int) -> bytes:
        return ('{"a":' + opening * times + "1" + closing * times + "}").encode()

    most = (DEEPEST - 1) // levels
    parse_object(nested(most))
    for times in (most + 1, most + 2, 200, 600, 1000, 100_000):
        with pytest.raises((BadJson, NotJson)):
            parse_object(nested(times))


def test_an_object_with_many_values_is_not_deep() -> None:
    wide = {f"name{n}": [[n], {"n": n}] for n in range(1000)}
    assert parse_object(orjson.dumps(wide)) == wide


@given(st.integers(-(10**30), 10**30))
def test_integers_are_those_of_canonical_json(number: int) -> None:
    raw = b'{"a":[{"b":%d}]}' % number
    if abs(number) <= LARGEST_INTEGER:
        assert parse_object(raw) == {"a": [{"b": number}]}
    else:
        with pytest.raises(BadJson, match="out of range"):
            parse_object(raw)


@pytest.mark.parametrize("number", [LARGEST_INTEGER, -LARGEST_INTEGER, 10**15, 0])
def test_the_largest_integers_are_read(number: int) -> None:
    assert parse_object(b'{"a":%d}' % number) == {"a": number}


@pytest.mark.parametrize("number", [2**53, -(2**53), 2**63, 2**64, -(2**63) - 1, 10**400])
def test_larger_integers_are_refused(number: int) -> None:
    with pytest.raises((BadJson, NotJson)):
        parse_object(b'{"a":%d}' % number)


def test_digits_in_a_text_are_no_number() -> None:
    text = {"a": "99999999999999999999", "99999999999999999999": 1, "b": 0.1234567890123456789}
    assert parse_object(orjson.dumps(text)) == text


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ({"a": "x\0"}, "a:"),
        ({"a": [{"b": ["", "\0"]}]}, "a.0.b.1:"),
        ({"a": {"\0": 1}}, "a:"),
        ({"\0": 1}, "The body:"),
    ],
)
def test_a_nul_character_is_named(value: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidParam) as refused:
        refuse_nul(value)
    assert refused.value.message.startswith(named)
