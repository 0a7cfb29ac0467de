"""Rooms and memberships as the store knows them."""

from dataclasses import dataclass

from federation.core.events.content import Membership
from federation.core.ids import RoomID, UserID
from federation.core.room_versions import RoomVersion
from homeserver.model.nids import EventNid, RoomNid, SnapshotNid, UserNid


@dataclass(frozen=True, slots=True)
class Room:
    """A room's head: what the next event builds upon."""

    nid: RoomNid
    room_id: RoomID
    version: RoomVersion
    newest: int
    """The place of the newest event."""
    depth: int
    extremities: tuple[EventNid, ...]
    snapshot: SnapshotNid | None
    joined: int = 0
    invited: int = 0
    published: bool = False


@dataclass(frozen=True, slots=True)
class Member:
    """How a user stands to a room, by the newest membership event."""

    room: RoomNid
    user: UserNid
    user_id: UserID
    membership: Membership
    event: EventNid
    display_name: str | None
    avatar_url: str | None


@dataclass(frozen=True, slots=True)
class RoomMembership:
    """One room of a user."""

    room: RoomNid
    membership: Membership
    event: EventNid
    began: EventNid
    """The event with which the user came to this membership; `event` may be one that changed their name since."""
    position: int
    """When `event` came to stand here, and `began_at` when `began` did."""
    began_at: int
    sender: UserNid
    forgotten: bool
    display_name: str | None
