"""Events as the server holds them, and the bytes that clients get of them."""

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

import orjson

from federation.core.events.pdu import Pdu
from federation.core.ids import EventID, RoomID, UserID
from federation.core.room_versions import RoomVersion
from homeserver.model.nids import EventNid, RoomNid, SlotNid, SnapshotNid, UserNid


class Status(IntEnum):
    """What the checks on receipt said; only accepted events are shown."""

    ACCEPTED = 0
    SOFT_FAILED = 1
    REJECTED = 2
    OUTLIER = 3
    """Allowed by its auth events, but not placed in the room's history: the state before it is not known."""
    UNJUDGED = 4
    """How a user of ours stands to a room that this server is not in. Nobody here knows whether the room allows it, or
    of which version that is: to the room it is as if it were not here, until it comes with what authorises it."""


class Event:
    """One stored event. Immutable, but for what it works out once and remembers.

    `content_json` is the content and `envelope` the rest of the signed event, both canonical JSON.
    `snapshot` is the state after the event; `room_snapshot` the room's resolved state once it was taken in, if the room
    was forked then. `place` is where the event is in the room's timeline: its position if it came live, a negative
    number if it was fetched from before our time, None for an event that is not in the timeline. Of a state event,
    `replaces` is what stood in its slot in the room when it came, and `stood` what stood there in the state before it.
    """

    __slots__ = (
        "_client",
        "_content",
        "_pdu",
        "content_json",
        "depth",
        "envelope",
        "event_id",
        "nid",
        "place",
        "redacted_by",
        "replaces",
        "room",
        "room_id",
        "room_snapshot",
        "sender",
        "sender_nid",
        "sent_at",
        "slot",
        "snapshot",
        "state_key",
        "status",
        "stood",
        "type",
        "version",
    )

    def __init__(
        self,
        *,
        nid: EventNid,
        place: int | None,
        room: RoomNid,
        room_id: RoomID,
        version: RoomVersion,
        event_id: EventID,
        type: str,  # noqa: A002
        state_key: str | None,
        slot: SlotNid | None,
        sender: UserID,
        sender_nid: UserNid,
        sent_at: int,
        depth: int,
        content_json: bytes,
        envelope: bytes,
        snapshot: SnapshotNid | None,
        room_snapshot: SnapshotNid | None,
        replaces: EventNid | None,
        stood: EventNid | None,
        redacted_by: EventNid | None,
        status: Status,
        content: Mapping[str, Any] | None = None,
    ) -> None:
        """Take what the store knows; `content` if it is at hand parsed."""
        self.nid = nid
        self.place = place
        self.room = room
        self.room_id = room_id
        self.version = version
        self.event_id = event_id
        self.type = type
        self.state_key = state_key
        self.slot = slot
        self.sender = sender
        self.sender_nid = sender_nid
        self.sent_at = sent_at
        self.depth = depth
        self.content_json = content_json
        self.envelope = envelope
        self.snapshot = snapshot
        self.room_snapshot = room_snapshot
        self.replaces = replaces
        self.stood = stood
        self.redacted_by = redacted_by
        self.status = status
        self._content = content
        self._pdu: Pdu | None = None
        self._client: bytes | None = None

    @property
    def content(self) -> Mapping[str, Any]:
        """The content, parsed once. Read only."""
        if self._content is None:
            self._content = orjson.loads(self.content_json)
        return self._content

    @property
    def is_state(self) -> bool:
        """Whether the event is a state event."""
        return self.state_key is not None

    @property
    def at(self) -> int:
        """The place of an event that has one."""
        assert self.place is not None
        return self.place

    @property
    def state_then(self) -> SnapshotNid | None:
        """The room's state once the event was taken in; None if nobody knows."""
        return self.room_snapshot or self.snapshot

    @property
    def pdu(self) -> Pdu:
        """The event as the law looks at it."""
        if self._pdu is None:
            fields = orjson.loads(self.envelope)
            fields["content"] = self.content
            self._pdu = Pdu.trusted(fields, self.version, self.event_id)
        return self._pdu

    @property
    def size(self) -> int:
        """Roughly the bytes that the event takes in memory."""
        return 700 + 3 * (len(self.content_json) + len(self.envelope))

    @property
    def client_prefix(self) -> bytes:
        """The client's form of the event without `room_id`, `unsigned` and the closing brace.

        Source: https://spec.matrix.org/v1.19/client-server-api/#room-event-format
        """
        if self._client is None:
            parts = [
                b'{"content":',
                self.content_json,
                b',"event_id":',
                orjson.dumps(self.event_id),
                b',"origin_server_ts":%d' % self.sent_at,
                b',"sender":',
                orjson.dumps(self.sender),
                b',"type":',
                orjson.dumps(self.type),
            ]
            if self.state_key is not None:
                parts += [b',"state_key":', orjson.dumps(self.state_key)]
            redacts = self.redacts
            if redacts is not None:
                # Since room version 11 it stands in the content; clients of older versions look for it outside.
                parts += [b',"redacts":', orjson.dumps(redacts)]
            self._client = b"".join(parts)
        return self._client

    @property
    def federation_json(self) -> bytes:
        """The event as servers exchange it."""
        return self.envelope[:-1] + b',"content":' + self.content_json + b"}"

    @property
    def redacts(self) -> EventID | None:
        """The event that this one redacts, wherever the room version puts it."""
        if self.type != "m.room.redaction":
            return None
        return self.pdu.redacts

    @property
    def thread_root(self) -> str | None:
        """The event ID of the thread that the event is in by its own relation, or None."""
        relation = self.content.get("m.relates_to")
        if isinstance(relation, dict) and relation.get("rel_type") == "m.thread":
            root = relation.get("event_id")
            return root if isinstance(root, str) else None
        return None

    def redacted(self, content_json: bytes, envelope: bytes, by: EventNid | None) -> "Event":
        """Return the event with what a redaction has left of its content and envelope."""
        return self._but(content_json=content_json, envelope=envelope, redacted_by=by)

    def standing(
        self, *, status: Status, place: int | None, slot: SlotNid | None, snapshot: SnapshotNid | None,
        room_snapshot: SnapshotNid | None, replaces: EventNid | None, stood: EventNid | None,
    ) -> "Event":  # fmt: skip
        """Return the event as it stands in its room once more is known of it."""
        return self._but(
            status=status,
            place=place,
            slot=slot,
            snapshot=snapshot,
            room_snapshot=room_snapshot,
            replaces=replaces,
            stood=stood,
        )

    def _but(self, **others: Any) -> "Event":
        own = {name: getattr(self, name) for name in self.__slots__ if not name.startswith("_")}
        return Event(**{**own, **others})

    def stripped(self) -> bytes:
        """The event as stripped state: sender, type, state key and content only."""
        return b"".join(
            (
                b'{"content":',
                self.content_json,
                b',"sender":',
                orjson.dumps(self.sender),
                b',"state_key":',
                orjson.dumps(self.state_key or ""),
                b',"type":',
                orjson.dumps(self.type),
                b"}",
            )
        )
