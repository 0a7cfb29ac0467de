"""What push rules ask of an event, worked out once for all readers; and who reads it."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from homeserver.model.events import Event
from homeserver.model.property_paths import Path

BODY: Path = ("content", "body")


class Absent:
    """Stands for a property that the event does not have; JSON's null is None."""


ABSENT = Absent()


def _nobody(_sender: str, _key: str) -> bool:
    return False


class ReaderContext(NamedTuple):
    """Who gets the event, a member of the room other than its sender; and the room as it is while they read."""

    user_id: str
    display_name: str | None = None
    """Their display name in the room."""
    member_count: int = 0
    """How many have joined the room."""
    may_notify: Callable[[str, str], bool] = _nobody
    """Whether a sender's power level is enough for a key of `notifications` in the room's power levels."""


class EventFacts:
    """One event as push rules look at it. Made once and used for all the event's readers."""

    __slots__ = ("_lists", "_texts", "answers", "fields")

    def __init__(self, fields: Mapping[str, Any]) -> None:
        """Take the event's properties."""
        self.fields = fields
        self.answers: dict[Any, Any] = {}
        """What rule sets have worked out for this event, by rule set."""
        self._texts: dict[Path, str | None] = {}
        self._lists: dict[Path, frozenset[tuple[type, Any]]] = {}

    @staticmethod
    @lru_cache(1024)
    def of(event: Event) -> "EventFacts":
        """Return the facts of a stored event; the same ones for the next reader who comes soon."""
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
        return EventFacts(fields)

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
