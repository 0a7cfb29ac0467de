"""Devices. Whatever belongs to one is deleted with it by the database."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from federation.core.ids import DeviceID
from homeserver.model.devices import Device
from homeserver.model.nids import DeviceNid, UserNid
from homeserver.storage.database import Write
from homeserver.storage.schema.accounts import devices

_DEVICES = sa.select(
    devices.c.nid,
    devices.c.device_id,
    devices.c.display_name,
    devices.c.last_seen_at,
    devices.c.last_seen_ip,
)
_SEEN = (
    devices.update()
    .where(devices.c.nid == sa.bindparam("device"))
    .values(
        last_seen_at=sa.bindparam("at"),
        last_seen_ip=sa.bindparam("ip"),
        last_seen_agent=sa.bindparam("agent"),
    )
)


def of_user(conn: Connection, user: UserNid) -> Sequence[Device]:
    """Return the devices of a user, oldest first."""
    query = _DEVICES.where(devices.c.user == user).order_by(devices.c.nid)
    return [Device(*row) for row in conn.execute(query)]


def find(conn: Connection, user: UserNid, device_id: DeviceID) -> Device | None:
    """Return one device of a user."""
    query = _DEVICES.where(devices.c.user == user, devices.c.device_id == device_id)
    row = conn.execute(query).one_or_none()
    return None if row is None else Device(*row)


def add(tx: Write, user: UserNid, device_id: DeviceID, display_name: str | None, now: int) -> DeviceNid:
    """Store a new device; return its number."""
    insert = devices.insert().values(user=user, device_id=device_id, display_name=display_name, created_at=now)
    return DeviceNid(tx.conn.execute(insert.returning(devices.c.nid)).scalar_one())


def rename(tx: Write, device: DeviceNid, display_name: str | None) -> None:
    """Give a device another display name."""
    tx.conn.execute(devices.update().where(devices.c.nid == device).values(display_name=display_name))


def remove(tx: Write, user: UserNid, device_ids: Collection[DeviceID]) -> Sequence[DeviceNid]:
    """Remove those of the user's devices that are named; return the numbers of those that were there."""
    if not device_ids:
        return []
    query = devices.delete().where(devices.c.user == user, devices.c.device_id.in_(device_ids))
    return list(tx.conn.execute(query.returning(devices.c.nid)).scalars())


def remove_all(tx: Write, user: UserNid, *, but: DeviceNid | None = None) -> Sequence[DeviceNid]:
    """Remove all devices of a user but one; return the numbers of the removed."""
    query = devices.delete().where(devices.c.user == user)
    if but is not None:
        query = query.where(devices.c.nid != but)
    return list(tx.conn.execute(query.returning(devices.c.nid)).scalars())


def unseen(conn: Connection, prefix: str, before: int, limit: int) -> Sequence[tuple[UserNid, DeviceID]]:
    """Return some devices, whose IDs begin with a prefix, that were not seen since a time."""
    last = sa.func.coalesce(devices.c.last_seen_at, devices.c.created_at)
    query = sa.select(devices.c.user, devices.c.device_id)
    query = query.where(devices.c.device_id.startswith(prefix, autoescape=True), last < before)
    return [(UserNid(user), DeviceID(device_id)) for user, device_id in conn.execute(query.limit(limit))]


def seen(tx: Write, rows: Iterable[Mapping[str, Any]]) -> None:
    """Store when and from where devices were last seen: rows of `device`, `at`, `ip` and `agent`."""
    if batch := list(rows):
        tx.conn.execute(_SEEN, batch)
