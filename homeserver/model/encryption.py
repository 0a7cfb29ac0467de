"""What devices publish for end-to-end encryption: https://spec.matrix.org/v1.19/client-server-api/#end-to-end-encryption."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from federation.core.ids import DeviceID


class Usage(StrEnum):
    """What a cross-signing key is for."""

    MASTER = "master"
    SELF_SIGNING = "self_signing"
    USER_SIGNING = "user_signing"


@dataclass(frozen=True, slots=True)
class PublishedDevice:
    """A device with its identity keys, as JSON; those of a remote user as their server tells them."""

    device_id: DeviceID
    keys: bytes
    display_name: str | None


@dataclass(frozen=True, slots=True)
class KeyCounts:
    """How many keys a device has left to give out."""

    one_time: Mapping[str, int]
    """By algorithm."""
    unused_fallback: Sequence[str]
    """The algorithms whose fallback key nobody was given yet."""


@dataclass(frozen=True, slots=True)
class ClaimedKey:
    """A one-time or fallback key that is given out."""

    name: str
    """`<algorithm>:<key ID>`."""
    key: bytes
    """JSON."""
