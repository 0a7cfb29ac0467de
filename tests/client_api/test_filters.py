"""Filters: https://spec.matrix.org/v1.19/client-server-api/#filtering."""

from typing import Any

import pytest

from tests.support.world import User, ok, q, refused


def path(user: User, filter_id: str | None = None) -> str:
    return f"/user/{q(user.user_id)}/filter" + (f"/{q(filter_id)}" if filter_id is not None else "")


FILTER = {
    "room": {"state": {"types": ["m.room.*"]}, "timeline": {"limit": 10, "not_senders": ["@spam:example.com"]}},
    "presence": {"types": ["m.presence"]},
    "event_format": "client",
    "event_fields": ["type", "content", "sender"],
    "org.example.unknown": 1,
}


async def test_a_filter_is_returned_as_it_was_defined(alice: User) -> None:
    filter_id = ok(await alice.post(path(alice), FILTER))["filter_id"]
    assert isinstance(filter_id, str)
    assert not filter_id.startswith("{")
    assert await alice.get(path(alice, filter_id)) == (200, FILTER)


async def test_equal_filters_are_one(alice: User, bob: User) -> None:
    first = ok(await alice.post(path(alice), FILTER))
    again = ok(await alice.post(path(alice), dict(reversed(FILTER.items()))))
    other = ok(await alice.post(path(alice), {}))
    assert first == again != other
    refused(await bob.get(path(bob, first["filter_id"])), 404, "M_NOT_FOUND")


async def test_the_oldest_of_very_many_filters_is_forgotten(alice: User) -> None:
    def numbered(number: int) -> dict[str, Any]:
        return {"room": {"timeline": {"limit": number}}}

    made = [ok(await alice.post(path(alice), numbered(number)))["filter_id"] for number in range(1, 502)]
    assert len(set(made)) == 501
    refused(await alice.get(path(alice, made[0])), 404, "M_NOT_FOUND")
    assert await alice.get(path(alice, made[1])) == (200, numbered(2))
    assert await alice.get(path(alice, made[-1])) == (200, numbered(501))


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"room": {"timeline": {"types": "m.room.message"}}}, "room.timeline.types"),
        ({"room": {"timeline": {"limit": -5}}}, "room.timeline.limit"),
        ({"room": {"rooms": ["room"]}}, "room"),
        ({"event_format": "raw"}, "event_format"),
        ({"presence": []}, "presence"),
    ],
)
async def test_what_is_no_filter_is_refused(alice: User, body: dict[str, Any], field: str) -> None:
    assert field in refused(await alice.post(path(alice), body), 400, "M_BAD_JSON")["error"]


@pytest.mark.parametrize("filter_id", ["0", "-1", "x", "99999999999999999999", "%E2%82%AC", "²"])
async def test_an_unknown_filter_is_not_found(alice: User, filter_id: str) -> None:
    refused(await alice.get(path(alice, filter_id)), 404, "M_NOT_FOUND")


async def test_filters_of_others_are_out_of_reach(alice: User, bob: User) -> None:
    filter_id = ok(await alice.post(path(alice), FILTER))["filter_id"]
    refused(await bob.get(path(alice, filter_id)), 403, "M_FORBIDDEN")
    refused(await bob.post(path(alice), {}), 403, "M_FORBIDDEN")


async def test_a_filter_has_a_largest_size(alice: User) -> None:
    refused(await alice.post(path(alice), {"event_fields": ["x" * 70_000]}), 413, "M_TOO_LARGE")


async def test_sync_takes_a_filter_by_its_id(alice: User) -> None:
    room = await alice.creates_room()
    said = await alice.says(room)
    await alice.sends(room, "org.example", {})
    body = {"room": {"timeline": {"types": ["m.room.message"]}}}
    filter_id = ok(await alice.post(path(alice), body))["filter_id"]
    answer = await alice.syncs(filter=filter_id)
    assert [event["event_id"] for event in answer["rooms"]["join"][room]["timeline"]["events"]] == [said]
