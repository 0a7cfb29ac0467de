"""The keys that devices publish, and those that are given out once."""

from collections.abc import Collection, Iterable, Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy import Connection

from federation.core.ids import DeviceID
from homeserver.model.encryption import ClaimedKey, KeyCounts, PublishedDevice
from homeserver.model.nids import DeviceNid, UserNid
from homeserver.storage.database import Write, upsert
from homeserver.storage.schema.accounts import devices
from homeserver.storage.schema.encryption import device_keys, fallback_keys, one_time_keys


def of_device(conn: Connection, device: DeviceNid) -> bytes | None:
    """Return the identity keys that a device has published, as JSON."""
    return conn.execute(sa.select(device_keys.c["keys"]).where(device_keys.c.device == device)).scalar_one_or_none()


def of_users(conn: Connection, users: Collection[UserNid]) -> dict[UserNid, list[PublishedDevice]]:
    """Return the devices with keys of users of this server, in one query."""
    found: dict[UserNid, list[PublishedDevice]] = {}
    query = (
        sa.select(devices.c.user, devices.c.device_id, device_keys.c["keys"], devices.c.display_name)
        .join(device_keys, device_keys.c.device == devices.c.nid)
        .where(devices.c.user.in_(users))
        .order_by(devices.c.nid)
    )
    for user, device_id, keys, display_name in conn.execute(query):
        found.setdefault(user, []).append(PublishedDevice(device_id, keys, display_name))
    return found


def with_keys(conn: Connection, user: UserNid, device_ids: Iterable[DeviceID] | None = None) -> list[DeviceID]:
    """Return the devices of a user that have published keys; of those named, if some are."""
    query = (
        sa.select(devices.c.device_id)
        .join(device_keys, device_keys.c.device == devices.c.nid)
        .where(devices.c.user == user)
    )
    if device_ids is not None:
        query = query.where(devices.c.device_id.in_(list(device_ids)))
    return [DeviceID(device_id) for device_id in conn.execute(query).scalars()]


def store(tx: Write, device: DeviceNid, keys: bytes) -> bool:
    """Store the identity keys of a device; return whether they are others than before."""
    if of_device(tx.conn, device) == keys:
        return False
    insert = upsert(tx.conn, device_keys).values(device=device, keys=keys)
    tx.conn.execute(insert.on_conflict_do_update(index_elements=["device"], set_={"keys": insert.excluded["keys"]}))
    return True


# Keys that are given out


def stored(conn: Connection, device: DeviceNid, names: Iterable[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
    """Return those of some one-time keys that are there, by algorithm and ID."""
    ids = [key_id for _, key_id in names]
    query = sa.select(one_time_keys.c.algorithm, one_time_keys.c.key_id, one_time_keys.c.key).where(
        one_time_keys.c.device == device, one_time_keys.c.key_id.in_(ids)
    )
    return {(algorithm, key_id): key for algorithm, key_id, key in conn.execute(query)}


def add_one_time(tx: Write, device: DeviceNid, keys: Mapping[tuple[str, str], bytes]) -> None:
    """Store one-time keys, by algorithm and ID; none of them may be there."""
    position = tx.position()
    rows = [
        {"device": device, "algorithm": algorithm, "key_id": key_id, "position": position, "key": key}
        for (algorithm, key_id), key in keys.items()
    ]
    if rows:
        tx.conn.execute(one_time_keys.insert(), rows)


def put_fallback(tx: Write, device: DeviceNid, algorithm: str, key_id: str, key: bytes) -> None:
    """Store a fallback key in the place of the one of that algorithm; it is unused unless it is the same one."""
    insert = upsert(tx.conn, fallback_keys).values(
        device=device, algorithm=algorithm, key_id=key_id, key=key, used=False
    )
    new = insert.excluded
    tx.conn.execute(
        insert.on_conflict_do_update(
            index_elements=["device", "algorithm"],
            set_={"key_id": new.key_id, "key": new.key, "used": False},
            where=sa.or_(fallback_keys.c.key_id != new.key_id, fallback_keys.c.key != new.key),
        )
    )


def counts(conn: Connection, device: DeviceNid) -> KeyCounts:
    """Return how many keys a device has left."""
    of_algorithm = (
        sa.select(one_time_keys.c.algorithm, sa.func.count())
        .where(one_time_keys.c.device == device)
        .group_by(one_time_keys.c.algorithm)
    )
    unused = (
        sa.select(fallback_keys.c.algorithm)
        .where(fallback_keys.c.device == device, fallback_keys.c.used.is_(False))
        .order_by(fallback_keys.c.algorithm)
    )
    one_time = {algorithm: int(count) for algorithm, count in conn.execute(of_algorithm)}
    return KeyCounts(one_time, list(conn.execute(unused).scalars()))


def nids_of(
    conn: Connection, wanted: Mapping[UserNid, Collection[DeviceID]]
) -> dict[tuple[UserNid, DeviceID], DeviceNid]:
    """Return the numbers of devices of this server, by user and device ID, in one query."""
    names = {device_id for device_ids in wanted.values() for device_id in device_ids}
    query = sa.select(devices.c.user, devices.c.device_id, devices.c.nid).where(
        devices.c.user.in_(list(wanted)), devices.c.device_id.in_(names)
    )
    return {
        (UserNid(user), DeviceID(device_id)): DeviceNid(nid)
        for user, device_id, nid in conn.execute(query)
        if device_id in wanted[user]
    }


def claim(tx: Write, device: DeviceNid, algorithm: str) -> ClaimedKey | None:
    """Take the oldest one-time key of a device, or else its fallback key; None if it has neither."""
    oldest = (
        sa.select(one_time_keys.c.key_id)
        .where(one_time_keys.c.device == device, one_time_keys.c.algorithm == algorithm)
        .order_by(one_time_keys.c.position, one_time_keys.c.key_id)
        .limit(1)
        .scalar_subquery()
    )
    taken = tx.conn.execute(
        one_time_keys.delete()
        .where(
            one_time_keys.c.device == device,
            one_time_keys.c.algorithm == algorithm,
            one_time_keys.c.key_id == oldest,
        )
        .returning(one_time_keys.c.key_id, one_time_keys.c.key)
    ).one_or_none()
    if taken is None:
        taken = tx.conn.execute(
            fallback_keys.update()
            .where(fallback_keys.c.device == device, fallback_keys.c.algorithm == algorithm)
            .values(used=True)
            .returning(fallback_keys.c.key_id, fallback_keys.c.key)
        ).one_or_none()
    return ClaimedKey(f"{algorithm}:{taken.key_id}", taken.key) if taken is not None else None


def owners(conn: Connection, nids: Sequence[DeviceNid]) -> dict[DeviceNid, UserNid]:
    """Return whose devices these are."""
    query = sa.select(devices.c.nid, devices.c.user).where(devices.c.nid.in_(nids))
    return {DeviceNid(nid): UserNid(user) for nid, user in conn.execute(query)}
