"""Devices of a user: https://spec.matrix.org/v1.19/client-server-api/#device-management."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256

from federation.core.ids import DeviceID
from homeserver.errors import NotFound
from homeserver.model.accounts import Requester
from homeserver.model.devices import Device
from homeserver.model.encryption import PublishedDevice
from homeserver.model.nids import DeviceNid, UserNid
from homeserver.services.encryption.device_lists import DeviceLists
from homeserver.services.interactive_auth import PASSWORD, Demand, InteractiveAuth, Passed
from homeserver.services.sessions import Sessions
from homeserver.storage import device_keys, devices
from homeserver.storage.database import Database, Write

Removal = Callable[[Write, UserNid, Sequence[DeviceNid]], object]
"""Told inside the write that removes devices of a user."""


def removal_demand(who: Requester, device_ids: Iterable[DeviceID]) -> Demand:
    """Return what a user must prove to remove these devices, and no others."""
    names = "\0".join(sorted(set(device_ids)))
    return Demand(f"remove devices {sha256(names.encode()).hexdigest()}", ((PASSWORD,),), who)


@dataclass(frozen=True, slots=True)
class Devices:
    """Shows, renames and removes devices; removing one ends its session."""

    db: Database
    interactive_auth: InteractiveAuth
    sessions: Sessions
    lists: DeviceLists
    on_removal: list[Removal] = field(default_factory=list)
    """What else goes with a device; filled by the composition root."""

    async def all(self, who: Requester) -> Sequence[Device]:
        """Return the user's devices."""
        return [self._fresh(device) for device in await self.db.read(lambda conn: devices.of_user(conn, who.user))]

    async def one(self, who: Requester, device_id: DeviceID) -> Device:
        """Return one of the user's devices. Raises `NotFound`."""
        return self._fresh(_found(await self.db.read(lambda conn: devices.find(conn, who.user, device_id))))

    async def rename(self, who: Requester, device_id: DeviceID, display_name: str | None) -> None:
        """Give a device another display name; None leaves it. Raises `NotFound`."""

        def rename(tx: Write) -> None:
            device = _found(devices.find(tx.conn, who.user, device_id))
            if display_name is not None:
                devices.rename(tx, device.nid, display_name)
                keys = device_keys.of_device(tx.conn, device.nid)
                if keys is not None and display_name != device.display_name:
                    self.lists.changed(tx, who.user, [PublishedDevice(device_id, keys, display_name)])

        await self.db.write(rename)

    async def remove(self, who: Requester, device_ids: Collection[DeviceID], passed: Passed | None = None) -> None:
        """Remove those of the user's devices that are named."""

        def remove(tx: Write) -> None:
            if passed is not None:
                self.interactive_auth.use_up(tx, passed)
            self.end(tx, who.user, device_ids)

        await self.db.write(remove)

    async def remove_all(self, who: Requester) -> None:
        """Remove all devices of the user."""
        await self.db.write(lambda tx: self.end(tx, who.user))

    def end(
        self, tx: Write, user: UserNid, device_ids: Collection[DeviceID] | None = None, *, but: DeviceNid | None = None
    ) -> None:
        """Remove those of a user's devices that are named, or all but one, and tell who keeps something of them."""
        with_keys = set(device_keys.with_keys(tx.conn, user))
        named = device_ids is not None
        gone = devices.remove(tx, user, device_ids or ()) if named else devices.remove_all(tx, user, but=but)
        if not gone:
            return
        for tell in self.on_removal:
            tell(tx, user, gone)
        self.lists.removed(tx, user, sorted(with_keys.difference(device_keys.with_keys(tx.conn, user))))
        tx.after_commit(self.sessions.forget, user)

    def _fresh(self, device: Device) -> Device:
        seen = self.sessions.last_seen(device.nid)
        return replace(device, last_seen_at=seen.at, last_seen_ip=seen.ip) if seen is not None else device


def _found(device: Device | None) -> Device:
    if device is None:
        raise NotFound("No such device")
    return device
