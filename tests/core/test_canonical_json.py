"""Canonical JSON: https://spec.matrix.org/v1.19/appendices/#canonical-json."""

import json
from enum import StrEnum
from math import inf, nan
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.core.canonical_json import MAX_NESTING, check_strict, encode, encode_lenient, nests_deeper
from federation.core.errors import BadJson

SAFE = 2**53 - 1

scalars = st.none() | st.booleans() | st.integers(-SAFE, SAFE) | st.text()
strict_json = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)
any_json = st.recursive(
    scalars | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


# The examples of the appendix. (Its last one has 1e10, which JSON readers make a float of: see below.)
@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("{}", "{}"),
        ('{"one": 1, "two": "Two"}', '{"one":1,"two":"Two"}'),
        ('{"b": "2", "a": "1"}', '{"a":"1","b":"2"}'),
        ('{"b":"2","a":"1"}', '{"a":"1","b":"2"}'),
        (
            """{"auth": {"success": true, "mxid": "@john.doe:example.com", "profile": {
                "display_name": "John Doe", "three_pids": [
                {"medium": "email", "address": "john.doe@example.org"},
                {"medium": "msisdn", "address": "123456789"}]}}}""",
            '{"auth":{"mxid":"@john.doe:example.com","profile":{"display_name":"John Doe","three_pids":'
            '[{"address":"john.doe@example.org","medium":"email"},{"address":"123456789","medium":"msisdn"}]},'
            '"success":true}}',
        ),
        ('{"a": "日本語"}', '{"a":"日本語"}'),
        ('{"本": 2, "日": 1}', '{"日":1,"本":2}'),
        (r'{"a": "\u65E5"}', '{"a":"日"}'),
        ('{"a": null}', '{"a":null}'),
        ('{"a": -0, "b": 10000000000}', '{"a":0,"b":10000000000}'),
    ],
)
def test_the_examples_of_the_specification_hold(text: str, canonical: str) -> None:
    assert encode(orjson.loads(text)) == canonical.encode()
    assert encode_lenient(json.loads(text)) == canonical.encode()


def test_only_the_escapes_of_the_grammar_are_used() -> None:
    text = "".join(map(chr, range(0x20))) + '"\\/\x7f\u2028\U0001f600'
    controls = {8: r"\b", 9: r"\t", 10: r"\n", 12: r"\f", 13: r"\r"}
    expected = "".join(controls.get(code, f"\\u{code:04x}") for code in range(0x20))
    expected += r"\"\\" + "/\x7f\u2028\U0001f600"
    assert encode(text) == f'"{expected}"'.encode()


def test_keys_are_in_the_order_of_code_points_not_of_utf_16() -> None:
    assert encode({"\U00010000": 1, "\uffff": 2, "a": 3}) == '{"a":3,"\uffff":2,"\U00010000":1}'.encode()


@pytest.mark.parametrize("value", [SAFE, -SAFE, 0, True, False, None, [SAFE], {"a": -SAFE}, (1, 2)])
def test_integers_up_to_2_to_the_53_are_canonical(value: object) -> None:
    assert orjson.loads(encode(value)) == (list(value) if isinstance(value, tuple) else value)


class _Colour(StrEnum):
    RED = "red"


def test_a_named_text_is_a_text() -> None:
    assert encode({"a": _Colour.RED}) == b'{"a":"red"}'


@pytest.mark.parametrize(
    "value",
    [SAFE + 1, -SAFE - 1, 2**64, 1.5, 1.0, 1e10, -0.0, 1e300, nan, inf, {"a": 1.0}, [0, [2.5]], {"a": nan}, (0.5,)],
)
def test_floats_and_great_integers_are_not_canonical(value: object) -> None:
    with pytest.raises(BadJson):
        encode(value)
    with pytest.raises(BadJson):
        check_strict(value)


@pytest.mark.parametrize(
    "value",
    [
        "\ud800",
        {"\udfff": 1},
        {1: "a"},
        {None: "a"},
        {"a": object()},
        {"a": b"bytes"},
        {"a": UUID(int=1)},
        {1, 2},
        {"a": nan},
        {"a": [inf, -inf]},
        {"a": 10**5000},
        nested(MAX_NESTING + 1),
        nested(100_000),
    ],
)
def test_what_is_not_json_has_no_encoding_at_all(value: object) -> None:
    with pytest.raises(BadJson):
        encode(value)
    with pytest.raises(BadJson):
        encode_lenient(value)


def test_json_may_be_nested_deep_but_not_without_end() -> None:
    assert encode(nested(MAX_NESTING)) == encode_lenient(nested(MAX_NESTING))
    floats = {"a": [1.5], "b": nested(MAX_NESTING - 1)}
    assert encode_lenient(floats).startswith(b'{"a":[1.5],"b":[[[')


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (1.0, b"1.0"),
        (1e16, b"1e+16"),
        (1.5e-7, b"1.5e-07"),
        (2**53, b"9007199254740992"),
        (-(2**70), b"-1180591620717411303424"),
        ({"b": 0.5, "a": "é"}, '{"a":"é","b":0.5}'.encode()),
        ([1.0, (None, True)], b"[1.0,[null,true]]"),
    ],
)
def test_old_rooms_have_floats_and_great_integers_in_the_form_of_the_network(value: object, encoded: bytes) -> None:
    assert encode_lenient(value) == encoded


@given(strict_json)
def test_canonical_json_round_trips(value: object) -> None:
    assert orjson.loads(encode(value)) == value


@given(strict_json)
def test_encoding_again_changes_nothing(value: object) -> None:
    assert encode(orjson.loads(encode(value))) == encode(value)


@given(strict_json)
def test_strict_and_lenient_encodings_agree_and_are_the_one_of_the_specification(value: object) -> None:
    reference = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()
    assert encode(value) == encode_lenient(value) == reference


@given(any_json)
def test_all_json_has_a_lenient_encoding_that_round_trips(value: object) -> None:
    assert json.loads(encode_lenient(value)) == value


@pytest.mark.parametrize(
    ("value", "levels"),
    [(5, 0), ("[[[", 0), ([], 1), ({}, 1), ([1, "x", None], 1), ({"a": []}, 2), ([{"a": 1}, [[]]], 3)],
)
def test_a_value_nests_on_so_many_levels_and_no_more(value: Any, levels: int) -> None:
    assert not nests_deeper(value, levels)
    assert nests_deeper(value, levels - 1) or levels == 0


def test_the_deepest_place_counts() -> None:
    value: Any = 1
    for _ in range(5000):
        value = [0, {"a": value}]
    assert nests_deeper(value, 9999)
    assert not nests_deeper(value, 10_000)
