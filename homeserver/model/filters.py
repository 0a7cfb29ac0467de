"""Filters: https://spec.matrix.org/v1.19/client-server-api/#filtering. Defined once, for sync and history.

What a filter needs to match fast is worked out when it is first used; a filter that lets all pass costs one look.
"""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

import msgspec

from homeserver.model.events import Event
from homeserver.model.globs import Matcher, starred
from homeserver.model.property_paths import Path, path_of

Names = tuple[str, ...]
Limit = Annotated[int, msgspec.Meta(ge=0)]
"""At most so many events; 0 is taken as if nothing had been said."""


def _check(sigil: str, field: str, names: Names | None) -> None:
    for name in names or ():
        if not name.startswith(sigil):
            raise ValueError(f"{field}: {name!r} does not begin with {sigil}")


class EventFilter(msgspec.Struct, frozen=True, dict=True):
    """Which events pass, by type and sender."""

    limit: Limit | None = None
    types: Names | None = None
    not_types: Names = ()
    senders: Names | None = None
    not_senders: Names = ()

    def __post_init__(self) -> None:
        """Refuse what is no user ID. Raises ValueError."""
        _check("@", "senders", self.senders)
        _check("@", "not_senders", self.not_senders)

    def wants(self, event_type: str, sender: str | None = None) -> bool:
        """Return whether what has a type, and maybe a sender, passes: account data, presence, typing, receipts."""
        return self._wants_type(event_type) and self._wants_sender(sender)

    @cached_property
    def _wants_type(self) -> Callable[[str], bool]:
        return _wanted(self.types, self.not_types)

    @cached_property
    def _wants_sender(self) -> Callable[[str | None], bool]:
        if self.senders is None and not self.not_senders:
            return _anything
        wanted = frozenset(self.senders) if self.senders is not None else None
        unwanted = frozenset(self.not_senders)
        return lambda sender: (wanted is None or sender in wanted) and sender not in unwanted


class RoomEventFilter(EventFilter, frozen=True, dict=True):
    """Which events of rooms pass, and how much comes with them."""

    rooms: Names | None = None
    not_rooms: Names = ()
    contains_url: bool | None = None
    lazy_load_members: bool = False
    include_redundant_members: bool = False
    unread_thread_notifications: bool = False
    related_by_senders: Names | None = None
    """Only events to which one of these has sent a related event; whoever has the relations asks them."""
    related_by_rel_types: Names | None = None
    """Only events to which an event is related in one of these ways."""

    def __post_init__(self) -> None:
        """Refuse what is no user ID or room ID. Raises ValueError."""
        super().__post_init__()
        _check("!", "rooms", self.rooms)
        _check("!", "not_rooms", self.not_rooms)

    def matches(self, event: Event) -> bool:
        """Return whether an event of a room passes, but for `related_by_*`, which the event alone cannot tell."""
        if self.passes_all:
            return True
        return (
            self._wants_type(event.type)
            and self._wants_sender(event.sender)
            and self.wants_room(event.room_id)
            and (self.contains_url is None or ("url" in event.content) is self.contains_url)
        )

    def wants_room(self, room_id: str) -> bool:
        """Return whether events of this room pass."""
        return (self.rooms is None or room_id in self.rooms) and room_id not in self.not_rooms

    @cached_property
    def passes_all(self) -> bool:
        """Whether it lets every event of every room pass."""
        return (
            self.types is None
            and not self.not_types
            and self.senders is None
            and not self.not_senders
            and self.rooms is None
            and not self.not_rooms
            and self.contains_url is None
        )


class RoomFilter(msgspec.Struct, frozen=True):
    """Which rooms a sync answer has, and what of each."""

    rooms: Names | None = None
    not_rooms: Names = ()
    include_leave: bool = False
    timeline: RoomEventFilter = RoomEventFilter()
    state: RoomEventFilter = RoomEventFilter()
    ephemeral: RoomEventFilter = RoomEventFilter()
    account_data: RoomEventFilter = RoomEventFilter()

    def __post_init__(self) -> None:
        """Refuse what is no room ID. Raises ValueError."""
        _check("!", "rooms", self.rooms)
        _check("!", "not_rooms", self.not_rooms)

    def wants_room(self, room_id: str) -> bool:
        """Return whether anything of this room passes."""
        return (self.rooms is None or room_id in self.rooms) and room_id not in self.not_rooms


class Filter(msgspec.Struct, frozen=True, dict=True):
    """A filter as clients define it, for sync."""

    event_fields: Names | None = None
    event_format: Literal["client", "federation"] = "client"
    presence: EventFilter = EventFilter()
    account_data: EventFilter = EventFilter()
    room: RoomFilter = RoomFilter()

    def pick(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Return an event in the client's form with nothing but the `event_fields`; whole if there are none."""
        if self.event_fields is None:
            return dict(event)
        picked: dict[str, Any] = {}
        for path in self._paths:
            _copy(event, picked, path)
        return picked

    @cached_property
    def _paths(self) -> tuple[Path, ...]:
        return tuple(path_of(key) for key in self.event_fields or ())


EVERYTHING = Filter()
"""What applies where no filter is given."""


def _anything(_value: str | None) -> bool:
    return True


def _wanted(wanted: Names | None, unwanted: Names) -> Callable[[str], bool]:
    if wanted is None and not unwanted:
        return _anything
    include = _any_of(wanted) if wanted is not None else _anything
    exclude = _any_of(unwanted)
    return lambda name: include(name) and not exclude(name)


def _any_of(patterns: Names) -> Matcher:
    exact = frozenset(pattern for pattern in patterns if "*" not in pattern)
    others = tuple(starred(pattern) for pattern in patterns if "*" in pattern)
    return lambda name: name in exact or any(matches(name) for matches in others)


def _copy(source: Mapping[str, Any], target: dict[str, Any], path: Path) -> None:
    """Copy the property at `path` with the objects around it, if it is there."""
    value: Any = source
    for name in path:
        if not isinstance(value, Mapping) or name not in value:
            return
        value = value[name]
    for name in path[:-1]:
        # A wider path may have copied the whole already; then this object is not ours to change.
        inner = target.get(name)
        inner = dict(inner) if isinstance(inner, Mapping) else {}
        target[name] = inner
        target = inner
    target[path[-1]] = value
