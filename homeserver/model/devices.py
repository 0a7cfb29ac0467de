"""Devices: one device is one session of a user."""

from dataclasses import dataclass

from federation.core.ids import DeviceID
from homeserver.model.nids import DeviceNid


@dataclass(frozen=True, slots=True)
class Device:
    """A device as its owner sees it."""

    nid: DeviceNid
    device_id: DeviceID
    display_name: str | None
    last_seen_at: int | None
    last_seen_ip: str | None
