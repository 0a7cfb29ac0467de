"""Transactions of clients are remembered for a day, and messages wait for devices within bounds."""

import pytest

from federation.core.ids import DeviceID, UserID
from homeserver.errors import InvalidParam
from homeserver.model.nids import DeviceNid, UserNid
from homeserver.services import once
from homeserver.storage import accounts, devices, to_device, transactions
from homeserver.storage.database import SqliteDatabase, Write
from homeserver.storage.database.postgres import PostgresDatabase
from homeserver.storage.names import Names

AnyDatabase = SqliteDatabase | PostgresDatabase
DAY_MS = 24 * 60 * 60 * 1000


async def two_devices(database: AnyDatabase) -> tuple[UserNid, DeviceNid, DeviceNid]:
    """A user with two devices."""

    def make(tx: Write) -> tuple[UserNid, DeviceNid, DeviceNid]:
        user = Names().intern_user(tx, UserID("@alice:hs1"))
        accounts.create(tx, user, admin=False, now=1)
        one, other = (devices.add(tx, user, DeviceID(name), None, 1) for name in ("ONE", "OTHER"))
        return user, one, other

    return await database.write(make)


async def test_a_transaction_is_known_by_device_scope_and_id(database: AnyDatabase) -> None:
    _, one, other = await two_devices(database)
    await database.write(lambda tx: once.remember(tx, one, "send a", "t1", None, 1))
    for device, scope, txn_id, done in (
        (one, "send a", "t1", True),
        (other, "send a", "t1", False),
        (one, "send b", "t1", False),
        (one, "send a", "t2", False),
    ):
        found = await database.read(lambda conn, asked=(device, scope, txn_id): once.is_done(conn, *asked))
        assert found is done
    assert await database.read(lambda conn: once.find(conn, one, "send a", "t1")) is None


@pytest.mark.parametrize("txn_id", ["", "x" * 256, "ü" * 128])
async def test_a_transaction_id_has_bounds(database: AnyDatabase, txn_id: str) -> None:
    with pytest.raises(InvalidParam):
        await database.read(lambda conn: once.find(conn, DeviceNid(1), "send a", txn_id))


async def test_a_transaction_is_forgotten_after_a_day(database: AnyDatabase) -> None:
    _, one, _ = await two_devices(database)
    now = 10 * DAY_MS
    await database.write(lambda tx: once.remember(tx, one, "send", "old", None, now - DAY_MS - 1))
    await database.write(lambda tx: once.remember(tx, one, "send", "new", None, now - DAY_MS + 1))
    await once.forget_old(database, now)
    assert await database.read(lambda conn: transactions.find(conn, one, "send", "old")) is None
    assert await database.read(lambda conn: transactions.find(conn, one, "send", "new")) == (None,)


async def test_of_too_many_messages_the_oldest_are_dropped(
    database: AnyDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(to_device, "MOST_WAITING", 3)
    user, one, other = await two_devices(database)

    def fill(tx: Write) -> None:
        to_device.add(tx, user, "m.x", [(one, b"%d" % number) for number in range(5)])
        to_device.add(tx, user, "m.x", [(other, b"%d" % number) for number in range(3)])

    await database.write(fill)
    assert await database.write(to_device.prune) == 2
    for device, left in ((one, [b"2", b"3", b"4"]), (other, [b"0", b"1", b"2"])):
        waiting = await database.read(lambda conn, asked=device: to_device.pending(conn, asked, 0, 1000, 100))
        assert [message.content for message in waiting] == left
    assert await database.write(to_device.prune) == 0


async def test_messages_are_read_up_to_a_position_and_acknowledged_up_to_one(database: AnyDatabase) -> None:
    user, one, _ = await two_devices(database)
    await database.write(lambda tx: to_device.add(tx, user, "m.x", [(one, b"%d" % number) for number in range(4)]))
    waiting = await database.read(lambda conn: to_device.pending(conn, one, 0, 1000, 100))
    places = [message.position for message in waiting]
    assert places == sorted(places)

    def contents(after: int, upto: int, limit: int = 100) -> list[bytes]:
        return [message.content for message in found(after, upto, limit)]

    def found(after: int, upto: int, limit: int) -> list[to_device.Waiting]:
        return [message for message in waiting if after < message.position <= upto][:limit]

    for after, upto, limit in ((places[0], places[2], 100), (0, places[3], 2)):
        read = await database.read(lambda conn, asked=(after, upto, limit): to_device.pending(conn, one, *asked))
        assert [message.content for message in read] == contents(after, upto, limit)

    assert await database.write(lambda tx: to_device.acknowledge(tx, one, places[1])) == 2
    left = await database.read(lambda conn: to_device.pending(conn, one, 0, 1000, 100))
    assert [message.content for message in left] == [b"2", b"3"]
    assert left[0].sender == "@alice:hs1"
