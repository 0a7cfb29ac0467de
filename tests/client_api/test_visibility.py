"""Who sees what of a room's past, at every endpoint that shows events.

Source: https://spec.matrix.org/v1.19/client-server-api/#room-history-visibility
"""

import pytest

from tests.support.reading import V1, bodies, event, history_visibility, ids, messages, relation, thread
from tests.support.world import User, World, ok, q, refused

pytestmark = pytest.mark.every_database

LIVES = {
    "never there": "first",
    "invited": "first invite invited",
    "declined": "first invite invited leave left",
    "joined": "first invite invited join joined",
    "left": "first invite invited join joined leave left",
    "kicked": "first invite invited join joined kick left",
    "banned": "first invite invited join joined ban left",
    "invited again": "first invite invited join joined leave left invite again",
    "rejoined": "first invite invited join joined leave left invite again join back",
}
"""What happens to Bob, between the messages that Alice sends."""

EVERYTHING = "first invited joined left again back"
SEEN = {
    "world_readable": dict.fromkeys(LIVES, EVERYTHING),
    "shared": {
        "joined": EVERYTHING,
        "left": "first invited joined",
        "kicked": "first invited joined",
        "banned": "first invited joined",
        "invited again": "first invited joined",
        "rejoined": EVERYTHING,
    },
    "invited": {
        "joined": "invited joined",
        "left": "invited joined",
        "kicked": "invited joined",
        "banned": "invited joined",
        "invited again": "invited joined",
        "rejoined": "invited joined again back",
    },
    "joined": {
        "joined": "joined",
        "left": "joined",
        "kicked": "joined",
        "banned": "joined",
        "invited again": "joined",
        "rejoined": "joined back",
    },
}
"""Which of the messages Bob may read; nothing at all where a life is missing."""


async def live(room: str, alice: User, bob: User, life: str) -> dict[str, str]:
    """Let a life happen; return the IDs of Alice's messages, each of which has a reply in a thread."""
    path, sent = f"/rooms/{q(room)}", {}
    for step in life.split():
        if step in ("invite", "kick", "ban"):
            ok(await alice.post(f"{path}/{step}", {"user_id": bob.user_id}))
        elif step in ("join", "leave"):
            ok(await bob.post(f"{path}/{step}"))
        else:
            sent[step] = await alice.says(room, step)
            await alice.says(room, f"reply to {step}", **thread(sent[step]))
    return sent


@pytest.mark.parametrize("life", LIVES)
@pytest.mark.parametrize("visibility", SEEN)
async def test_everyone_sees_what_the_visibility_grants_them(
    alice: User, bob: User, visibility: str, life: str
) -> None:
    room = await alice.creates_room()
    await history_visibility(alice, room, visibility)
    sent = await live(room, alice, bob, LIVES[life])
    path = f"/rooms/{q(room)}"
    seen = [name for name in SEEN[visibility].get(life, "").split() if name in sent]
    whole = [text for name in seen for text in (name, f"reply to {name}")]

    if not seen:
        for place in ("messages?dir=b", "messages?dir=f", "state", "members", f"context/{q(sent['first'])}"):
            refused(await bob.get(f"{path}/{place}"), 403, "M_FORBIDDEN")
        refused(await bob.get(f"{V1}{path}/threads"), 403, "M_FORBIDDEN")
        refused(await bob.get(f"{V1}{path}/timestamp_to_event", ts=0, dir="f"), 403, "M_FORBIDDEN")
    else:
        assert bodies((await messages(bob, room, "f"))["chunk"]) == whole
        assert bodies((await messages(bob, room, "b"))["chunk"]) == whole[::-1]
        threads = ok(await bob.get(f"{V1}{path}/threads"))["chunk"]
        assert bodies(threads) == seen[::-1]
        ok(await bob.get(f"{path}/state"))

    for name, event_id in sent.items():
        relations = await bob.get(f"{V1}{path}/relations/{q(event_id)}")
        if name in seen:
            assert (await event(bob, room, event_id))["content"]["body"] == name
            around = ok(await bob.get(f"{path}/context/{q(event_id)}", limit=100))
            shown = [*around["events_before"][::-1], around["event"], *around["events_after"]]
            assert bodies(shown) == whole
            assert bodies(ok(relations)["chunk"]) == [f"reply to {name}"]
        else:
            refused(await bob.get(f"{path}/event/{q(event_id)}"), 404, "M_NOT_FOUND")
            refused(relations, 404, "M_NOT_FOUND")
            if seen:
                refused(await bob.get(f"{path}/context/{q(event_id)}"), 404, "M_NOT_FOUND")
                ts = (await event(alice, room, event_id))["origin_server_ts"]
                for direction in "bf":
                    status, found = await bob.get(f"{V1}{path}/timestamp_to_event", ts=ts, dir=direction)
                    assert status == 404 or found["event_id"] != event_id


async def test_an_event_keeps_the_visibility_that_it_was_sent_under(alice: User, bob: User) -> None:
    room = await alice.creates_room(preset="public_chat")
    await history_visibility(alice, room, "joined")
    hidden = await alice.says(room, "hidden")
    await history_visibility(alice, room, "world_readable")
    open_to_all = await alice.says(room, "open")
    await history_visibility(alice, room, "joined")
    await alice.says(room, "hidden again")

    assert (await event(bob, room, open_to_all))["content"]["body"] == "open"
    refused(await bob.get(f"/rooms/{q(room)}/event/{q(hidden)}"), 404, "M_NOT_FOUND")
    refused(await bob.get(f"/rooms/{q(room)}/messages", dir="b"), 403, "M_FORBIDDEN")
    await bob.joins(room)
    assert bodies((await messages(bob, room))["chunk"]) == ["open"]


async def test_a_change_of_visibility_is_seen_if_either_side_of_it_would_be(alice: User, bob: User) -> None:
    room = await alice.creates_room(preset="public_chat")
    closed = await history_visibility(alice, room, "joined")
    opening = await history_visibility(alice, room, "world_readable")
    closing = await history_visibility(alice, room, "joined")
    still_closed = await history_visibility(alice, room, "invited")

    for event_id in (opening, closing):
        await event(bob, room, event_id)
    for event_id in (closed, still_closed):
        refused(await bob.get(f"/rooms/{q(room)}/event/{q(event_id)}"), 404, "M_NOT_FOUND")


async def test_a_value_that_nobody_knows_means_shared(alice: User, bob: User) -> None:
    room = await alice.creates_room(preset="public_chat")
    await history_visibility(alice, room, "com.example.some")
    await alice.says(room, "before")
    await bob.joins(room)

    assert bodies((await messages(bob, room))["chunk"]) == ["before"]


async def test_users_see_their_own_joining_and_leaving(alice: User, bob: User) -> None:
    room = await alice.creates_room()
    await history_visibility(alice, room, "joined")
    ok(await alice.post(f"/rooms/{q(room)}/invite", {"user_id": bob.user_id}))
    await bob.joins(room)
    ok(await bob.post(f"/rooms/{q(room)}/leave"))

    own = [each for each in (await messages(bob, room))["chunk"] if each.get("state_key") == bob.user_id]
    assert [each["content"]["membership"] for each in own] == ["leave", "join"]


async def test_what_is_before_hidden_history_is_found_without_paging_through_it(alice: User, bob: User) -> None:
    room = await alice.creates_room(preset="public_chat")
    await history_visibility(alice, room, "joined")
    await bob.joins(room)
    await alice.says(room, "long ago")
    ok(await bob.post(f"/rooms/{q(room)}/leave"))
    for number in range(30):
        await alice.says(room, f"hidden {number}")
    await bob.joins(room)

    page = await messages(bob, room, limit=3)
    assert bodies(page["chunk"]) == ["long ago"]


async def test_a_page_has_no_end_where_nothing_older_may_be_seen(alice: User, bob: User) -> None:
    room = await alice.creates_room(preset="public_chat")
    await history_visibility(alice, room, "joined")
    for number in range(30):
        await alice.says(room, f"hidden {number}")
    await bob.joins(room)
    await alice.says(room, "hello")

    page = await messages(bob, room, limit=10)
    assert bodies(page["chunk"]) == ["hello"]
    while "end" in page:
        page = await messages(bob, room, limit=10, start=page["end"])
        assert bodies(page["chunk"]) == []


async def test_whoever_forgot_a_room_sees_nothing_of_it(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob)
    await bob.joins(room)
    sent = await alice.says(room)
    ok(await bob.post(f"/rooms/{q(room)}/leave"))
    ok(await bob.post(f"/rooms/{q(room)}/forget"))

    refused(await bob.get(f"/rooms/{q(room)}/messages", dir="b"), 403, "M_FORBIDDEN")
    refused(await bob.get(f"/rooms/{q(room)}/event/{q(sent)}"), 404, "M_NOT_FOUND")


async def test_one_who_left_is_not_told_how_a_thread_went_on(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob)
    await bob.joins(room)
    root = await alice.says(room, "root")
    await bob.says(room, "mine", **thread(root))
    last = await alice.says(room, "the last that Bob sees", **thread(root))
    ok(await bob.post(f"/rooms/{q(room)}/leave"))
    await alice.says(room, "secret", **thread(root))
    await alice.sends(room, "m.reaction", relation("m.annotation", root, key="x"))

    summary = (await event(bob, room, root))["unsigned"]["m.relations"]["m.thread"]
    assert summary["latest_event"]["event_id"] == last
    assert (summary["count"], summary["current_user_participated"]) == (2, True)
    everything = (await event(alice, room, root))["unsigned"]["m.relations"]["m.thread"]
    assert everything["count"] == 3
    children = ok(await bob.get(f"{V1}/rooms/{q(room)}/relations/{q(root)}"))["chunk"]
    assert bodies(children) == ["the last that Bob sees", "mine"]


async def test_one_who_left_is_not_told_of_later_edits_and_redactions(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob)
    await bob.joins(room)
    edited, redacted = await alice.says(room, "edited"), await alice.says(room, "redacted")
    ok(await bob.post(f"/rooms/{q(room)}/leave"))
    new = {"m.new_content": {"msgtype": "m.text", "body": "secret"}, **relation("m.replace", edited)}
    await alice.says(room, "* secret", **new)
    await alice.redacts(room, redacted, "for a secret reason")

    assert "m.relations" not in (await event(bob, room, edited))["unsigned"]
    assert "redacted_because" not in (await event(bob, room, redacted))["unsigned"]
    assert "redacted_because" in (await event(alice, room, redacted))["unsigned"]


async def test_the_content_of_state_before_one_joined_is_not_told_with_what_replaced_it(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob, name="Secret plans")
    await history_visibility(alice, room, "joined")
    await alice.sets(room, "m.room.topic", {"topic": "secret"})
    await bob.joins(room)
    topic = await alice.sets(room, "m.room.topic", {"topic": "open"})

    for_bob, for_alice = await event(bob, room, topic), await event(alice, room, topic)
    assert "prev_content" not in for_bob["unsigned"]
    assert for_bob["unsigned"]["replaces_state"] == for_alice["unsigned"]["replaces_state"]
    assert for_alice["unsigned"]["prev_content"] == {"topic": "secret"}


async def test_ignored_users_are_not_heard_but_their_state_is_seen(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob, power_level_content_override={"state_default": 0})
    await bob.joins(room)
    said = await bob.says(room, "noise")
    topic = await bob.sets(room, "m.room.topic", {"topic": "noise"})
    ignored = {"ignored_users": {bob.user_id: {}}}
    ok(await alice.put(f"/user/{q(alice.user_id)}/account_data/m.ignored_user_list", ignored))

    chunk = (await messages(alice, room))["chunk"]
    assert said not in ids(chunk)
    assert topic in ids(chunk)
    refused(await alice.get(f"/rooms/{q(room)}/event/{q(said)}"), 404, "M_NOT_FOUND")


async def test_rooms_and_events_that_do_not_exist_look_like_those_one_may_not_see(world: World, alice: User) -> None:
    room, other = await alice.creates_room(), await alice.creates_room()
    elsewhere = await alice.says(other)
    for path in ("messages?dir=b", "state", "members", "joined_members", "context/$x", "state/m.room.name"):
        refused(await alice.get(f"/rooms/!nowhere:hs1/{path}"), 403, "M_FORBIDDEN")
    for event_id in ("$nothing", "nonsense", elsewhere):
        refused(await alice.get(f"/rooms/{q(room)}/event/{q(event_id)}"), 404, "M_NOT_FOUND")
        refused(await alice.get(f"/rooms/{q(room)}/context/{q(event_id)}"), 404, "M_NOT_FOUND")
        refused(await alice.get(f"{V1}/rooms/{q(room)}/relations/{q(event_id)}"), 404, "M_NOT_FOUND")
