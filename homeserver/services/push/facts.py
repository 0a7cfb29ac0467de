"""What push rules ask of an event, worked out once for all readers; and who reads it."""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from homeserver.model.events import Event

Path = tuple[str, ...]
"""The names on the way to a property of an event, outermost first."""
BODY: Path = ("content", "body")


class Absent:
    """Stands for a property that the event does not have; JSON's null is None."""


ABSENT = Absent()


class Reader(NamedTuple):
    """Who gets the event: a member of the room other than its sender, with their display name there."""

    user_id: str
    display_name: str | None = None


class EventFacts:
    """One event with its surroundings, as push rules look at it. Make one and use it for all the event's readers."""

    __slots__ = ("_lists", "_texts", "answers", "fields", "may_notify", "member_count")

    def __init__(
        self,
        fields: Mapping[str, Any],
        *,
        member_count: int,
        may_notify: Callable[[str], bool],
    ) -> None:
        """Take the event's properties, the number of joined members, and whether the sender may notify by a key.

        `may_notify("room")` is asked only by rules that need it.
        """
        self.fields = fields
        self.member_count = member_count
        self.may_notify = may_notify
        self.answers: dict[Any, Any] = {}
        """What rule sets have worked out for this event, by rule set."""
        self._texts: dict[Path, str | None] = {}
        self._lists: dict[Path, frozenset[tuple[type, Any]]] = {}

    @classmethod
    def of(cls, event: Event, *, member_count: int, may_notify: Callable[[str], bool]) -> "EventFacts":
        """Return the facts of a stored event."""
        fields: dict[str, Any] = {
            "type": event.type,
            "sender": event.sender,
            "room_id": event.room_id,
            "event_id": event.event_id,
            "origin_server_ts": event.sent_at,
            "content": event.content,
        }
        if event.state_key is not None:
            fields["state_key"] = event.state_key
        if (redacts := event.redacts) is not None:
            fields["redacts"] = redacts
        return cls(fields, member_count=member_count, may_notify=may_notify)

    def value(self, path: Path) -> Any:
        """Return a property, or `ABSENT`."""
        value: Any = self.fields
        for name in path:
            if not isinstance(value, Mapping) or name not in value:
                return ABSENT
            value = value[name]
        return value

    def text(self, path: Path) -> str | None:
        """Return a property in lower case if it is a text."""
        try:
            return self._texts[path]
        except KeyError:
            value = self.value(path)
            text = self._texts[path] = value.lower() if isinstance(value, str) else None
            return text

    def list(self, path: Path) -> frozenset[tuple[type, Any]]:
        """Return the simple values of a property that is a list, each with its type, since 1 and true are not one."""
        try:
            return self._lists[path]
        except KeyError:
            value = self.value(path)
            items = value if isinstance(value, list) else ()
            found = frozenset((type(item), item) for item in items if isinstance(item, str | int | None))
            self._lists[path] = found
            return found


@lru_cache(4096)
def path_of(key: str) -> Path:
    r"""Return the names in a dot-separated path, in which `\.` and `\\` stand for themselves.

    Source: https://spec.matrix.org/v1.19/appendices/#dot-separated-property-paths
    """
    return tuple(_UNESCAPE.sub(r"\1", name) for name in _NAMES.findall(f".{key}"))


_NAMES = re.compile(r"\.((?:\\[.\\]|[^.])*)")
_UNESCAPE = re.compile(r"\\([.\\])")
