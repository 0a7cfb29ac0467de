"""What passes and is kept in memory only, typing and presence, as of one moment on the event loop."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import orjson

from federation.core.ids import UserID
from homeserver.model.filters import EventFilter
from homeserver.model.nids import RoomNid
from homeserver.services.live import Feed, Live
from homeserver.services.presence import Presence
from homeserver.services.sync import pieces
from homeserver.services.typing import Typing


@dataclass(frozen=True, slots=True)
class Passing:
    """What one user may see of it."""

    serial: int
    typing_changed: Mapping[RoomNid, list[UserID]]
    """Who types in the rooms where that changed since the client last asked."""
    typing: Mapping[RoomNid, list[UserID]]
    """Who types in rooms where anybody does, for rooms that are new to the client."""
    presence: list[bytes]
    """Events of those whose presence changed since."""


@dataclass(frozen=True, slots=True)
class PassingNews:
    """Looks at typing and presence. To be called on the event loop."""

    live: Live
    typing: Typing
    presence: Presence

    def since(self, serial: int, feed: Feed) -> Passing:
        """Return what has changed for a user since a serial; 0 is before all."""
        if serial and feed.newest_ephemeral <= serial:
            return Passing(self.live.ephemeral, {}, self.typing.since(0, feed.rooms), [])
        return Passing(
            self.live.ephemeral,
            self.typing.since(serial, feed.rooms),
            self.typing.since(0, feed.rooms),
            self.presence.since(serial, feed.user, feed.rooms),
        )


def typing_event(typists: Collection[UserID], ignored: Collection[UserID]) -> bytes:
    """Return an `m.typing` event without the users that the reader ignores."""
    return pieces.typed("m.typing", orjson.dumps({"user_ids": [user for user in typists if user not in ignored]}))


def presence_section(items: list[bytes], wanted: EventFilter, ignored: Collection[UserID]) -> bytes | None:
    """Return the presence part of an answer, or None if nothing of it is wanted."""
    if ignored or wanted.senders is not None or wanted.not_senders:
        pairs = [(item, orjson.loads(item)["sender"]) for item in items]
        items = [item for item, sender in pairs if sender not in ignored and wanted.wants("m.presence", sender)]
    return pieces.events(items) if items and wanted.wants("m.presence") else None
