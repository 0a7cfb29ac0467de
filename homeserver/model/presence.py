"""Presence: https://spec.matrix.org/v1.19/client-server-api/#presence."""

import enum
from dataclasses import dataclass

from federation.core.ids import UserID
from homeserver.model.nids import UserNid


class PresenceState(enum.StrEnum):
    """Whether a user is there."""

    ONLINE = "online"
    UNAVAILABLE = "unavailable"
    OFFLINE = "offline"


@dataclass(frozen=True, slots=True)
class StoredPresence:
    """What is kept of a user's presence when the server stops."""

    user: UserNid
    user_id: UserID
    state: PresenceState
    status_msg: str | None
    last_active_ms: int
