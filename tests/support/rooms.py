"""Rooms of real, signed events, made one event after the other by people with names.

A room here asks nobody's leave: it sends what it is told, so that a test can hold the result against the rules.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import count
from typing import Any

from federation.core.auth.rules import check
from federation.core.auth.selection import Slot, auth_slots
from federation.core.errors import Rejected
from federation.core.events.draft import Draft, build
from federation.core.events.pdu import Pdu
from federation.core.ids import EventID, RoomID, ServerName, UserID, server_of
from federation.core.room_versions import ROOM_VERSIONS, RoomVersion
from federation.core.signing import SigningKey

ALICE = UserID("@alice:a.example")
AMY = UserID("@amy:a.example")
BOB = UserID("@bob:b.example")
CAROL = UserID("@carol:c.example")
DAVE = UserID("@dave:d.example")

VERSIONS = tuple(ROOM_VERSIONS)
"""The identifiers of all room versions, oldest first."""

FIRST_MS = 1_700_000_000_000


def versions(first: str = "1", last: str = "12") -> tuple[str, ...]:
    """Return the identifiers of the room versions from `first` to `last`."""
    return VERSIONS[VERSIONS.index(first) : VERSIONS.index(last) + 1]


def signing_key(server: str) -> SigningKey:
    """Return the key of a server, the same in every run."""
    return SigningKey.from_seed("1", sha256(server.encode()).digest())


def key_of(server: ServerName, key_id: str) -> bytes | None:
    """Know the key of every server, and no other."""
    return signing_key(server).public_key if key_id == "ed25519:1" else None


@dataclass(slots=True)
class Room:
    """A room, or one branch of it. Branches share their events, but each has its own state."""

    version: RoomVersion
    events: dict[EventID, Pdu] = field(default_factory=dict)
    state: dict[Slot, EventID] = field(default_factory=dict)
    heads: tuple[EventID, ...] = ()
    create: Pdu = field(init=False)
    _clock: count = field(default_factory=count)  # type: ignore[type-arg]

    @classmethod
    def begin(cls, version: str, creator: UserID = ALICE, **content: Any) -> "Room":
        """Return a room with nothing in it but its create event."""
        room = cls(ROOM_VERSIONS[version])
        content = {"room_version": version, **content}
        if room.version.creator_in_content:
            content.setdefault("creator", creator)
        room.create = room.send(creator, "m.room.create", content, "")
        return room

    @classmethod
    def public(
        cls,
        version: str,
        users: Mapping[UserID, int] | None = None,
        *,
        joined: Iterable[UserID] = (),
        creator: UserID = ALICE,
        **content: Any,
    ) -> "Room":
        """Return a room anyone may join, and whom `joined` names has joined.

        `users` are the power levels besides the creator's, which is 100 unless the version sets it.
        """
        room = cls.begin(version, creator, **content)
        room.joins(creator)
        own = {} if room.version.creators_have_all_power else {creator: 100}
        room.sets(creator, "m.room.power_levels", {"users": {**own, **(users or {})}})
        room.sets(creator, "m.room.join_rules", {"join_rule": "public"})
        for user in joined:
            room.joins(user)
        return room

    def fork(self) -> "Room":
        """Return a branch that begins here."""
        branch = Room(self.version, self.events, dict(self.state), self.heads, self._clock)
        branch.create = self.create
        return branch

    def send(
        self,
        sender: UserID,
        event_type: str,
        content: Mapping[str, Any],
        state_key: str | None = None,
        *,
        prev: Sequence[EventID] | None = None,
        auth: Sequence[EventID] | None = None,
        ts: int | None = None,
        depth: int | None = None,
        redacts: EventID | None = None,
        room_id: RoomID | None = None,
    ) -> Pdu:
        """Add an event at the head of the branch, and to its state.

        `ts` is a second after the event made before, in whatever branch, and `depth` follows from `prev`.
        """
        now = next(self._clock)
        server = server_of(sender)
        prev = self.heads if prev is None else prev
        if auth is None:
            slots = auth_slots(event_type, sender, state_key, content, self.version)
            auth = [self.state[slot] for slot in slots if slot in self.state]
        depths = [self.events[event_id].depth for event_id in prev if event_id in self.events]
        draft = Draft(room_id or self._room_id(event_type), event_type, sender, content, state_key, redacts)
        event = build(
            draft,
            version=self.version,
            prev_events=prev,
            auth_events=auth,
            depth=depth if depth is not None else 1 + max(depths, default=0),
            now_ms=ts if ts is not None else FIRST_MS + 1000 * now,
            server_name=server,
            key=signing_key(server),
            opaque_id=f"event{now}",
        )
        self.events[event.event_id] = event
        self.heads = (event.event_id,)
        if event.is_state:
            self.state[event.slot] = event.event_id
        return event

    def _room_id(self, event_type: str) -> RoomID | None:
        if event_type != "m.room.create":
            return self.create.room_id
        return None if self.version.room_id_is_create_hash else RoomID("!room:a.example")

    def says(self, sender: UserID, body: str = "hi", **how: Any) -> Pdu:
        """Send a message."""
        return self.send(sender, "m.room.message", {"msgtype": "m.text", "body": body}, **how)

    def sets(self, sender: UserID, event_type: str, content: Mapping[str, Any], state_key: str = "", **how: Any) -> Pdu:
        """Send a state event."""
        return self.send(sender, event_type, content, state_key, **how)

    def member(self, sender: UserID, target: str, membership: str, /, **content: Any) -> Pdu:
        """Send an `m.room.member` event."""
        return self.send(sender, "m.room.member", {"membership": membership, **content}, target)

    def joins(self, user: UserID, **content: Any) -> Pdu:
        """Let a user join."""
        return self.member(user, user, "join", **content)

    def levels(self, sender: UserID, users: Mapping[UserID, int], depth: int | None = None, **content: Any) -> Pdu:
        """Set the power levels of `users`, beside the creator's."""
        own = {} if self.version.creators_have_all_power else {self.create.sender: 100}
        return self.sets(sender, "m.room.power_levels", {"users": {**own, **users}, **content}, depth=depth)

    def fetch(self, event_id: EventID) -> Pdu | None:
        """Return an event of any branch."""
        return self.events.get(event_id)

    def pdus(self) -> dict[Slot, Pdu]:
        """Return the state as events."""
        return {slot: self.events[event_id] for slot, event_id in self.state.items()}

    def cited(self, event: Pdu) -> list[Pdu]:
        """Return the auth events of an event."""
        return [self.events[event_id] for event_id in event.auth_events]

    def allows(self, event: Pdu) -> bool:
        """Return whether the authorisation rules allow `event`, made on a branch, in the state that is here."""
        try:
            check(event, self.pdus(), create=self.create)
        except Rejected:
            return False
        return True
