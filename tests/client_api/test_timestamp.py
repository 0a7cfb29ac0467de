"""Finding events by time.

Source: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidtimestamp_to_event
"""

from typing import Any

import pytest

from tests.support.reading import V1, event, history_visibility, ids, messages
from tests.support.world import User, ok, q, refused


async def nearest(user: User, room: str, ts: int, direction: str) -> Any:
    """Return an answer of /timestamp_to_event."""
    return ok(await user.get(f"{V1}/rooms/{q(room)}/timestamp_to_event", ts=ts, dir=direction))


async def test_the_nearest_event_is_found_in_either_direction(alice: User) -> None:
    room = await alice.creates_room()
    said = await alice.says(room)
    ts = (await event(alice, room, said))["origin_server_ts"]
    whole = (await messages(alice, room, "f"))["chunk"]

    assert await nearest(alice, room, 0, "f") == {
        "event_id": whole[0]["event_id"], "origin_server_ts": whole[0]["origin_server_ts"],
    }  # fmt: skip
    assert (await nearest(alice, room, ts + 1000, "b"))["event_id"] == said
    assert (await nearest(alice, room, ts, "b"))["event_id"] == said
    assert (await nearest(alice, room, ts, "f"))["origin_server_ts"] == ts


async def test_nothing_before_the_beginning_or_after_the_end_is_found(alice: User) -> None:
    room = await alice.creates_room()
    for ts, direction in ((0, "b"), (2**53, "f"), (-(2**53), "b")):
        path = f"{V1}/rooms/{q(room)}/timestamp_to_event"
        refused(await alice.get(path, ts=ts, dir=direction), 404, "M_NOT_FOUND")


async def test_only_events_that_one_may_see_are_found(alice: User, bob: User) -> None:
    room = await alice.creates_room(preset="public_chat")
    await history_visibility(alice, room, "joined")
    for number in range(3):
        await alice.says(room, str(number))
    await bob.joins(room)

    found = await nearest(bob, room, 0, "f")
    assert found["event_id"] == ids((await messages(bob, room, "f"))["chunk"])[0]


@pytest.mark.parametrize(
    "query", [{"ts": "x", "dir": "f"}, {"ts": 1, "dir": "x"}, {"ts": 2**64, "dir": "f"}, {"ts": 1}, {"dir": "f"}]
)
async def test_a_wrong_parameter_is_refused(alice: User, query: dict[str, Any]) -> None:
    room = await alice.creates_room()
    status, error = await alice.get(f"{V1}/rooms/{q(room)}/timestamp_to_event", **query)
    assert status == 400
    assert error["errcode"] in ("M_INVALID_PARAM", "M_MISSING_PARAM")
