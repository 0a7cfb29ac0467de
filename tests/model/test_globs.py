"""Globs of push rules, by the examples of the specification, and against patterns made to hurt."""

import fnmatch
import re
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.model.globs import whole, words


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("lunc?*", "lunch plans", True),
        ("lunc?*", "lunch", True),
        ("LUNC?*", "lunch", True),
        ("lunc?*", " lunch", False),
        ("lunc?*", "lunc", False),
        ("m.notice", "m.notice", True),
        ("m.notice", "mxnotice", False),
        ("*", "", True),
        ("?", "", False),
        ("", "", True),
        ("", "a", False),
        ("a*b*c", "a-b-b-c", True),
        ("a*b*c", "a-c-b", False),
        ("*.*", "a\nb.c", True),
        ("[ab]", "a", False),
        ("[ab]", "[ab]", True),
        ("\\?", "\\x", True),
    ],
)
def test_a_pattern_matches_the_whole_value(pattern: str, text: str, matches: bool) -> None:
    assert whole(pattern)(text) is matches


@pytest.mark.parametrize(
    ("pattern", "body", "matches"),
    [
        ("ex*ple", "an example event.", True),
        ("ex*ple", "exple", True),
        ("ex*ple", "an exciting triple-whammy", True),
        ("ex*ple", "an inexplicable thing", False),
        ("cake", "a cake!", True),
        ("cake", "cakes", False),
        ("cake", "pancake and cake", True),
        ("cake", "snow_cake", False),
        ("cake", "2cake", False),
        ("cake", "écake", True),  # only A-Z, a-z, 0-9 and _ make words
        ("cake", "line\ncake\nline", True),
        ("cake*lie", "the cake is a lie.", True),
        ("cake*lie", "the cake is believed", False),
        ("c?ke", "a coke", True),
        ("c?ke", "a choke", False),
        ("*", "", True),
        ("*ake", "pancake", True),
        ("pan*", "pancake", True),
        ("*nca*", "pancake", True),
    ],
)
def test_a_pattern_for_the_body_matches_words(pattern: str, body: str, matches: bool) -> None:
    assert words(pattern)(body) is matches


@given(st.text("ab*?", max_size=8), st.text("ab", max_size=12))
def test_whole_matching_is_that_of_the_standard_library(pattern: str, text: str) -> None:
    assert whole(pattern)(text) is (re.match(fnmatch.translate(pattern), text) is not None)


@given(st.text("ab *?", max_size=7), st.text("ab ", max_size=10))
def test_word_matching_is_trying_every_part_of_the_text(pattern: str, text: str) -> None:
    matcher = whole(pattern)
    ends = range(len(text) + 1)
    tried = any(
        matcher(text[start:end])
        for start in ends
        for end in ends
        if start <= end and (start == 0 or text[start - 1] == " ") and (end == len(text) or text[end] == " ")
    )
    assert words(pattern)(text) is tried


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("a*" * 200 + "b", "a" * 60_000),
        ("*a" * 200 + "*b*", "a " * 30_000),
        ("a*b", "a " * 30_000),
        ("?*" * 200 + "!", "a" * 60_000),
    ],
)
def test_patterns_made_to_hurt_do_not(pattern: str, text: str) -> None:
    for make in (whole, words):
        started = perf_counter()
        assert make(pattern)(text) is False
        assert perf_counter() - started < 1
