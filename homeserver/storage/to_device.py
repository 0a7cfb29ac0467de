"""Messages that wait for devices: https://spec.matrix.org/v1.19/client-server-api/#send-to-device-messaging."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection

from federation.core.ids import DeviceID, ServerName, UserID
from homeserver.model.nids import DeviceNid, UserNid
from homeserver.storage.database import Write, upsert
from homeserver.storage.schema.accounts import devices, users
from homeserver.storage.schema.delivery import to_device
from homeserver.storage.schema.encryption import received_messages

USERS_IN_A_QUERY = 5000
MOST_WAITING = 50_000
"""Messages that wait for one device; of more, the oldest are dropped."""
RECEIVED_MS = 7 * 24 * 60 * 60 * 1000
"""For so long a message of another server is known again."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message that its device has not acknowledged."""

    position: int
    sender: UserID
    type: str
    content: bytes


def add(tx: Write, sender: UserNid, message_type: str, messages: Iterable[tuple[DeviceNid, bytes]]) -> int | None:
    """Let messages wait for their devices; return the position of the last one, or None if there were none."""
    rows = [
        {"position": tx.position(), "device": device, "sender": sender, "type": message_type, "content": content}
        for device, content in messages
    ]
    if not rows:
        return None
    tx.conn.execute(_INSERT, rows)
    position: int = rows[-1]["position"]  # type: ignore[assignment]
    return position


def pending(conn: Connection, device: DeviceNid, after: int, upto: int, limit: int) -> list[Waiting]:
    """Return the messages that wait for a device after one position and not after the other, oldest first."""
    rows = conn.execute(_PENDING, {"of_device": device, "after": after, "upto": upto, "most": limit})
    return [Waiting(*row) for row in rows]


def acknowledge(tx: Write, device: DeviceNid, upto: int) -> int:
    """Forget the messages up to a position, which the device has taken; return how many there were."""
    return tx.conn.execute(_ACKNOWLEDGE, {"of_device": device, "upto": upto}).rowcount


def devices_of(
    conn: Connection, wanted: Collection[UserID]
) -> Mapping[UserID, tuple[UserNid, dict[DeviceID, DeviceNid]]]:
    """Return the devices of those of the users who have any here."""
    found: dict[UserID, tuple[UserNid, dict[DeviceID, DeviceNid]]] = {}
    names = list(wanted)
    query = sa.select(users.c.user_id, devices.c.user, devices.c.device_id, devices.c.nid).join(
        users, users.c.nid == devices.c.user
    )
    for start in range(0, len(names), USERS_IN_A_QUERY):
        part = names[start : start + USERS_IN_A_QUERY]
        for user_id, user, device_id, device in conn.execute(query.where(users.c.user_id.in_(part))):
            found.setdefault(user_id, (UserNid(user), {}))[1][device_id] = DeviceNid(device)
    return found


def receive(tx: Write, origin: ServerName, message_id: str, now: int) -> bool:
    """Note a message of another server; return whether it is new."""
    insert = upsert(tx.conn, received_messages).values(origin=origin, message_id=message_id, received_at=now)
    return tx.conn.execute(insert.on_conflict_do_nothing()).rowcount == 1


def prune_received(tx: Write, now: int) -> int:
    """Forget which messages came long ago; return how many."""
    old = received_messages.delete().where(received_messages.c.received_at < now - RECEIVED_MS)
    return tx.conn.execute(old).rowcount


def prune(tx: Write) -> int:
    """Drop the oldest messages of devices for which too many wait; return how many were dropped."""
    crowded = sa.select(to_device.c.device).group_by(to_device.c.device).having(sa.func.count() > MOST_WAITING)
    dropped = 0
    for device in tx.conn.execute(crowded).scalars().all():
        newest = (
            sa.select(to_device.c.position)
            .where(to_device.c.device == device)
            .order_by(to_device.c.position.desc())
            .offset(MOST_WAITING)
            .limit(1)
        )
        last = tx.conn.execute(newest).scalar_one()
        dropped += acknowledge(tx, DeviceNid(device), last)
    return dropped


_INSERT = to_device.insert()
_PENDING = (
    sa.select(to_device.c.position, users.c.user_id, to_device.c.type, to_device.c.content)
    .join(users, users.c.nid == to_device.c.sender)
    .where(
        to_device.c.device == sa.bindparam("of_device"),
        to_device.c.position > sa.bindparam("after"),
        to_device.c.position <= sa.bindparam("upto"),
    )
    .order_by(to_device.c.position)
    .limit(sa.bindparam("most"))
)
_ACKNOWLEDGE = to_device.delete().where(
    to_device.c.device == sa.bindparam("of_device"), to_device.c.position <= sa.bindparam("upto")
)
