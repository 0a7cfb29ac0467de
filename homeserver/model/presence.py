"""Presence: https://spec.matrix.org/v1.19/client-server-api/#presence."""

from enum import StrEnum


class PresenceState(StrEnum):
    """Whether a user is there."""

    ONLINE = "online"
    UNAVAILABLE = "unavailable"
    OFFLINE = "offline"
