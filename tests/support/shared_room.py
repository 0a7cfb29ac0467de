"""A room as another server holds it: the graph of its events, with the state after each.

It believes all that it is told, and makes whatever event it is asked for, allowed or not.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from federation.core.auth.selection import Slot, auth_slots
from federation.core.events.content import PowerLevels, creators_of
from federation.core.events.draft import Draft, build, template
from federation.core.events.pdu import Pdu
from federation.core.hashing import content_hash
from federation.core.ids import EventID, RoomID, ServerName, UserID, server_of
from federation.core.room_versions import RoomVersion
from federation.core.signing import SigningKey, sign_event, sign_json
from federation.core.state.resolve import resolve

State = Mapping[Slot, EventID]

_UNKNOWN = RoomID("")

_numbers = itertools.count(1)


@dataclass(slots=True)
class SharedRoom:
    """What one server knows of a room."""

    version: RoomVersion
    key_of: Callable[[ServerName], SigningKey]
    """Gives the keys of the servers in whose name events are made."""
    now_ms: Callable[[], int]
    events: dict[EventID, Pdu] = field(default_factory=dict)
    after: dict[EventID, State] = field(default_factory=dict)
    """The state after each event that has its place in the graph; others are there as auth events."""
    heads: tuple[EventID, ...] = ()
    room_id: RoomID = _UNKNOWN
    """Known with the create event, unless it was given."""

    def create(self, creator: UserID, **content: Any) -> Pdu:
        """Begin the room."""
        # No two rooms are the same, created in one moment as they may be.
        content = {"room_version": self.version.id, "org.example.number": next(_numbers), **content}
        if self.version.creator_in_content:
            content.setdefault("creator", creator)
        if not self.version.room_id_is_create_hash:
            self.room_id = RoomID(f"!room{next(_numbers)}x{self.now_ms()}:{server_of(creator)}")
        event = self.send(creator, "m.room.create", content, "")
        self.room_id = event.room_id
        return event

    @property
    def state(self) -> State:
        """The state now, heads resolved."""
        return self.state_before(self.heads)

    def state_before(self, prev_events: Iterable[EventID]) -> State:
        """Return the state that follows from events; those without a place do not count."""
        states = [self.after[event_id] for event_id in prev_events if event_id in self.after]
        if len(states) == 1:
            return states[0]
        return resolve(states, self.version, self.events.get)

    def state_event(self, event_type: str, state_key: str = "") -> Pdu | None:
        """Return a state event of now."""
        event_id = self.state.get((event_type, state_key))
        return None if event_id is None else self.events[event_id]

    def content(self, event_type: str, state_key: str = "") -> Mapping[str, Any] | None:
        """Return the content of a state event of now."""
        event = self.state_event(event_type, state_key)
        return None if event is None else event.content

    def membership(self, user_id: str) -> str:
        """Return a user's membership now; `leave` for one who was never there."""
        return str((self.content("m.room.member", user_id) or {}).get("membership", "leave"))

    def members(self, membership: str = "join") -> list[UserID]:
        """Return whose membership is the given one."""
        return [
            UserID(key)
            for (event_type, key), event_id in self.state.items()
            if event_type == "m.room.member" and self.events[event_id].content.get("membership") == membership
        ]

    def servers(self) -> set[ServerName]:
        """Return the servers in the room."""
        return {server_of(user) for user in self.members()}

    def may_invite(self, user_id: UserID) -> bool:
        """Return whether a member has the level to invite."""
        create = self.state_event("m.room.create")
        assert create is not None
        levels = PowerLevels.of(self.content("m.room.power_levels"), self.version, creators_of(create))
        return levels.user_level(user_id) >= levels.invite

    def auth_events_for(self, event_type: str, sender: str, state_key: str | None, content: Mapping[str, Any],
                        state: State | None = None) -> list[EventID]:  # fmt: skip
        """Return the events that authorise another."""
        state = self.state if state is None else state
        slots = auth_slots(event_type, sender, state_key, content, self.version)
        return [state[slot] for slot in slots if slot in state]

    def make(
        self,
        sender: UserID,
        event_type: str,
        content: Mapping[str, Any],
        state_key: str | None = None,
        *,
        prev: Sequence[EventID] | None = None,
        auth: Sequence[EventID] | None = None,
        depth: int | None = None,
        ts: int | None = None,
        redacts: EventID | None = None,
        room_id: RoomID | None = None,
        opaque_id: str = "",
        key: SigningKey | None = None,
    ) -> Pdu:
        """Return a signed event on top of the heads, or wherever it is told; it is not in the room yet."""
        prev = self.heads if prev is None else prev
        if auth is None:
            auth = self.auth_events_for(event_type, sender, state_key, content, self.state_before(prev))
        if room_id is None and not (event_type == "m.room.create" and self.version.room_id_is_create_hash):
            room_id = self.room_id
        server = server_of(sender)
        return build(
            Draft(room_id, event_type, sender, content, state_key, redacts),
            version=self.version,
            prev_events=prev,
            auth_events=auth,
            depth=self.depth_after(prev) if depth is None else depth,
            now_ms=self.now_ms() if ts is None else ts,
            server_name=server,
            key=key or self.key_of(server),
            opaque_id=opaque_id or f"e{next(_numbers)}x{self.now_ms()}",
        )

    def offer(self, sender: UserID, content: Mapping[str, Any]) -> dict[str, Any]:
        """Return the membership event that `make_join` and its like offer to a user of another server."""
        return template(
            Draft(self.room_id, "m.room.member", sender, content, sender),
            version=self.version,
            prev_events=self.heads,
            auth_events=self.auth_events_for("m.room.member", sender, sender, content),
            depth=self.depth_after(self.heads),
            now_ms=self.now_ms(),
        )

    def depth_after(self, prev_events: Iterable[EventID]) -> int:
        """Return the depth of an event after others."""
        return 1 + max((self.events[event_id].depth for event_id in prev_events if event_id in self.events), default=0)

    def send(self, sender: UserID, event_type: str, content: Mapping[str, Any], state_key: str | None = None,
             **how: Any) -> Pdu:  # fmt: skip
        """Make an event and give it its place."""
        event = self.make(sender, event_type, content, state_key, **how)
        self.add(event)
        return event

    def says(self, sender: UserID, body: str = "hi", **how: Any) -> Pdu:
        """Send a message."""
        return self.send(sender, "m.room.message", {"msgtype": "m.text", "body": body}, **how)

    def sets(self, sender: UserID, event_type: str, content: Mapping[str, Any], state_key: str = "", **how: Any) -> Pdu:
        """Send a state event."""
        return self.send(sender, event_type, content, state_key, **how)

    def member(self, sender: UserID, target: str, membership: str, **content: Any) -> Pdu:
        """Send an `m.room.member` event."""
        return self.send(sender, "m.room.member", {"membership": membership, **content}, target)

    def redacts(self, sender: UserID, event: Pdu) -> Pdu:
        """Send a redaction."""
        return self.send(sender, "m.room.redaction", {}, redacts=event.event_id)

    def add(self, event: Pdu, before: State | None = None) -> None:
        """Give an event its place: after its `prev_events`, or after a state where these are not known."""
        if event.event_id in self.after:
            return
        state = dict(self.state_before(event.prev_events) if before is None else before)
        if event.is_state:
            state[event.slot] = event.event_id
        self.events[event.event_id] = event
        self.after[event.event_id] = state
        # An event that comes late is before those that name it.
        if not any(event.event_id in self.events[head].prev_events for head in self.heads):
            kept = [head for head in self.heads if head not in event.prev_events]
            self.heads = (*kept, event.event_id)

    def know(self, events: Iterable[Pdu]) -> None:
        """Take events that have no place in the graph: an auth chain, or a state."""
        for event in events:
            self.events.setdefault(event.event_id, event)

    def auth_chain(self, event_ids: Iterable[EventID]) -> list[Pdu]:
        """Return all that authorises some events, and those, and so on; without them."""
        wanted = [auth for event_id in event_ids for auth in self.events[event_id].auth_events]
        found: dict[EventID, Pdu] = {}
        while wanted:
            event_id = wanted.pop()
            if event_id not in found and event_id in self.events:
                found[event_id] = self.events[event_id]
                wanted += self.events[event_id].auth_events
        return list(found.values())

    def before(self, starts: Iterable[EventID], limit: int, stop: Iterable[EventID] = ()) -> list[Pdu]:
        """Return the newest events up to `limit` at or before `starts`, newest first, not looking past `stop`."""
        seen, found = set(stop), list[Pdu]()
        pending = [event_id for event_id in starts if event_id not in seen]
        while pending and len(found) < limit:
            pending.sort(key=lambda event_id: self.events[event_id].depth)
            event_id = pending.pop()
            if event_id in seen:
                continue
            seen.add(event_id)
            found.append(self.events[event_id])
            pending += [prev for prev in self.events[event_id].prev_events if prev in self.after and prev not in seen]
        return found

    def timeline(self) -> list[Pdu]:
        """Return the events that have a place, oldest first."""
        return [self.events[event_id] for event_id in self.after]


def signed_again(
    fields: Mapping[str, Any], version: RoomVersion, server: ServerName, key: SigningKey
) -> dict[str, Any]:
    """Return whatever fields an event has with a right hash and a right signature, be it an event or not."""
    bare = {name: value for name, value in fields.items() if name not in ("hashes", "signatures", "unsigned")}
    hashed = {**bare, "hashes": {"sha256": content_hash(bare)}}
    if not isinstance(fields.get("type"), str) or not isinstance(fields.get("content"), dict):
        # There is no redacted form to sign.
        return sign_json(hashed, server, key)
    return sign_event(hashed, version, server, key)


def wire(event: Pdu | Mapping[str, Any]) -> dict[str, Any]:
    """Return an event as it is sent."""
    return dict(event.fields if isinstance(event, Pdu) else event)
