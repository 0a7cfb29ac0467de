"""What other servers ask this one as a policy server.

https://spec.matrix.org/v1.19/server-server-api/#post_matrixpolicyv1sign
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from federation.core.auth.receipt import Received
from federation.core.errors import BadEvent
from federation.core.events.pdu import Pdu
from federation.core.ids import ServerName
from federation.core.policy import POLICY, is_exempt
from federation.matrix.keyring import Keyring
from federation.matrix.transactions import read_pdu, room_of
from homeserver.errors import BadJson, NotFound, PolicyRefused
from homeserver.services.current_state import CurrentState
from homeserver.services.policy.own import OwnPolicy
from homeserver.services.policy.recommendations import policy_by
from homeserver.services.server_access import ServerAccess
from homeserver.storage.database import Database


@dataclass(frozen=True, slots=True)
class PolicySigning:
    """Signs events for rooms that have made this server their policy server."""

    db: Database
    keyring: Keyring
    access: ServerAccess
    current: CurrentState
    own: OwnPolicy | None
    """None if this server is none."""

    @property
    def public_keys(self) -> dict[str, str]:
        """The keys to put into a room's `m.room.policy`. Raises `NotFound` if this server is no policy server."""
        return {"ed25519": self._policy().public_key}

    async def sign(self, origin: ServerName, fields: Mapping[str, Any]) -> dict[str, dict[str, str]]:
        """Return the signature for an event.

        Raises `NotFound` if this server is no policy server, or not the room's; `Forbidden` to a server that the room
        refuses; `BadJson` for what is no event of the room, or not the one that its sender has signed; `PolicyRefused`.
        """
        own = self._policy()
        event = await self.db.read(lambda conn: self._read(conn, own, origin, fields))
        if is_exempt(event):
            raise PolicyRefused("A room names its policy server without its leave")
        (outcome,) = await self.keyring.verify_events([event])
        if not isinstance(outcome, Received):
            raise PolicyRefused(f"The event is not signed as it must be: {outcome.reason}")
        if outcome.redacted:
            # The signature would be good for the whole event, too, and nobody has seen what that says.
            raise BadJson("hashes: not those of the event")
        if outcome.fault is not None:
            raise PolicyRefused(f"The event is {outcome.fault}")
        answer = await self.db.read(lambda conn: own.answer(conn, event))
        if isinstance(answer, str):
            raise PolicyRefused(answer)
        return answer

    def _policy(self) -> OwnPolicy:
        if self.own is None:
            raise NotFound("This server is not a policy server")
        return self.own

    def _read(self, conn: Connection, own: OwnPolicy, origin: ServerName, fields: Mapping[str, Any]) -> Pdu:
        room_id = room_of(fields)
        if room_id is None:
            raise BadJson("room_id: must be a room ID")
        room = self.access.resident(conn, origin, room_id)
        standing = self.access.entry(conn, room, *POLICY)
        policy = policy_by(conn, self.current, room.nid, standing.nid if standing is not None else None)
        if policy is None or not own.is_meant(policy):
            raise NotFound("This server is not the room's policy server")
        try:
            return read_pdu(fields, room.version, room_id)
        except BadEvent as error:
            raise BadJson(f"The event is not valid: {error}") from error
