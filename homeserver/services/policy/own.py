"""This server as a policy server: its key, and its word about events that it sees itself."""

from dataclasses import dataclass

import structlog
from sqlalchemy import Connection

from federation.core import unpadded_base64
from federation.core.events.pdu import Pdu
from federation.core.ids import ServerName
from federation.core.policy import PolicyServer, recommend, recommended
from federation.core.signing import SigningKey
from homeserver.services.policy.rules import PolicyRules

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class OwnPolicy:
    """Recommends events. Whether their senders are who they say is known before."""

    server_name: ServerName
    key: SigningKey
    rules: PolicyRules

    @property
    def public_key(self) -> str:
        """The key to put into a room's `m.room.policy`."""
        return unpadded_base64.encode(self.key.public_key)

    def is_meant(self, policy: PolicyServer) -> bool:
        """Return whether a room has named this server, with the key that it has."""
        return (policy.name, policy.public_key) == (self.server_name, self.key.public_key)

    def answer(self, conn: Connection, event: Pdu) -> dict[str, dict[str, str]] | str:
        """Return the signature for an event, or why there is none."""
        refusal = self.rules.refusal(conn, event)
        if refusal is not None:
            log.info(
                "policy_refusal", room_id=event.room_id, event_id=event.event_id, sender=event.sender, reason=refusal
            )
            return refusal
        return recommend(event, self.server_name, self.key)


def recommended_here(conn: Connection, own: OwnPolicy | None, policy: PolicyServer, event: Pdu) -> Pdu | str:
    """Return an event of a room that has named this server, with the signature; or why there is none.

    Raises `EventTooLarge` if it is too large with that.
    """
    if own is None or not own.is_meant(policy):
        return "The room's policy server, which is this one, recommends nothing with the key that the room has for it"
    answer = own.answer(conn, event)
    return answer if isinstance(answer, str) else recommended(event, policy, answer)
