"""Dot-separated paths: https://spec.matrix.org/v1.19/appendices/#dot-separated-property-paths."""

import re
from functools import lru_cache

Path = tuple[str, ...]
"""The names on the way to a property of an event, outermost first."""

_NAMES = re.compile(r"\.((?:\\[.\\]|[^.])*)")
_UNESCAPE = re.compile(r"\\([.\\])")


@lru_cache(4096)
def path_of(key: str) -> Path:
    r"""Return the names in a dot-separated path, in which `\.` and `\\` stand for a dot and a backslash."""
    return tuple(_UNESCAPE.sub(r"\1", name) for name in _NAMES.findall(f".{key}"))
