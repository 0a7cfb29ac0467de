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


@dataclass(frozen=True, slots=True)
class NewDevice:
    """What a client says about the device that it logs in."""

    device_id: DeviceID | None = None
    display_name: str | None = None
    refreshable: bool = False
