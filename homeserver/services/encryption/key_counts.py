"""How many keys each device has left to give out, in memory: every answer of /sync says so.

Source: https://spec.matrix.org/v1.19/client-server-api/#e2e-extensions-to-sync
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import orjson
from sqlalchemy import Connection

from homeserver.model.encryption import KeyCounts
from homeserver.model.nids import DeviceNid
from homeserver.storage import device_keys
from homeserver.storage.database import Write, current_position
from homeserver.storage.remembered import Remembered


@dataclass(frozen=True, slots=True)
class _Sections:
    body: bytes
    changed_at: int


class CountsOfKeys:
    """Knows the counts, ready as the two sections of an answer."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._known: Remembered[DeviceNid, _Sections] = Remembered()

    def known(self, device: DeviceNid) -> bytes | None:
        """Return the sections of a device, as the inside of a JSON object, if they are in memory."""
        found = self._known.known(device)
        return found.body if found is not None else None

    def changed_since(self, device: DeviceNid, position: int) -> bool:
        """Return whether the counts of a device have changed after a position, as far as this process knows."""
        found = self._known.known(device)
        return found is not None and found.changed_at > position

    def of_device(self, conn: Connection, device: DeviceNid) -> bytes:
        """Return the sections of a device."""

        def load(conn: Connection, devices: Collection[DeviceNid]) -> Mapping[DeviceNid, tuple[int, _Sections]]:
            position = current_position(conn)
            return {each: (position, _Sections(_body(device_keys.counts(conn, each)), 0)) for each in devices}

        return self._known.find(conn, [device], load)[device].body

    def changed(self, tx: Write, device: DeviceNid, position: int) -> KeyCounts:
        """Look again, in the write that has changed the keys of a device; return the counts."""
        counts = device_keys.counts(tx.conn, device)
        tx.after_commit(self._known.learn, device, position, _Sections(_body(counts), position))
        return counts


def _body(counts: KeyCounts) -> bytes:
    sections = {
        "device_one_time_keys_count": counts.one_time,
        "device_unused_fallback_key_types": counts.unused_fallback,
    }
    return orjson.dumps(sections)[1:-1]
