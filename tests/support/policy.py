"""A peer that is a policy server, and rooms that have made it theirs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from federation.core import unpadded_base64
from federation.core.events.pdu import Pdu
from federation.core.ids import RoomID
from federation.core.policy import KEY_NAME, PolicyServer, is_recommended, recommend, recommended
from federation.core.room_versions import ROOM_VERSIONS
from federation.core.signing import SigningKey
from tests.support.answers import Asked, Refusal, Reply
from tests.support.peer import Peer
from tests.support.shared_room import SharedRoom

POLICY = "m.room.policy"


def key(number: int = 1) -> SigningKey:
    """Return one of the keys of policy servers."""
    return SigningKey.from_seed(KEY_NAME, bytes([number]) * 32)


@dataclass
class Policy:
    """What a peer says as a policy server, and what it was asked."""

    peer: Peer
    key: SigningKey = field(default_factory=key)
    refuses: Callable[[Mapping[str, Any]], str | None] = lambda _event: None
    """Why an event is refused."""

    @classmethod
    def of(cls, peer: Peer) -> "Policy":
        """Make a peer a policy server."""
        policy = cls(peer)
        peer.instead["policy_sign"] = policy.answer
        return policy

    @property
    def content(self) -> dict[str, Any]:
        """What a room says that has made it its policy server."""
        return {"via": self.peer.name, "public_keys": {"ed25519": unpadded_base64.encode(self.key.public_key)}}

    @property
    def server(self) -> PolicyServer:
        """The same as the law has it."""
        return PolicyServer(self.peer.name, self.key.public_key)

    async def answer(self, peer: Peer, asked: Asked) -> Reply:
        """Answer as one should."""
        assert asked.signed
        reason = self.refuses(asked.body)
        if reason is not None:
            raise Refusal(400, "M_FORBIDDEN", error=reason)
        return recommend(self.read(asked), peer.name, self.key)

    def read(self, asked: Asked) -> Pdu:
        """Return the event that it was asked about."""
        return Pdu.from_wire(asked.body, self.peer.rooms[RoomID(asked.body["room_id"])].version)

    @property
    def asked(self) -> list[Mapping[str, Any]]:
        """The events that it was asked about."""
        return [asked.body for asked in self.peer.asked_for("policy_sign")]

    def signed(self, event: Pdu) -> Pdu:
        """Return an event with its signature."""
        return recommended(event, self.server, recommend(event, self.peer.name, self.key))

    def has_signed(self, fields: Mapping[str, Any], version: str) -> bool:
        """Return whether an event has its signature."""
        return is_recommended(Pdu.from_wire(dict(fields), ROOM_VERSIONS[version]), self.server)

    def watches(self, room: SharedRoom) -> Pdu:
        """Let the peer's room have it as its policy server."""
        return room.sets(self.peer.user("creator"), POLICY, self.content)
