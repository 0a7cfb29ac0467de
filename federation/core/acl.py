"""Which servers a room refuses: https://spec.matrix.org/v1.19/client-server-api/#mroomserver_acl."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from federation.core.ids import ServerName, is_ip_literal, split_server_name


def server_is_allowed(server_name: ServerName, acl: Mapping[str, Any] | None) -> bool:
    """Return whether a server may take part in a room.

    `acl` is the content of the room's `m.room.server_acl`, or None if it has none. Entries that are not text
    match nothing; a list that is missing or no list is empty, so an ACL without `allow` refuses everyone.
    """
    # 1. No ACL.
    if acl is None:
        return True
    host, _ = split_server_name(server_name)
    # 2. IP address literals; anything but false allows them.
    if acl.get("allow_ip_literals") is False and is_ip_literal(host):
        return False
    # 3. and 4.
    if _matcher(_patterns(acl.get("deny"))).fullmatch(host) is not None:
        return False
    # 5.
    return _matcher(_patterns(acl.get("allow"))).fullmatch(host) is not None


def _patterns(value: object) -> tuple[str, ...]:
    entries = value if isinstance(value, list) else ()
    return tuple(entry for entry in entries if isinstance(entry, str))


@lru_cache(maxsize=256)
def _matcher(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """Return one expression for all globs; an ACL has hundreds, and is asked for every event of its room."""
    if not patterns:
        return re.compile(r"(?!)")  # matches nothing
    return re.compile("|".join(map(_translate, patterns)), re.IGNORECASE | re.ASCII | re.DOTALL)


def _translate(glob: str) -> str:
    """Return the expression of a glob: https://spec.matrix.org/v1.19/appendices/#glob-style-matching.

    Each `*` but the last takes the nearest place where what follows it fits, and never another (an atomic
    group), so a hostile glob cannot make matching slow.
    """
    first, *others = ("".join("." if char == "?" else re.escape(char) for char in part) for part in glob.split("*"))
    if not others:
        return first
    *middle, last = others
    return first + "".join(f"(?>.*?{part})" for part in middle) + ".*" + last
