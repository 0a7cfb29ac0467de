"""Users with an account here, and who makes a request."""

from dataclasses import dataclass

from federation.core.ids import DeviceID, UserID
from homeserver.model.nids import DeviceNid, UserNid


@dataclass(frozen=True, slots=True)
class Requester:
    """Who makes a request: a user on one of their devices, by a valid access token."""

    user_id: UserID
    user: UserNid
    device_id: DeviceID
    device: DeviceNid
    admin: bool = False
    suspended: bool = False


@dataclass(frozen=True, slots=True)
class Account:
    """An account as it is stored."""

    user: UserNid
    user_id: UserID
    password_hash: str | None
    """None for an account that nobody logs in to by password."""
    admin: bool
    created_at: int
    deactivated_at: int | None
    locked: bool
    suspended: bool


@dataclass(frozen=True, slots=True)
class ScramKeys:
    """What a server keeps of a password for one SCRAM mechanism: https://www.rfc-editor.org/rfc/rfc5802#section-3."""

    mechanism: str
    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes
