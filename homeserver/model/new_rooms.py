"""What a client asks of a new room: https://spec.matrix.org/v1.19/client-server-api/#creation."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from federation.core.ids import RoomAlias, UserID
from federation.core.room_versions import RoomVersion


class Preset(StrEnum):
    """What a room begins with, in a word."""

    PRIVATE = "private_chat"
    TRUSTED = "trusted_private_chat"
    PUBLIC = "public_chat"


@dataclass(frozen=True, slots=True)
class StateEntry:
    """One state event that a room begins with."""

    type: str
    content: Mapping[str, Any]
    state_key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRoom:
    """A room that somebody wants to make."""

    version: RoomVersion
    preset: Preset = Preset.PRIVATE
    published: bool = False
    alias: RoomAlias | None = None
    name: str | None = None
    topic: str | None = None
    invited: tuple[UserID, ...] = ()
    is_direct: bool = False
    creation_content: Mapping[str, Any]
    initial_state: tuple[StateEntry, ...] = ()
    power_levels: Mapping[str, Any]
    """Put over the power levels that the room would have."""
