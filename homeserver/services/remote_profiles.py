"""Profiles of other servers' users: https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1queryprofile."""

from collections.abc import Mapping
from typing import Any

from federation.core.ids import ServerName, UserID, server_of
from federation.matrix.client import FederationClient
from federation.matrix.expiring import Expiring
from homeserver.clock import Clock
from homeserver.services.elsewhere import asking

KEPT_SECONDS = 300.0
MOST_KEPT = 5_000


class RemoteProfiles:
    """Asks for profiles, and keeps them for a few minutes."""

    def __init__(self, own: ServerName, client: FederationClient, clock: Clock) -> None:
        """Take the name of this server, and how to ask others."""
        self.own = own
        self._client = client
        self._kept: Expiring[UserID, Mapping[str, Any]] = Expiring(self._ask, clock.monotonic, MOST_KEPT)

    async def of_user(self, user_id: UserID) -> Mapping[str, Any]:
        """Return a user's profile as their server tells it. Raises `NotFound`, `Forbidden` or `OtherServerFailed`."""
        return await self._kept.get(user_id)

    def forget(self, user_id: UserID) -> None:
        """Ask again the next time: it is known that the profile has changed."""
        self._kept.forget(user_id)

    async def _ask(self, user_id: UserID) -> tuple[Mapping[str, Any], float]:
        with asking(server_of(user_id)):
            answer = await self._client.query_profile(server_of(user_id), user_id)
        return {name: value for name, value in answer.items() if value is not None}, KEPT_SECONDS
