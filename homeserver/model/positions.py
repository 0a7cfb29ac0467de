"""Places in the order of things, as clients get them: opaque texts that cost the server no row.

A *sync token* says what a client has seen; a *page token* stands between two events of a room. `/messages` takes both.
Source: https://spec.matrix.org/v1.19/appendices/#opaque-identifiers
"""

import re
from dataclasses import dataclass

from homeserver.errors import InvalidParam

_SYNC = re.compile(r"s(\d{1,18})_(\d{1,18})_([A-Za-z]{1,16})(?:_(\d{1,18}))?")
_PAGE = re.compile(r"t(-?\d{1,18})")


@dataclass(frozen=True, slots=True)
class SyncToken:
    """What a client has seen: everything durable up to `position`, and what is in memory up to `ephemeral`.

    `ephemeral` counts within the life of one process, named by `boot`. To-device messages have been given up to
    `to_device`, which stays behind where there were too many for one answer.
    """

    position: int
    ephemeral: int
    boot: str
    to_device: int

    def __str__(self) -> str:
        behind = f"_{self.to_device}" if self.to_device != self.position else ""
        return f"s{self.position}_{self.ephemeral}_{self.boot}{behind}"


def parse_sync_token(text: str) -> SyncToken:
    """Return the token that a client gives back. Raises `InvalidParam`."""
    found = _SYNC.fullmatch(text)
    if found is None:
        raise InvalidParam("since: not a token of this server")
    position = int(found[1])
    return SyncToken(position, int(found[2]), found[3], int(found[4]) if found[4] is not None else position)


def page_token(nid: int) -> str:
    """Return the token of the place right after the event `nid`, or where it would stand."""
    return f"t{nid}"


def parse_page_token(text: str, parameter: str = "from") -> int:
    """Return the number after which a page token stands; a sync token stands after its position. Raises `InvalidParam`."""
    if (page := _PAGE.fullmatch(text)) is not None:
        return int(page[1])
    if (sync := _SYNC.fullmatch(text)) is not None:
        return int(sync[1])
    raise InvalidParam(f"{parameter}: not a token of this server")
