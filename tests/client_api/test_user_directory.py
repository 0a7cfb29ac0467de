"""The user directory: https://spec.matrix.org/v1.19/client-server-api/#user-directory."""

from typing import Any

import pytest

from tests.support.world import User, World, ok, q, refused


async def found(user: User, term: str, **body: Any) -> list[str]:
    answer = ok(await user.post("/user_directory/search", {"search_term": term, **body}))
    return [result["user_id"] for result in answer["results"]]


async def named(world: World, name: str, display_name: str) -> User:
    user = await world.user(name)
    ok(await user.put(f"/profile/{q(user.user_id)}/displayname", {"displayname": display_name}))
    return user


@pytest.mark.parametrize(
    ("term", "matches"),
    [
        ("carol", True),
        ("CAROL", True),
        ("aro", True),
        ("@carol:hs1", True),
        ("@carol:", True),
        ("Örsted", True),
        ("ÖRSTED", True),
        ("maria ørsted", False),
        ("maria Örsted", True),
        ("sted mar", True),
        ("  maria  ", True),
        ("maria nobody", False),
        ("hs1", False),
        ("c%l", False),
        ("_arol", False),
        ("\\", False),
        ("", False),
        ("   ", False),
    ],
)
async def test_users_are_found_by_parts_of_their_id_and_name(world: World, term: str, matches: bool) -> None:
    alice = await world.user("alice")
    await named(world, "carol", "Maria Örsted")
    assert (await found(alice, term) == ["@carol:hs1"]) is matches


async def test_what_would_be_wildcards_stands_for_itself(world: World) -> None:
    alice = await world.user("alice")
    await named(world, "dave", "100% d_ve \\o/")
    await named(world, "erin", "1000 dive")
    for term in ("0%", "d_v", "\\o/"):
        assert await found(alice, term) == ["@dave:hs1"]


async def test_results_have_name_and_avatar_where_there_are_some(world: World) -> None:
    alice = await world.user("alice")
    carol = await named(world, "carol", "Maria")
    await world.user("carola")
    ok(await carol.put(f"/profile/{q(carol.user_id)}/avatar_url", {"avatar_url": "mxc://hs1/a"}))
    answer = ok(await alice.post("/user_directory/search", {"search_term": "carol"}))
    assert answer == {
        "limited": False,
        "results": [
            {"user_id": "@carol:hs1", "display_name": "Maria", "avatar_url": "mxc://hs1/a"},
            {"user_id": "@carola:hs1"},
        ],
    }


async def test_the_best_results_come_first(world: World) -> None:
    alice = await world.user("alice")
    await world.user("xbob")
    await world.user("bobby")
    await named(world, "robert", "Bob")
    await world.user("bob")
    assert await found(alice, "bob") == ["@robert:hs1", "@bob:hs1", "@bobby:hs1", "@xbob:hs1"]


async def test_results_are_limited_and_say_so(world: World) -> None:
    alice = await world.user("alice")
    for number in range(3):
        await world.user(f"carol{number}")
    answer = ok(await alice.post("/user_directory/search", {"search_term": "carol", "limit": 2}))
    assert (len(answer["results"]), answer["limited"]) == (2, True)
    answer = ok(await alice.post("/user_directory/search", {"search_term": "carol", "limit": 3}))
    assert (len(answer["results"]), answer["limited"]) == (3, False)
    answer = ok(await alice.post("/user_directory/search", {"search_term": "carol", "limit": 100_000}))
    assert len(answer["results"]) == 3


async def test_one_does_not_find_oneself(alice: User) -> None:
    assert await found(alice, "alice") == []


@pytest.mark.parametrize(
    ("body", "errcode"),
    [({}, "M_MISSING_PARAM"), ({"search_term": 5}, "M_BAD_JSON"), ({"search_term": "x", "limit": "2"}, "M_BAD_JSON")],
)
async def test_what_is_no_search_is_refused(alice: User, body: dict[str, Any], errcode: str) -> None:
    refused(await alice.post("/user_directory/search", body), 400, errcode)
