"""What is told of a room to people who are not in it: directory, summaries, spaces.

Many rooms are read with a constant number of queries.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from federation.core.errors import InvalidIdentifier
from federation.core.events.content import (
    HistoryVisibility,
    JoinRule,
    Membership,
    allowed_rooms,
    history_visibility_of,
    join_rule_of,
)
from federation.core.ids import RoomID, parse_alias
from homeserver.model.events import Event
from homeserver.model.nids import RoomNid, UserNid
from homeserver.model.rooms import Room
from homeserver.services.restricted_joins import is_restricted
from homeserver.storage import memberships, rooms
from homeserver.storage.events import Events
from homeserver.storage.names import Names
from homeserver.storage.snapshots import Snapshots

TYPES = (
    "m.room.create", "m.room.name", "m.room.topic", "m.room.avatar", "m.room.canonical_alias", "m.room.join_rules",
    "m.room.history_visibility", "m.room.guest_access", "m.room.encryption",
)  # fmt: skip
SPACE = "m.space"


@dataclass(frozen=True, slots=True)
class RoomView:
    """A room and the state events that describe it, by type."""

    room: Room
    entries: Mapping[str, Event]

    def content(self, event_type: str) -> Mapping[str, Any] | None:
        """Return the content of the event of a type, None if the room has none."""
        event = self.entries.get(event_type)
        return event.content if event is not None else None

    def text(self, event_type: str, name: str) -> str | None:
        """Return a field if it is a text that says something."""
        value = (self.content(event_type) or {}).get(name)
        return value if isinstance(value, str) and value else None

    @property
    def room_type(self) -> str | None:
        """The type of the room, such as `m.space`."""
        return self.text("m.room.create", "type")

    @property
    def join_rule(self) -> JoinRule:
        """How one comes into the room."""
        return join_rule_of(self.content("m.room.join_rules"))

    @property
    def restricted_to(self) -> tuple[RoomID, ...]:
        """The rooms whose members may join; none if the room is not restricted."""
        if not is_restricted(self.join_rule, self.room.version):
            return ()
        return allowed_rooms(self.content("m.room.join_rules") or {})

    @property
    def is_knockable(self) -> bool:
        """Whether anyone may ask to be invited."""
        version, rule = self.room.version, self.join_rule
        return (rule is JoinRule.KNOCK and version.knocking) or (
            rule is JoinRule.KNOCK_RESTRICTED and version.knock_restricted
        )

    @property
    def is_world_readable(self) -> bool:
        """Whether anyone may read the room without being in it."""
        return history_visibility_of(self.content("m.room.history_visibility")) is HistoryVisibility.WORLD_READABLE

    @property
    def is_open(self) -> bool:
        """Whether anyone at all may know of the room: they can read it, join it, or knock."""
        return self.is_world_readable or self.is_knockable or self.join_rule is JoinRule.PUBLIC

    @property
    def topic(self) -> str | None:
        """The topic in plain text: https://spec.matrix.org/v1.19/client-server-api/#mroomtopic."""
        content = self.content("m.room.topic") or {}
        block = content.get("m.topic")
        texts = block.get("m.text") if isinstance(block, dict) else None
        for text in texts if isinstance(texts, list) else ():
            if isinstance(text, dict) and text.get("mimetype", "text/plain") == "text/plain":
                body = text.get("body")
                if isinstance(body, str) and body:
                    return body
        return self.text("m.room.topic", "topic")

    @property
    def canonical_alias(self) -> str | None:
        """The alias that the room calls its own."""
        alias = self.text("m.room.canonical_alias", "alias")
        try:
            return parse_alias(alias) if alias is not None else None
        except InvalidIdentifier:
            return None

    def published(self) -> dict[str, Any]:
        """Return what the directory says of the room: `PublishedRoomsChunk` of the specification."""
        rules = self.content("m.room.join_rules")
        shown: dict[str, Any] = {
            "room_id": self.room.room_id,
            "num_joined_members": self.room.joined,
            "world_readable": self.is_world_readable,
            "guest_can_join": self.text("m.room.guest_access", "guest_access") == "can_join",
            "join_rule": self.text("m.room.join_rules", "join_rule") or str(join_rule_of(rules)),
            "name": self.text("m.room.name", "name"),
            "topic": self.topic,
            "canonical_alias": self.canonical_alias,
            "avatar_url": self.text("m.room.avatar", "url"),
            "room_type": self.room_type,
        }
        return {name: value for name, value in shown.items() if value is not None}

    def summary(self) -> dict[str, Any]:
        """Return what a summary says of the room: `RoomSummary` of the specification."""
        shown = self.published()
        shown["room_version"] = self.room.version.id
        encryption = self.text("m.room.encryption", "algorithm")
        if encryption is not None:
            shown["encryption"] = encryption
        if self.restricted_to:
            shown["allowed_room_ids"] = list(self.restricted_to)
        return shown


@dataclass(frozen=True, slots=True)
class RoomViews:
    """Reads rooms as outsiders may see them, and decides who may."""

    names: Names
    events: Events
    snapshots: Snapshots

    def load(self, conn: Connection, wanted: Iterable[RoomNid]) -> dict[RoomNid, RoomView]:
        """Return the views of these rooms, in five queries at most."""
        heads = rooms.load_many(conn, wanted)
        slots = self.names.slots(conn, [(event_type, "") for event_type in TYPES])
        types = [event_type for event_type, _ in slots]
        current = {room.snapshot: nid for nid, room in heads.items() if room.snapshot is not None}
        standing = self.snapshots.standing(conn, current, list(slots.values()))
        found = self.events.by_nids(conn, {nid for entries in standing.values() for nid in entries if nid is not None})
        views = {}
        for snapshot, room in current.items():
            entries = zip(types, standing[snapshot], strict=True)
            views[room] = RoomView(heads[room], {kind: found[nid] for kind, nid in entries if nid is not None})
        return views

    def standings(self, conn: Connection, user: UserNid | None, wanted: Iterable[RoomNid]) -> dict[RoomNid, Membership]:
        """Return the memberships of a user in those of the rooms that they ever had to do with."""
        if user is None:
            return {}
        found = memberships.of_user_in_rooms(conn, user, wanted)
        return {room: standing.membership for room, standing in found.items()}

    def accessible(
        self, conn: Connection, user: UserNid | None, views: Mapping[RoomNid, RoomView],
        standings: Mapping[RoomNid, Membership],
    ) -> set[RoomNid]:  # fmt: skip
        """Return the rooms that a user is in, or could be in or read at once, or knock at.

        Source: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidhierarchy
        """
        found = set()
        restricted = {}
        for nid, view in views.items():
            standing = standings.get(nid)
            if standing is Membership.BAN:
                may = view.is_world_readable
            else:
                may = standing in (Membership.JOIN, Membership.INVITE) or view.is_open
                if not may and view.restricted_to:
                    restricted[nid] = view.restricted_to
            if may:
                found.add(nid)
        if restricted and user is not None:
            named = {room_id for allowed in restricted.values() for room_id in allowed}
            conditions = self.names.room_nids(conn, named)
            joined = {
                room for room, standing in self.standings(conn, user, conditions.values()).items()
                if standing is Membership.JOIN
            }  # fmt: skip
            found.update(
                nid for nid, allowed in restricted.items() if any(conditions.get(each) in joined for each in allowed)
            )
        return found
