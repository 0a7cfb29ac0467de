"""Events that nobody should take, each called by what is wrong with it. What they would do has the word EVIL in it."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from federation.core.ids import UserID, server_of
from federation.core.signing import SigningKey
from tests.support.peer import Peer
from tests.support.shared_room import SharedRoom, signed_again, wire

EVIL = "evil"
CONTENT = {"msgtype": "m.text", "body": EVIL}
UNKNOWN = "$" + "A" * 43


@dataclass(frozen=True, slots=True)
class Forger:
    """A peer in a room, and somebody of another server whom it would like to speak for."""

    peer: Peer
    room: SharedRoom
    elsewhere: SharedRoom
    """Another room of the peer, with the same people in it."""
    victim: UserID

    @property
    def creator(self) -> UserID:
        """A user of the peer who may do everything in the room."""
        return self.peer.user("creator")

    def good(self) -> dict[str, Any]:
        """Return a message that nothing is wrong with, but for what it says."""
        return wire(self.room.make(self.creator, "m.room.message", CONTENT))

    def signed(self, **fields: Any) -> dict[str, Any]:
        """Return that message with other fields, rightly hashed and signed by the peer. None takes a field away."""
        changed = {name: value for name, value in {**self.good(), **fields}.items() if value is not None}
        return signed_again(changed, self.room.version, self.peer.name, self.peer.key)

    def state(self, event_type: str, content: Mapping[str, Any], state_key: str = "", **how: Any) -> dict[str, Any]:
        """Return a state event."""
        sender = how.pop("sender", self.creator)
        return wire(self.room.make(sender, event_type, {**content, "evil": EVIL}, state_key, **how))

    def ids(self, *event_ids: str) -> list[Any]:
        """Return events as the room's version cites them."""
        return [[event_id, {}] for event_id in event_ids] if self.room.version.references_carry_hashes else [*event_ids]

    def unknown(self) -> str:
        """Return an event ID that nobody has."""
        return UNKNOWN if self.room.version.event_id_is_hash else f"$nothing:{self.peer.name}"

    def not_events(self) -> Iterator[tuple[str, Any]]:
        """Yield what is no event of the room's version: it is to be dropped."""
        yield "null", None
        yield "a list", [1]
        yield "a text", EVIL
        yield "an empty object", {}
        for name in ("type", "sender", "content", "depth", "origin_server_ts", "prev_events", "auth_events", "room_id"):
            yield f"no {name}", self.signed(**{name: None})
            yield f"{name} is a number in a list", self.signed(**{name: [5]})
        depths: tuple[Any, ...] = ("5", -1, True, 2**63, {})
        for depth in depths:
            yield f"depth {depth!r}", self.signed(depth=depth)
        yield "no hashes", {**self.good(), "hashes": {}}
        yield "a hash that is none", {**self.good(), "hashes": {"sha256": "!"}}
        yield "hashes is text", {**self.good(), "hashes": "x"}
        yield "signatures is a list", {**self.good(), "signatures": []}
        yield "a type of 300 bytes", self.signed(type="x" * 300)
        yield "a state key of 300 bytes", self.signed(state_key="x" * 300)
        yield "a state key that is a number", self.signed(state_key=5)
        yield "a sender that is none", self.signed(sender="creator")
        yield "a sender of 300 bytes", self.signed(sender=f"@{'x' * 300}:{self.peer.name}")
        yield "a room that is none", self.signed(room_id="room")
        yield "70,000 bytes", self.signed(content={**CONTENT, "more": "x" * 70_000})
        yield "10,000 prev_events", self.signed(prev_events=self.ids(*(self.unknown() for _ in range(10_000))))
        yield "21 prev_events", self.signed(prev_events=self.ids(*(self.room.heads * 21)[:21]))
        yield "10,000 auth_events", self.signed(auth_events=self.ids(*(self.unknown() for _ in range(10_000))))
        yield "a prev event that is a number", self.signed(prev_events=[5])
        yield "a prev event that is no ID", self.signed(prev_events=self.ids("x"))
        yield "prev_events is an object", self.signed(prev_events={})
        if not self.room.version.event_id_is_hash:
            yield "no event ID", self.signed(event_id=None)
            yield "an event ID that is none", self.signed(event_id="x")
            yield "an event ID without a domain", self.signed(event_id=UNKNOWN)
        if self.room.version.strict_canonical_json:
            yield "a great integer", {**self.good(), "content": {**CONTENT, "n": 2**60}}
            yield "a float", {**self.good(), "content": {**CONTENT, "n": 1.5}}

    def unsigned(self) -> Iterator[tuple[str, Any]]:
        """Yield events that their senders' servers have not signed: they are to be dropped."""
        good = self.good()
        yield "no signature", {**good, "signatures": {}}
        yield "no signature of the sender's server", {**good, "signatures": {"other.example": {"ed25519:1": "AA"}}}
        wrong = deepcopy(good)
        signature = wrong["signatures"][self.peer.name][self.peer.key.key_id]
        wrong["signatures"][self.peer.name][self.peer.key.key_id] = ("B" if signature[0] == "A" else "A") + signature[
            1:
        ]
        yield "a wrong signature", wrong
        short = deepcopy(good)
        short["signatures"][self.peer.name][self.peer.key.key_id] = "AAAA"
        yield "a signature of three bytes", short
        yield (
            "a key that it does not publish",
            wire(self.room.make(self.creator, "m.room.message", CONTENT, key=SigningKey.generate("unknown"))),
        )
        name = self.peer.key.key_id.partition(":")[2]
        yield (
            "another key of the same name",
            wire(self.room.make(self.creator, "m.room.message", CONTENT, key=SigningKey.generate(name))),
        )
        yield "in the name of somebody of ours", self.signed(sender=self.victim)
        yield "in the name of somebody of a third server", self.signed(sender="@nobody:localhost:1")
        victim_leaves = {"type": "m.room.member", "state_key": self.victim, "sender": self.victim}
        yield (
            "a leave of somebody of ours",
            self.signed(**victim_leaves, content={"membership": "leave", "reason": EVIL}),
        )
        if self.room.version.event_id_domain_must_sign:
            yield "an ID of ours", self.signed(event_id=f"$mine:{server_of(self.victim)}")

    def refused(self) -> Iterator[tuple[str, Any]]:
        """Yield events that are signed, and that the rules do not allow: they are to be rejected."""
        room, stranger = self.room, self.peer.user("stranger")
        yield "from nobody who is in the room", wire(room.make(stranger, "m.room.message", CONTENT))
        yield "state from nobody who is in the room", self.state("m.room.topic", {"topic": EVIL}, sender=stranger)
        join = self.state("m.room.member", {"membership": "join"}, stranger, sender=stranger, auth=[])
        yield "a join with no auth events", join
        yield "state under the name of another", self.state("org.example.state", {}, self.victim)
        yield (
            "power from somebody who has none",
            self.state(
                "m.room.power_levels", {"users": {self.peer.user("guest"): 100}}, sender=self.peer.user("guest")
            ),
        )
        yield "power levels of texts", self.state("m.room.power_levels", {"users": {self.creator: []}, "ban": {}})
        yield "a membership that does not exist", self.state("m.room.member", {"membership": EVIL}, self.victim)
        yield (
            "a join of somebody else",
            self.state("m.room.member", {"membership": "join", "reason": EVIL}, self.peer.user("other")),
        )
        yield "no prev_events", self.signed(prev_events=[])
        auth = [event_id for _, event_id in self.room.state.items()]
        yield "the whole state as auth events", self.signed(auth_events=self.ids(*auth[:10]))
        yield "an auth event twice", self.signed(auth_events=self.ids(*(wire_ids(self.good()["auth_events"])[:1] * 2)))
        others = self.elsewhere.auth_events_for("m.room.message", self.creator, None, CONTENT)
        yield "auth events of another room", self.signed(auth_events=self.ids(*others))
        yield "auth events that nobody has", self.signed(auth_events=self.ids(self.unknown()))
        if room.version.create_in_auth_events:
            found = wire_ids(self.good()["auth_events"])
            create = room.state["m.room.create", ""]
            yield (
                "no create event among the auth events",
                self.signed(auth_events=self.ids(*(event_id for event_id in found if event_id != create))),
            )
        if not room.version.room_id_is_create_hash:
            yield (
                "another create event",
                self.state(
                    "m.room.create", {"creator": self.creator, "room_version": room.version.id}, prev=[], auth=[]
                ),
            )

    def misplaced(self) -> Iterator[tuple[str, Any]]:
        """Yield events that are not where they say: they cannot be placed, or not in this room."""
        yield "prev events of another room", self.signed(prev_events=self.ids(*self.elsewhere.heads))
        yield "a prev event that nobody has", self.signed(prev_events=self.ids(self.unknown()))
        yield "a room that nobody has", self.signed(room_id=f"!nothing:{self.peer.name}")
        if not self.room.version.event_id_is_hash:
            itself = f"$itself:{self.peer.name}"
            yield "after itself", self.signed(event_id=itself, prev_events=self.ids(itself))
            yield "allowed by itself", self.signed(event_id=f"{itself}2", auth_events=self.ids(f"{itself}2"))

    def all(self) -> Iterator[tuple[str, Any]]:
        """Yield all of them."""
        for kind in (self.not_events, self.unsigned, self.refused, self.misplaced):
            yield from kind()


def wire_ids(references: list[Any]) -> list[str]:
    """Return what an event cites, in whatever form."""
    return [each[0] if isinstance(each, list) else each for each in references]


@dataclass(slots=True)
class Endless:
    """Ancestors without end, made when they are asked for: in rooms where a sender chooses the IDs of events."""

    forger: Forger
    made: int = 0

    def event(self, event_id: str, **cites: list[str]) -> dict[str, Any]:
        """Return the event of an ID; it names others that nobody has seen."""
        self.made += 1
        fresh = [f"$endless{self.made}x{number}:{self.forger.peer.name}" for number in range(5)]
        fields = {name: self.forger.ids(*fresh, *more) for name, more in (cites or {"prev_events": []}).items()}
        return self.forger.signed(event_id=event_id, **fields)
