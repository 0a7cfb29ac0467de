"""Events that come without their history: auth chains, states that others give, the past, early redactions."""

import pytest

from federation.core.auth.receipt import VerdictKind
from homeserver.model.events import Status
from tests.support.intake import Guest
from tests.support.rooms import ALICE, BOB, CAROL, Room
from tests.support.world import User, World, ok, q


@pytest.fixture
async def guest(world: World, alice: User) -> Guest:
    """A user of ours in a room of version 11 of two others."""
    return await Guest.join(world, alice, "11", [BOB])


async def _pages(user: User, room_id: str, direction: str = "b") -> list[str]:
    """Return the IDs of all events that paging finds."""
    found: list[str] = []
    query = {"dir": direction, "limit": 3}
    while True:
        page = ok(await user.get(f"/rooms/{q(room_id)}/messages", **query))
        found += [event["event_id"] for event in page["chunk"]]
        if "end" not in page:
            return found
        query["from"] = page["end"]


# Outliers


async def test_outliers_come_in_any_order_and_are_judged_by_one_another(guest: Guest) -> None:
    branch = guest.room.fork()
    joins = branch.joins(CAROL)
    branch.levels(ALICE, {CAROL: 100})
    topic = branch.sets(CAROL, "m.room.topic", {"topic": "hers"})
    refused = branch.sets(BOB, "m.room.name", {"name": "his"})
    chain = [branch.events[event_id] for event_id in topic.auth_events]
    verdicts = await guest.keep_apart(topic, refused, *reversed(chain), joins)
    assert verdicts[topic.event_id] is VerdictKind.ACCEPTED
    assert verdicts[refused.event_id] is VerdictKind.REJECTED
    stored = await guest.stored(topic.event_id)
    assert stored.status is Status.OUTLIER
    assert stored.place is None
    assert (await guest.stored(refused.event_id)).status is Status.REJECTED
    assert await guest.extremities() == {guest.room.heads[0]}


async def test_an_outlier_without_its_auth_events_is_dropped(guest: Guest) -> None:
    branch = guest.room.fork()
    branch.joins(CAROL)
    topic = branch.says(CAROL)
    assert await guest.keep_apart(topic) == {topic.event_id: VerdictKind.DROPPED}


async def test_what_was_rejected_apart_is_not_resurrected(guest: Guest) -> None:
    event = guest.room.sets(BOB, "m.room.topic", {"topic": "mine"})
    assert await guest.keep_apart(event) == {event.event_id: VerdictKind.REJECTED}
    assert await guest.take(event) is VerdictKind.REJECTED


async def test_an_outlier_that_comes_at_last_is_shown_at_the_time_that_it_comes(guest: Guest) -> None:
    topic = guest.room.sets(ALICE, "m.room.topic", {"topic": "it"})
    message = guest.room.says(BOB)
    await guest.keep_apart(topic)
    nid = (await guest.stored(topic.event_id)).nid
    assert await guest.take(message, state_before=dict(guest.room.state)) is VerdictKind.ACCEPTED
    await guest.user.syncs()
    assert await guest.take(topic) is VerdictKind.ACCEPTED
    assert [event["event_id"] for event in await guest.news()] == [topic.event_id]
    assert (await guest.stored(topic.event_id)).nid == nid


async def test_state_that_was_told_without_its_event_is_in_the_next_sync(guest: Guest) -> None:
    await guest.user.syncs()
    topic = guest.room.sets(ALICE, "m.room.topic", {"topic": "it"})
    message = guest.room.says(BOB)
    await guest.keep_apart(topic)
    await guest.take(message, state_before=dict(guest.room.state))
    joined = (await guest.user.syncs())["rooms"]["join"][guest.room_id]
    assert [event["event_id"] for event in joined["timeline"]["events"]] == [message.event_id]
    assert topic.event_id in [event["event_id"] for event in joined["state"]["events"]]


async def test_what_no_database_can_hold_is_dropped(guest: Guest) -> None:
    for event in (
        guest.room.send(BOB, "m.ro\0om", {}),
        guest.room.send(ALICE, "m.room.topic", {"topic": "x"}, "\0"),
    ):
        assert await guest.take(event) is VerdictKind.DROPPED


async def test_a_time_that_no_database_can_hold_is_none(world: World, alice: User) -> None:
    guest = await Guest.join(world, alice, "5", [BOB])
    assert await guest.take(guest.room.says(BOB, ts=2**63)) is VerdictKind.DROPPED


async def test_events_of_other_rooms_are_dropped(guest: Guest) -> None:
    other = Room.public("12")
    assert await guest.take(other.says(ALICE)) is VerdictKind.DROPPED


async def test_a_room_is_not_created_twice(guest: Guest) -> None:
    again = Room.begin("11", ALICE)
    again.events.update(guest.room.events)
    second = again.send(ALICE, "m.room.create", {"room_version": "11", "again": True}, "", prev=[])
    assert await guest.take(second) is VerdictKind.REJECTED
    assert await guest.state("m.room.create") == {"room_version": "11"}


# The past


async def test_the_past_comes_before_everything_and_is_paged_through(guest: Guest) -> None:
    past = [event for event in guest.room.events.values() if event.event_id != guest.room.heads[0]]
    await guest.fetch_past(past)
    order = [*(event.event_id for event in past), guest.room.heads[0]]
    assert await _pages(guest.user, guest.room_id) == order[::-1]
    assert await _pages(guest.user, guest.room_id, "f") == order
    assert await guest.awaited() == set()


async def test_an_outlier_keeps_its_number_when_it_gets_its_place_in_the_past(guest: Guest) -> None:
    create = guest.room.create.event_id
    nid = (await guest.stored(create)).nid
    await guest.fetch_past([event for event in guest.room.events.values() if event.event_id != guest.room.heads[0]])
    stored = await guest.stored(create)
    assert stored.nid == nid
    assert stored.place is not None
    assert stored.place < 0
    assert stored.status is Status.ACCEPTED


async def test_the_past_is_no_news(guest: Guest) -> None:
    await guest.user.syncs()
    await guest.fetch_past([event for event in guest.room.events.values() if event.event_id != guest.room.heads[0]])
    assert await guest.news() == []
    assert await guest.state("m.room.join_rules") == {"join_rule": "public"}


async def test_context_and_timestamps_find_the_past(guest: Guest) -> None:
    past = [event for event in guest.room.events.values() if event.event_id != guest.room.heads[0]]
    await guest.fetch_past(past)
    path = f"/rooms/{q(guest.room_id)}"
    around = ok(await guest.user.get(f"{path}/context/{q(past[2].event_id)}", limit=4))
    assert [event["event_id"] for event in around["events_before"]] == [past[1].event_id, past[0].event_id]
    assert [event["event_id"] for event in around["events_after"]] == [past[3].event_id, past[4].event_id]
    found = ok(
        await guest.user.get(
            f"/_matrix/client/v1/rooms/{q(guest.room_id)}/timestamp_to_event", ts=past[0].origin_server_ts, dir="f"
        )
    )
    assert found["event_id"] == past[0].event_id


async def test_the_past_comes_in_several_steps_each_before_the_one_before(world: World, alice: User) -> None:
    room = Room.public("12", joined=[BOB])
    said = [room.says(BOB, f"{number}") for number in range(6)]
    guest = await Guest.enter(world, alice, room)
    state = dict(room.state)
    state.pop(("m.room.member", alice.user_id))
    await guest.fetch_past(said[3:], {said[3].event_id: state})
    assert await guest.awaited() == {said[2].event_id}
    await guest.fetch_past(said[:3], {said[0].event_id: state})
    wanted = [event.event_id for event in said]
    assert [each for each in await _pages(alice, guest.room_id, "f") if each in wanted] == wanted


# Redactions


async def test_a_redaction_redacts(guest: Guest) -> None:
    message = guest.room.says(BOB)
    await guest.takes(message, guest.room.send(BOB, "m.room.redaction", {"redacts": message.event_id}))
    shown = ok(await guest.user.get(f"/rooms/{q(guest.room_id)}/event/{q(message.event_id)}"))
    assert shown["content"] == {}


async def test_a_redaction_by_someone_who_may_not_is_not_shown(guest: Guest) -> None:
    message = guest.room.says(ALICE)
    redaction = guest.room.send(BOB, "m.room.redaction", {"redacts": message.event_id})
    await guest.user.syncs()
    await guest.takes(message, redaction)
    (shown,) = await guest.news()
    assert shown["content"]["body"] == "hi"
    assert await guest.extremities() == {redaction.event_id}


async def test_a_redaction_waits_for_what_it_redacts(guest: Guest) -> None:
    branch = guest.room.fork()
    message = branch.says(BOB)
    redaction = guest.room.send(BOB, "m.room.redaction", {"redacts": message.event_id})
    await guest.user.syncs()
    await guest.takes(redaction)
    assert await guest.news() == []
    assert await guest.awaited() >= {message.event_id}
    await guest.takes(message)
    told = await guest.news()
    assert [event["event_id"] for event in told] == [message.event_id, redaction.event_id]
    assert told[0]["content"] == {}


async def test_a_redaction_that_waited_in_vain_is_never_shown(guest: Guest) -> None:
    branch = guest.room.fork()
    message = branch.says(ALICE)
    redaction = guest.room.send(BOB, "m.room.redaction", {"redacts": message.event_id})
    await guest.user.syncs()
    await guest.takes(redaction, message)
    assert [event["event_id"] for event in await guest.news()] == [message.event_id]


async def test_until_version_3_the_rules_decide_on_redactions(world: World, alice: User) -> None:
    guest = await Guest.join(world, alice, "2", [BOB])
    message = guest.room.says(ALICE)
    await guest.takes(message)
    redaction = guest.room.send(BOB, "m.room.redaction", {}, redacts=message.event_id)
    assert await guest.take(redaction) is VerdictKind.REJECTED
    await guest.takes(
        guest.room.fork().send(ALICE, "m.room.redaction", {}, redacts=message.event_id, prev=[message.event_id])
    )
    shown = ok(await alice.get(f"/rooms/{q(guest.room_id)}/event/{q(message.event_id)}"))
    assert shown["content"] == {}


# What follows for users of ours


async def test_messages_of_others_are_counted_and_highlighted(guest: Guest) -> None:
    await guest.user.syncs()
    mention = {"msgtype": "m.text", "body": "you", "m.mentions": {"user_ids": [guest.user.user_id]}}
    await guest.takes(guest.room.says(BOB), guest.room.send(BOB, "m.room.message", mention))
    joined = (await guest.user.syncs())["rooms"]["join"][guest.room_id]
    assert joined["unread_notifications"] == {"highlight_count": 1, "notification_count": 2}


async def test_reactions_and_edits_of_others_relate(guest: Guest) -> None:
    message = guest.room.says(BOB)
    edit = {
        "body": "* new", "msgtype": "m.text", "m.new_content": {"body": "new", "msgtype": "m.text"},
        "m.relates_to": {"rel_type": "m.replace", "event_id": message.event_id},
    }  # fmt: skip
    edited = guest.room.send(BOB, "m.room.message", edit)
    await guest.takes(message, edited)
    shown = ok(await guest.user.get(f"/rooms/{q(guest.room_id)}/event/{q(message.event_id)}"))
    assert shown["unsigned"]["m.relations"]["m.replace"]["event_id"] == edited.event_id


async def test_who_is_kicked_by_another_server_is_out(guest: Guest) -> None:
    await guest.user.syncs()
    await guest.takes(guest.room.member(ALICE, guest.user.user_id, "leave"))
    answer = await guest.user.syncs()
    assert guest.room_id in answer["rooms"]["leave"]
    assert await guest.servers() == {"a.example", "b.example"}
    status, _ = await guest.user.put(f"/rooms/{q(guest.room_id)}/send/m.room.message/1", {"body": "x"})
    assert status == 403


async def test_a_room_that_was_left_is_joined_again(guest: Guest) -> None:
    await guest.takes(guest.room.member(ALICE, guest.user.user_id, "leave"))
    guest.room.sets(ALICE, "m.room.topic", {"topic": "since then"})
    guest.room.member(ALICE, BOB, "ban")
    await guest.user.syncs()
    before = await guest.servers()
    again = await Guest.enter(guest.world, guest.user, guest.room)
    assert again.nid == guest.nid
    assert before == {"a.example", "b.example"}
    assert await guest.servers() == {"a.example", "hs1"}
    joined = (await guest.user.syncs())["rooms"]["join"][guest.room_id]
    state = {(event["type"], event["state_key"]): event["content"] for event in joined["state"]["events"]}
    assert state["m.room.topic", ""] == {"topic": "since then"}
    assert state["m.room.member", BOB]["membership"] == "ban"
    assert joined["summary"]["m.joined_member_count"] == 2


async def test_a_join_that_the_room_does_not_allow_leaves_nothing_behind(world: World, alice: User) -> None:
    room = Room.begin("11")
    room.joins(ALICE)
    with pytest.raises(Exception, match="invited"):
        await Guest.enter(world, alice, room)
    assert (
        await world.app.db.read(lambda conn: world.app.services.rooms.timeline.names.room(conn, room.create.room_id))
        is None
    )
