"""The servers to which this one sends, as administrators see them."""

from pathlib import Path

import pytest

from federation.core.ids import EventID, ServerName
from homeserver.services.outgoing import Outgoing
from homeserver.storage.database import Write
from tests.support.clock import MovableClock
from tests.support.people import administrator
from tests.support.waiting import until
from tests.support.world import User, World, ok, q, refused

PATH = "/_synapse/admin/v1/federation/destinations"
GONE, OTHER = ServerName("localhost:1"), ServerName("localhost:2")
"""Nobody listens there, and requests to private addresses are refused anyway."""


@pytest.fixture
async def root(world: World) -> User:
    """An administrator, of a server that has something to send to two servers that are gone."""
    user = await administrator(world)
    await send(world, user, GONE, OTHER)
    await until(lambda: all(resting(outgoing(world), server) for server in (GONE, OTHER)))
    await outgoing(world)._stored.close()
    return user


def outgoing(world: World) -> Outgoing:
    return world.app.services.outgoing


def resting(sender: Outgoing, server: ServerName) -> bool:
    queue = sender.queue(server)
    return queue is not None and queue.backoff is not None and not queue.working


async def send(world: World, user: User, *to: ServerName) -> None:
    """Send an event to servers."""
    said = EventID(await user.says(await user.creates_room()))
    events = world.app.services.rooms.timeline.events

    def deliver(tx: Write) -> None:
        event = events.by_id(tx.conn, said)
        assert event is not None
        outgoing(world).deliver(tx, event, frozenset(to))

    await world.app.db.write(deliver)


async def test_who_is_no_administrator_sees_nothing(alice: User) -> None:
    for path in ("", "/localhost:1", "/localhost:1/rooms", "/localhost:1/block"):
        refused(await alice.get(PATH + path), 403, "M_FORBIDDEN")
    refused(await alice.post(f"{PATH}/localhost:1/reset_connection"), 403, "M_FORBIDDEN")
    refused(await alice.put(f"{PATH}/localhost:1/block", {"block": True}), 403, "M_FORBIDDEN")


async def test_servers_that_fail_are_listed(root: User) -> None:
    listed = ok(await root.get(PATH))
    assert listed["total"] == 2
    first, second = listed["destinations"]
    assert (first["destination"], second["destination"]) == (GONE, OTHER)
    assert first["failure_ts"] <= first["retry_last_ts"]
    assert first["retry_interval"] > 0
    assert isinstance(first["last_successful_stream_ordering"], int)
    assert first["blocked"] is False
    assert "localhost" in first["error"]

    one = ok(await root.get(f"{PATH}/{q(GONE)}"))
    assert one == {**first, "waiting": 1}
    refused(await root.get(f"{PATH}/never.example"), 404, "M_NOT_FOUND")
    refused(await root.get(f"{PATH}/{q('not a name')}"), 400, "M_INVALID_PARAM")


async def test_the_list_comes_in_parts_ordered_and_searched(root: User) -> None:
    part = ok(await root.get(PATH, limit=1))
    assert [one["destination"] for one in part["destinations"]] == [GONE]
    rest = ok(await root.get(PATH, **{"from": part["next_token"], "limit": 1}))
    assert [one["destination"] for one in rest["destinations"]] == [OTHER]
    assert "next_token" not in rest
    backwards = ok(await root.get(PATH, dir="b"))["destinations"]
    assert [one["destination"] for one in backwards] == [OTHER, GONE]
    assert ok(await root.get(PATH, destination="t:2"))["total"] == 1
    assert ok(await root.get(PATH, destination="%"))["total"] == 0
    for order in ("retry_last_ts", "retry_interval", "failure_ts", "last_successful_stream_ordering"):
        assert ok(await root.get(PATH, order_by=order))["total"] == 2
    for wrong in ({"order_by": "name"}, {"limit": -1}, {"limit": 5000}, {"from": -1}, {"dir": "x"}, {"limit": "x"}):
        refused(await root.get(PATH, **wrong), 400, "M_INVALID_PARAM")


async def test_the_rooms_shared_with_a_server_are_listed(root: User) -> None:
    assert ok(await root.get(f"{PATH}/{q(GONE)}/rooms")) == {"rooms": [], "total": 0}
    refused(await root.get(f"{PATH}/never.example/rooms"), 404, "M_NOT_FOUND")


async def test_a_server_is_tried_again(world: World, root: User) -> None:
    before = outgoing(world).queue(GONE)
    assert before is not None
    assert before.backoff is not None
    tried_at = before.backoff.tried_at
    assert ok(await root.post(f"{PATH}/{q(GONE)}/reset_connection")) == {}
    await until(lambda: resting(outgoing(world), GONE) and before.backoff and before.backoff.tried_at > tried_at)
    refused(await root.post(f"{PATH}/never.example/reset_connection"), 404, "M_NOT_FOUND")


async def test_a_server_is_blocked_and_unblocked(world: World, root: User) -> None:
    assert ok(await root.get(f"{PATH}/{q(GONE)}/block")) == {"block": False}
    assert ok(await root.put(f"{PATH}/{q(GONE)}/block", {"block": True})) == {"block": True}
    assert ok(await root.get(f"{PATH}/{q(GONE)}/block")) == {"block": True}
    assert ok(await root.get(f"{PATH}/{q(GONE)}"))["blocked"] is True
    refused(await root.post(f"{PATH}/never.example/reset_connection"), 404, "M_NOT_FOUND")
    ok(await root.put(f"{PATH}/{q(GONE)}/block", {"block": False}))
    assert ok(await root.get(f"{PATH}/{q(GONE)}/block")) == {"block": False}
    # Also one to which nothing was sent yet.
    ok(await root.put(f"{PATH}/new.example/block", {"block": True}))
    refused(await root.post(f"{PATH}/new.example/reset_connection"), 400, "M_UNKNOWN")


async def test_the_metrics_count_servers_by_condition_and_name_those_that_fail(world: World, root: User) -> None:
    ok(await root.put(f"{PATH}/{q(OTHER)}/block", {"block": True}))
    page = world.app.metrics.page().decode()
    assert 'isthmus_federation_destinations{condition="failing"} 1.0' in page
    assert 'isthmus_federation_destinations{condition="blocked"} 1.0' in page
    assert f'isthmus_federation_destination_failing_seconds{{destination="{GONE}"}}' in page
    assert 'isthmus_federation_transactions_total{outcome="taken"} 0.0' in page


async def test_the_names_in_the_metrics_are_few(world: World, root: User) -> None:
    await send(world, root, *[ServerName(f"localhost:{port}") for port in range(3, 40)])
    sender = outgoing(world)
    await until(lambda: sum(queue.backoff is not None for queue in sender.queues) == 39)
    page = world.app.metrics.page().decode()
    assert page.count("isthmus_federation_destination_failing_seconds{") == 10
    assert 'isthmus_federation_destinations{condition="failing"} 39.0' in page


async def test_what_is_blocked_in_the_configuration_cannot_be_unblocked(database_url: str, tmp_path: Path) -> None:
    async with World.start(
        database_url, tmp_path, clock=MovableClock(), FEDERATION__BLOCKED_DESTINATIONS="bad.example"
    ) as world:  # fmt: skip
        root = await administrator(world)
        assert ok(await root.get(f"{PATH}/bad.example/block")) == {"block": True}
        refused(await root.put(f"{PATH}/bad.example/block", {"block": False}), 400, "M_INVALID_PARAM")
