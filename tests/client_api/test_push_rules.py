"""Push rules: https://spec.matrix.org/v1.19/client-server-api/#push-rules-api."""

from typing import Any

import pytest

from tests.support.world import User, ok, q, refused

RULES = "/pushrules/global"
MENTION = ".m.rule.is_user_mention"


async def ids(user: User, kind: str) -> list[str]:
    """The IDs of a user's rules of a kind, in order."""
    return [rule["rule_id"] for rule in ok(await user.get(f"{RULES}/"))[kind]]


async def own(user: User, kind: str) -> list[str]:
    return [rule_id for rule_id in await ids(user, kind) if not rule_id.startswith(".")]


async def test_a_new_user_has_the_predefined_rules(alice: User) -> None:
    rules = ok(await alice.get("/pushrules/"))["global"]
    assert [rule["rule_id"] for rule in rules["override"]] == [
        ".m.rule.master",
        ".m.rule.suppress_notices",
        ".m.rule.invite_for_me",
        ".m.rule.member_event",
        ".m.rule.is_user_mention",
        ".m.rule.is_room_mention",
        ".m.rule.tombstone",
        ".m.rule.reaction",
        ".m.rule.room.server_acl",
        ".m.rule.suppress_edits",
    ]
    assert [rule["rule_id"] for rule in rules["underride"]] == [
        ".m.rule.call",
        ".m.rule.encrypted_room_one_to_one",
        ".m.rule.room_one_to_one",
        ".m.rule.message",
        ".m.rule.encrypted",
    ]
    assert rules["content"] == rules["room"] == rules["sender"] == []
    assert rules["override"][0] == {
        "rule_id": ".m.rule.master", "default": True, "enabled": False, "actions": [], "conditions": [],
    }  # fmt: skip
    assert rules == ok(await alice.get(f"{RULES}/"))


async def test_predefined_rules_name_their_owner(alice: User, bob: User) -> None:
    for user in (alice, bob):
        rule = ok(await user.get(f"{RULES}/override/{MENTION}"))
        assert rule["conditions"][0]["value"] == user.user_id
        rule = ok(await user.get(f"{RULES}/override/.m.rule.invite_for_me"))
        assert rule["conditions"][2] == {"kind": "event_match", "key": "state_key", "pattern": user.user_id}


@pytest.mark.parametrize(
    ("kind", "rule_id", "body", "shown"),
    [
        ("content", "cake", {"pattern": "cake*lie", "actions": ["notify"]}, {"pattern": "cake*lie"}),
        ("room", "!dj234r78wl45Gh4D:matrix.org", {"actions": []}, {}),
        ("sender", "@spambot:matrix.org", {"actions": []}, {}),
        (
            "override", "beer",
            {"conditions": [{"kind": "room_member_count", "is": "<=10"}], "actions": ["notify"]},
            {"conditions": [{"kind": "room_member_count", "is": "<=10"}]},
        ),
        ("underride", "all", {"actions": ["notify", {"set_tweak": "sound", "value": "x"}]}, {"conditions": []}),
    ],
)  # fmt: skip
async def test_a_rule_is_made_read_and_deleted(
    alice: User, kind: str, rule_id: str, body: dict[str, Any], shown: dict[str, Any]
) -> None:
    path = f"{RULES}/{kind}/{q(rule_id)}"
    assert await alice.put(path, body) == (200, {})
    rule = {"rule_id": rule_id, "default": False, "enabled": True, "actions": body["actions"], **shown}
    assert ok(await alice.get(path)) == rule
    assert rule in ok(await alice.get(f"{RULES}/"))[kind]

    assert await alice.delete(path) == (200, {})
    refused(await alice.get(path), 404, "M_NOT_FOUND")
    refused(await alice.delete(path), 404, "M_NOT_FOUND")


async def test_rules_are_each_user_s_own(alice: User, bob: User) -> None:
    ok(await alice.put(f"{RULES}/content/cake", {"pattern": "cake", "actions": []}))
    refused(await bob.get(f"{RULES}/content/cake"), 404, "M_NOT_FOUND")


async def test_the_newest_rule_is_the_most_important(alice: User) -> None:
    for name in ("a", "b", "c"):
        ok(await alice.put(f"{RULES}/override/{name}", {"actions": []}))
    assert (await ids(alice, "override"))[:5] == [".m.rule.master", "c", "b", "a", ".m.rule.suppress_notices"]


async def test_rules_are_placed_before_and_after_others(alice: User) -> None:
    for name in ("a", "b", "c"):
        ok(await alice.put(f"{RULES}/sender/{name}", {"actions": []}))
    ok(await alice.put(f"{RULES}/sender/d", {"actions": []}, before="a"))
    assert await own(alice, "sender") == ["c", "b", "d", "a"]
    ok(await alice.put(f"{RULES}/sender/e", {"actions": []}, after="c"))
    assert await own(alice, "sender") == ["c", "e", "b", "d", "a"]
    ok(await alice.put(f"{RULES}/sender/f", {"actions": []}, before="b", after="a"))
    assert await own(alice, "sender") == ["c", "e", "f", "b", "d", "a"]
    ok(await alice.put(f"{RULES}/sender/c", {"actions": []}, after="a"))
    assert await own(alice, "sender") == ["e", "f", "b", "d", "a", "c"]


async def test_a_changed_rule_keeps_its_place_and_whether_it_is_on(alice: User) -> None:
    for name in ("a", "b"):
        ok(await alice.put(f"{RULES}/room/{name}", {"actions": []}))
    ok(await alice.put(f"{RULES}/room/a/enabled", {"enabled": False}))
    ok(await alice.put(f"{RULES}/room/a", {"actions": ["notify"]}))
    assert await own(alice, "room") == ["b", "a"]
    assert ok(await alice.get(f"{RULES}/room/a"))["enabled"] is False
    assert ok(await alice.get(f"{RULES}/room/a"))["actions"] == ["notify"]


@pytest.mark.parametrize("place", [{"before": "nothing"}, {"after": "nothing"}, {"before": ".m.rule.call"}])
async def test_a_rule_is_not_placed_beside_what_is_not_there(alice: User, place: dict[str, str]) -> None:
    refused(await alice.put(f"{RULES}/underride/x", {"actions": []}, **place), 400, "M_UNKNOWN")
    assert await own(alice, "underride") == []


async def test_rules_are_turned_on_and_off(alice: User) -> None:
    for path in (f"{RULES}/underride/.m.rule.message", f"{RULES}/content/cake"):
        if "cake" in path:
            ok(await alice.put(path, {"pattern": "cake", "actions": []}))
        assert ok(await alice.get(f"{path}/enabled")) == {"enabled": True}
        assert await alice.put(f"{path}/enabled", {"enabled": False}) == (200, {})
        assert ok(await alice.get(f"{path}/enabled")) == {"enabled": False}
        assert ok(await alice.get(path))["enabled"] is False


async def test_actions_are_changed_also_of_predefined_rules(alice: User) -> None:
    loud = ["notify", {"set_tweak": "sound", "value": "bing"}]
    for path in (f"{RULES}/underride/.m.rule.message", f"{RULES}/content/cake"):
        if "cake" in path:
            ok(await alice.put(path, {"pattern": "cake", "actions": []}))
        assert await alice.put(f"{path}/actions", {"actions": loud}) == (200, {})
        assert ok(await alice.get(f"{path}/actions")) == {"actions": loud}
        assert ok(await alice.get(path))["actions"] == loud
    ok(await alice.put(f"{RULES}/underride/.m.rule.message/enabled", {"enabled": False}))
    assert ok(await alice.get(f"{RULES}/underride/.m.rule.message"))["actions"] == loud


async def test_historical_actions_mean_nothing(alice: User) -> None:
    ok(await alice.put(f"{RULES}/room/a", {"actions": ["dont_notify"]}))
    assert ok(await alice.get(f"{RULES}/room/a/actions")) == {"actions": []}
    ok(await alice.put(f"{RULES}/room/a/actions", {"actions": ["coalesce", "notify"]}))
    assert ok(await alice.get(f"{RULES}/room/a/actions")) == {"actions": ["notify"]}


@pytest.mark.parametrize(
    ("path", "body", "errcode"),
    [
        ("override/.mine", {"actions": []}, "M_INVALID_PARAM"),
        ("override/.m.rule.master", {"actions": []}, "M_INVALID_PARAM"),
        ("override/a%2Fb", {"actions": []}, "M_INVALID_PARAM"),
        ("override/a%5Cb", {"actions": []}, "M_INVALID_PARAM"),
        ("override/" + "x" * 600, {"actions": []}, "M_INVALID_PARAM"),
        ("other/a", {"actions": []}, "M_INVALID_PARAM"),
        ("override/a", {}, "M_MISSING_PARAM"),
        ("override/a", {"actions": "notify"}, "M_BAD_JSON"),
        ("override/a", {"actions": [1]}, "M_BAD_JSON"),
        ("override/a", {"actions": [], "conditions": {}}, "M_BAD_JSON"),
        ("override/a", {"actions": [], "conditions": [{"key": "type"}]}, "M_MISSING_PARAM"),
        ("content/a", {"actions": []}, "M_MISSING_PARAM"),
        ("content/a", {"actions": [], "pattern": 5}, "M_BAD_JSON"),
        ("content/a", {"actions": [], "pattern": "a" * 2000}, "M_INVALID_PARAM"),
    ],
)
async def test_what_is_no_rule_is_refused(alice: User, path: str, body: dict[str, Any], errcode: str) -> None:
    refused(await alice.put(f"{RULES}/{path}", body), 400, errcode)


async def test_predefined_rules_cannot_be_deleted(alice: User) -> None:
    refused(await alice.delete(f"{RULES}/underride/.m.rule.message"), 400, "M_INVALID_PARAM")
    assert ".m.rule.message" in await ids(alice, "underride")


async def test_what_is_not_there_is_not_found(alice: User) -> None:
    for path in ("content/x", "content/x/enabled", "content/x/actions", "content/.m.rule.message"):
        refused(await alice.get(f"{RULES}/{path}"), 404, "M_NOT_FOUND")
    refused(await alice.put(f"{RULES}/content/x/enabled", {"enabled": True}), 404, "M_NOT_FOUND")
    refused(await alice.put(f"{RULES}/content/x/actions", {"actions": []}), 404, "M_NOT_FOUND")


async def test_patterns_that_must_be_searched_for_are_bounded_together(alice: User) -> None:
    for number in range(16):
        ok(await alice.put(f"{RULES}/content/{number}", {"pattern": "x" * 1000, "actions": []}))
    refused(await alice.put(f"{RULES}/content/more", {"pattern": "x" * 1000, "actions": []}), 413, "M_TOO_LARGE")
    muted = {"conditions": [{"kind": "event_match", "key": "room_id", "pattern": "!r:hs1"}], "actions": []}
    ok(await alice.put(f"{RULES}/override/room", muted))


async def test_changed_rules_come_with_the_next_sync(alice: User) -> None:
    first = await alice.syncs()
    assert "m.push_rules" in {event["type"] for event in first["account_data"]["events"]}
    ok(await alice.put(f"{RULES}/content/cake", {"pattern": "cake", "actions": []}))
    (event,) = (await alice.syncs())["account_data"]["events"]
    assert event["type"] == "m.push_rules"
    assert event["content"]["global"] == ok(await alice.get(f"{RULES}/"))


async def test_rules_decide_what_counts_as_unread(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob)
    await bob.joins(room)
    await bob.syncs()
    ok(await bob.put(f"{RULES}/room/{q(room)}", {"actions": []}))
    await alice.says(room, "hi")
    counts = (await bob.syncs())["rooms"]["join"][room]["unread_notifications"]
    assert counts == {"notification_count": 0, "highlight_count": 0}

    loud = {"pattern": "cake", "actions": ["notify", {"set_tweak": "highlight"}]}
    ok(await bob.put(f"{RULES}/content/cake", loud))
    await alice.says(room, "there is cake")
    counts = (await bob.syncs())["rooms"]["join"][room]["unread_notifications"]
    assert counts == {"notification_count": 1, "highlight_count": 1}
