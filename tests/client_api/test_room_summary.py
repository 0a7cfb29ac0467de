"""https://spec.matrix.org/v1.19/client-server-api/#room-summaries."""

from typing import Any

import pytest

from tests.support.world import User, World, ok, q, refused

V1 = "/_matrix/client/v1/room_summary/"
PROPOSED = "/_matrix/client/unstable/im.nheko.summary"


async def with_rule(alice: User, rule: str, *allowed: str, **body: Any) -> str:
    """Return a room of Alice's with a join rule."""
    content = {"join_rule": rule, "allow": [{"type": "m.room_membership", "room_id": room} for room in allowed]}
    return await alice.creates_room(initial_state=[{"type": "m.room.join_rules", "content": content}], **body)


async def test_a_summary_says_what_a_room_is_about(alice: User, bob: User) -> None:
    room = await alice.creates_room(
        preset="public_chat", name="The Pub", topic="Hours", room_alias_name="pub", room_version="11",
        initial_state=[{"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}],
    )  # fmt: skip

    expected = {
        "room_id": room, "name": "The Pub", "topic": "Hours", "canonical_alias": "#pub:hs1", "join_rule": "public",
        "num_joined_members": 1, "world_readable": False, "guest_can_join": False, "room_version": "11",
        "encryption": "m.megolm.v1.aes-sha2",
    }  # fmt: skip
    assert ok(await bob.get(V1 + q(room))) == {**expected, "membership": "leave"}
    assert ok(await alice.get(V1 + q("#pub:hs1"), via="hs1")) == {**expected, "membership": "join"}


@pytest.mark.parametrize("rule", ["public", "knock", "knock_restricted"])
async def test_a_room_that_one_can_join_or_knock_at_is_summarised_for_anyone(
    world: World, alice: User, rule: str
) -> None:
    room = await with_rule(alice, rule)

    summary = ok(await world.request("GET", V1 + q(room)))

    assert summary["join_rule"] == rule
    assert "membership" not in summary


@pytest.mark.parametrize("rule", ["invite", "restricted", "private"])
async def test_a_closed_room_is_as_one_that_is_not_there(world: World, alice: User, bob: User, rule: str) -> None:
    room = await with_rule(alice, rule)

    for answer in (await bob.get(V1 + q(room)), await world.request("GET", V1 + q(room))):
        refused(answer, 404, "M_NOT_FOUND")
    there = (await bob.get(V1 + q(room)))[1]["error"]
    absent = (await bob.get(V1 + q("!none:hs1")))[1]["error"]
    assert there.replace(room, "!none:hs1") == absent


async def test_a_room_that_the_world_may_read_is_summarised_for_anyone(world: World, alice: User) -> None:
    room = await with_rule(alice, "invite")
    await alice.sets(room, "m.room.history_visibility", {"history_visibility": "world_readable"})

    assert ok(await world.request("GET", V1 + q(room)))["world_readable"] is True


async def test_members_and_the_invited_see_a_closed_room(world: World, alice: User, bob: User) -> None:
    room = await alice.creates_room(bob)

    assert ok(await alice.get(V1 + q(room)))["membership"] == "join"
    assert ok(await bob.get(V1 + q(room)))["membership"] == "invite"
    ok(await bob.post(f"/rooms/{q(room)}/leave"))
    refused(await bob.get(V1 + q(room)), 404, "M_NOT_FOUND")


async def test_a_restricted_room_is_seen_by_those_who_may_join_it(world: World, alice: User, bob: User) -> None:
    hall, carol = await alice.creates_room(bob), await world.user("carol")
    await bob.joins(hall)
    room = await with_rule(alice, "restricted", hall)

    summary = ok(await bob.get(V1 + q(room)))

    assert (summary["join_rule"], summary["allowed_room_ids"]) == ("restricted", [hall])
    refused(await carol.get(V1 + q(room)), 404, "M_NOT_FOUND")


async def test_the_paths_of_the_proposal_answer_too(alice: User) -> None:
    room = await alice.creates_room(room_version="10")
    stable = ok(await alice.get(V1 + q(room)))

    for path in (f"{PROPOSED}/rooms/{q(room)}/summary", f"{PROPOSED}/summary/{q(room)}"):
        assert ok(await alice.get(path)) == {**stable, "im.nheko.summary.room_version": "10"}


@pytest.mark.parametrize(
    ("room", "status", "errcode"),
    [("#none:hs1", 404, "M_NOT_FOUND"), ("#a:elsewhere", 404, "M_NOT_FOUND"), ("room", 400, "M_INVALID_PARAM")],
)
async def test_what_is_no_room_has_no_summary(alice: User, room: str, status: int, errcode: str) -> None:
    refused(await alice.get(V1 + q(room)), status, errcode)


async def test_a_wrong_token_is_not_taken_for_none(world: World, alice: User) -> None:
    room = await alice.creates_room(preset="public_chat")

    refused(await world.request("GET", V1 + q(room), token="wrong"), 401, "M_UNKNOWN_TOKEN")
