"""Places in the stream of events, as clients hold them.

A place lies *after* the event with its number and before the next one: reading on from it begins with the next event,
reading back from it begins with the event itself. No row is stored for a token.
"""

import re
from dataclasses import dataclass

_SYNC = re.compile(r"s([0-9]{1,18})_([0-9]{1,18})_([A-Za-z0-9]{1,32})(?:_([0-9]{1,18}))?")
_PAGE = re.compile(r"t(-?[0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class SyncToken:
    """How far a client has synced: `since` and `next_batch`."""

    position: int
    ephemeral: int
    """Serial of what is kept in memory only."""
    boot: str
    """Which run of the server counted `ephemeral`."""
    to_device: int
    """How far to-device messages were given: behind `position` where there were too many for one answer."""

    def __str__(self) -> str:
        """Return the token as clients get it."""
        behind = f"_{self.to_device}" if self.to_device != self.position else ""
        return f"s{self.position}_{self.ephemeral}_{self.boot}{behind}"

    @classmethod
    def parse(cls, text: str) -> "SyncToken":
        """Return the token in `text`. Raises ValueError."""
        found = _SYNC.fullmatch(text)
        if found is None:
            raise ValueError("not a token of /sync")
        position = int(found[1])
        return cls(position, int(found[2]), found[3], int(found[4]) if found[4] is not None else position)


@dataclass(frozen=True, slots=True)
class PageToken:
    """A place in a room's history: `prev_batch`, `start`, `end`."""

    position: int

    def __str__(self) -> str:
        """Return the token as clients get it."""
        return f"t{self.position}"


def parse_place(text: str) -> int:
    """Return the position that a token of either kind stands for. Raises ValueError."""
    page = _PAGE.fullmatch(text)
    return int(page[1]) if page is not None else SyncToken.parse(text).position
