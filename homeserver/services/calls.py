"""Credentials for the servers that relay calls: https://spec.matrix.org/v1.19/client-server-api/#voice-over-ip.

The scheme is that of coturn's `use-auth-secret`: https://datatracker.ietf.org/doc/html/draft-uberti-behave-turn-rest-00
"""

import base64
import hmac
from dataclasses import dataclass

from federation.core.ids import UserID
from homeserver.clock import Clock
from homeserver.config.schema import Voip


@dataclass(frozen=True, slots=True)
class TurnCredentials:
    """What a client logs in to the TURN servers with."""

    username: str
    password: str
    uris: tuple[str, ...]
    ttl: int


@dataclass(frozen=True, slots=True)
class Calls:
    """Makes credentials for TURN servers that share a secret with us."""

    options: Voip
    clock: Clock

    def turn_credentials(self, user_id: UserID) -> TurnCredentials | None:
        """Return credentials for a user, or None where no server is configured."""
        if not self.options.turn_uris or not self.options.turn_shared_secret:
            return None
        lifetime = self.options.turn_user_lifetime_seconds
        username = f"{self.clock.now_ms() // 1000 + lifetime}:{user_id}"
        mac = hmac.digest(self.options.turn_shared_secret.encode(), username.encode(), "sha1")
        return TurnCredentials(username, base64.b64encode(mac).decode(), self.options.turn_uris, lifetime)
