"""Tokens: what a client proves itself with. The store has only their hashes."""

from dataclasses import dataclass

from federation.core.ids import DeviceID, UserID
from homeserver.model.accounts import Requester


@dataclass(frozen=True, slots=True)
class Session:
    """What an access token stands for."""

    requester: Requester
    expires_at: int | None
    locked: bool
    confirms: bool
    """Nobody has used the token yet, and its first use ends the refresh token that it was made with."""


@dataclass(frozen=True, slots=True)
class Pair:
    """An access token as it is given to a client, with a refresh token if the client can refresh."""

    access: str
    lifetime_ms: int | None = None
    expires_at: int | None = None
    refresh: str | None = None
    refresh_expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class Login:
    """A device that has been logged in."""

    user_id: UserID
    device_id: DeviceID
    pair: Pair


@dataclass(frozen=True, slots=True)
class RegistrationToken:
    """A token that lets people register."""

    token: str
    uses_allowed: int | None
    completed: int
    expires_at: int | None
