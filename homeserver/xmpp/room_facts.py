"""What a MUC room is by the state of a Matrix room."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from federation.core.events.content import JoinRule, PowerLevels, creators_of
from federation.core.ids import RoomID
from homeserver.model.events import Event
from homeserver.model.nids import RoomNid
from homeserver.services import Services
from homeserver.services.room_views import RoomView

POWER_LEVELS = "m.room.power_levels"
AVATAR = "m.room.avatar"


@dataclass(frozen=True, slots=True)
class RoomFacts:
    """The state of a room at one point."""

    view: RoomView
    levels: PowerLevels
    levels_content: Mapping[str, Any]

    @property
    def room_id(self) -> RoomID:
        """The room's ID."""
        return self.view.room.room_id

    @property
    def nid(self) -> RoomNid:
        """The room's number."""
        return self.view.room.nid

    @property
    def name(self) -> str | None:
        """The room's name."""
        return self.view.text("m.room.name", "name")

    @property
    def avatar_url(self) -> str | None:
        """The content URI of the room's picture."""
        return self.view.text(AVATAR, "url")

    @property
    def topic(self) -> Event | None:
        """The event that says the topic."""
        return self.view.entries.get("m.room.topic") if self.view.topic else None

    @property
    def members_only(self) -> bool:
        """Whether one must be invited."""
        return self.view.join_rule is not JoinRule.PUBLIC

    @property
    def encrypted(self) -> bool:
        """Whether what is said there must be encrypted by Matrix clients."""
        return self.view.content("m.room.encryption") is not None

    @property
    def moderated(self) -> bool:
        """Whether speaking takes more than being there."""
        return self.levels.event_level("m.room.message", is_state=False) > self.levels.users_default


def load(conn: Connection, services: Services, room: RoomNid) -> RoomFacts | None:
    """Return the current state of a room, None if this server is not in it."""
    views = services.summaries.views
    view = views.load(conn, [room]).get(room)
    if view is None or view.room.snapshot is None:
        return None
    slot = views.names.slot(conn, POWER_LEVELS, "")
    nid = views.snapshots.standing(conn, [view.room.snapshot], [slot])[view.room.snapshot][0] if slot else None
    content = views.events.by_nid(conn, nid).content if nid is not None else None
    create = view.entries.get("m.room.create")
    creators = creators_of(create.pdu) if create is not None else frozenset()
    return RoomFacts(view, PowerLevels.of(content, view.room.version, creators), content or {})
