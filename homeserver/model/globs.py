"""Glob patterns: https://spec.matrix.org/v1.19/appendices/#glob-style-matching.

`*` stands for any characters, `?` for one. Patterns come from users, so matching may not explode: a part between two
`*` is taken where it is first found and never sought anew (atomic groups). That is right for globs, since what can
follow a later place can follow the first, and makes the time at most the text's length times the pattern's.
"""

import re
from collections.abc import Callable
from functools import lru_cache

Matcher = Callable[[str], bool]

_INSIDE_WORD = "[a-z0-9_]"


@lru_cache(4096)
def whole(pattern: str) -> Matcher:
    """Return what tells whether a text in lower case matches `pattern` as a whole."""
    pattern = pattern.lower()
    if not has_wildcards(pattern):
        return pattern.__eq__
    first, *rest = _parts(pattern)
    compiled = re.compile(first + _sequence(rest, ""), re.DOTALL)
    return lambda text: compiled.fullmatch(text) is not None


@lru_cache(4096)
def starred(pattern: str) -> Matcher:
    """Return what tells whether a text matches a pattern in which only `*` is special, and letter case counts."""
    first, *rest = [re.escape(part) for part in re.sub(r"\*+", "*", pattern).split("*")]
    if not rest:
        return pattern.__eq__
    compiled = re.compile(first + _sequence(rest, ""), re.DOTALL)
    return lambda text: compiled.fullmatch(text) is not None


@lru_cache(4096)
def words(pattern: str) -> Matcher:
    """Return what tells whether some part of a text in lower case, from word boundary to word boundary, matches.

    A boundary is the start or end of the text, or any character but A-Z, a-z, 0-9 and _:
    https://spec.matrix.org/v1.19/client-server-api/#conditions-1.
    """
    pattern = pattern.lower()
    first, *rest = _parts(pattern)
    start, end = f"(?<!{_INSIDE_WORD})", f"(?!{_INSIDE_WORD})"
    if rest:
        compiled = re.compile(f"(?>.*?{start}{first}){_sequence(rest, end)}", re.DOTALL)
        return lambda text: compiled.match(text) is not None
    compiled = re.compile(start + first + end, re.DOTALL)
    if has_wildcards(pattern):
        return lambda text: compiled.search(text) is not None
    # Most texts do not hold the word at all, which is told fastest so.
    return lambda text: pattern in text and compiled.search(text) is not None


def has_wildcards(pattern: str) -> bool:
    """Return whether a pattern is more than a text."""
    return "*" in pattern or "?" in pattern


def _parts(pattern: str) -> list[str]:
    return [re.escape(part).replace(r"\?", ".") for part in re.sub(r"\*+", "*", pattern).split("*")]


def _sequence(rest: list[str], end: str) -> str:
    """Return the expression for `*` and a part, as often as there are parts; the last one must end at `end`."""
    if not rest:
        return end
    *middle, last = rest
    return "".join(f"(?>.*?{part})" for part in middle) + (f".*?{last}{end}" if last or end else ".*")
