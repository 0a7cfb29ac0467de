"""What other servers send comes into rooms: linear history, forks, what is rejected and what is soft-failed."""

import pytest

from federation.core.auth.receipt import VerdictKind
from homeserver.services.intake import Gap
from tests.support.intake import Guest
from tests.support.rooms import ALICE, BOB, CAROL, Room
from tests.support.world import User, World


@pytest.fixture
async def guest(world: World, alice: User) -> Guest:
    """A user of ours in a room of version 11 of two others."""
    return await Guest.join(world, alice, "11", [BOB])


async def test_a_room_joined_at_a_distance_is_in_the_first_sync(guest: Guest) -> None:
    answer = await guest.user.syncs()
    joined = answer["rooms"]["join"][guest.room_id]
    assert [event["type"] for event in joined["timeline"]["events"]] == ["m.room.member"]
    assert joined["timeline"]["limited"]
    assert {event["type"] for event in joined["state"]["events"]} >= {"m.room.create", "m.room.power_levels"}
    assert joined["summary"]["m.joined_member_count"] == 3


async def test_a_message_comes_in_and_wakes_who_waits(guest: Guest) -> None:
    await guest.user.syncs()
    message = guest.room.says(BOB)
    assert await guest.take(message) == VerdictKind.ACCEPTED
    (event,) = await guest.news()
    assert event["event_id"] == message.event_id


async def test_what_came_before_stays_as_it_is(guest: Guest) -> None:
    message = guest.room.says(BOB)
    for _ in range(2):
        assert await guest.take(message) == VerdictKind.ACCEPTED
    await guest.user.syncs()
    assert await guest.news() == []


async def test_without_the_events_before_it_an_event_cannot_be_judged(guest: Guest) -> None:
    missed = guest.room.says(BOB)
    message = guest.room.says(BOB)
    with pytest.raises(Gap) as gap:
        await guest.take(message)
    assert gap.value.missing == {missed.event_id}


async def test_what_was_sent_while_we_joined_needs_nothing_from_before(world: World, alice: User) -> None:
    room = Room.public("11", joined=[BOB])
    before = room.fork()
    guest = await Guest.enter(world, alice, room)
    meanwhile = before.says(BOB)
    assert meanwhile.prev_events == room.events[room.heads[0]].prev_events
    assert await guest.take(meanwhile) == VerdictKind.ACCEPTED
    assert await guest.extremities() == {room.heads[0], meanwhile.event_id}
    assert await guest.awaited() == set(meanwhile.prev_events)


async def test_the_create_event_is_no_news(guest: Guest) -> None:
    await guest.user.syncs()
    assert await guest.take(guest.room.create) == VerdictKind.ACCEPTED
    assert await guest.news() == []
    assert await guest.state("m.room.create") == guest.room.create.content


async def test_a_given_state_bridges_a_gap_and_what_comes_late_is_not_built_upon(guest: Guest) -> None:
    missed = guest.room.says(BOB)
    message = guest.room.says(BOB)
    before = dict(guest.room.state)
    assert await guest.take(message, state_before=before) == VerdictKind.ACCEPTED
    assert message.event_id in await guest.extremities()
    assert await guest.awaited() >= {missed.event_id}
    assert await guest.take(missed) == VerdictKind.ACCEPTED
    assert await guest.extremities() == {message.event_id}
    assert missed.event_id not in await guest.awaited()


async def test_two_heads_make_a_fork_and_the_next_event_of_ours_ends_it(guest: Guest) -> None:
    beside = guest.room.fork()
    one, other = guest.room.says(BOB, "one"), beside.says(ALICE, "other")
    for message in (one, other):
        assert await guest.take(message) == VerdictKind.ACCEPTED
    assert await guest.extremities() == {one.event_id, other.event_id}
    sent = await guest.user.says(guest.room_id)
    assert await guest.extremities() == {sent}
    assert set((await guest.stored(sent)).pdu.prev_events) == {one.event_id, other.event_id}


async def test_where_branches_meet_the_state_that_changed_is_told(guest: Guest) -> None:
    beside = guest.room.fork()
    await guest.user.syncs()
    topic = guest.room.sets(ALICE, "m.room.topic", {"topic": "one"})
    name = beside.sets(ALICE, "m.room.name", {"name": "other"})
    for event in (topic, name):
        assert await guest.take(event) == VerdictKind.ACCEPTED
    assert await guest.state("m.room.topic") == {"topic": "one"}
    assert await guest.state("m.room.name") == {"name": "other"}


async def test_an_event_that_its_auth_events_do_not_allow_is_rejected_for_ever(guest: Guest) -> None:
    event = guest.room.sets(BOB, "m.room.topic", {"topic": "mine"})
    for _ in range(2):
        assert await guest.take(event) == VerdictKind.REJECTED
    stored = await guest.stored(event.event_id)
    assert stored.place is None
    assert await guest.extremities() != {event.event_id}
    follows = guest.room.fork()
    follows.state.pop(("m.room.topic", ""))
    message = follows.says(BOB)
    assert await guest.take(message) == VerdictKind.ACCEPTED
    assert await guest.extremities() == {message.event_id}


async def test_who_was_banned_meanwhile_is_soft_failed(guest: Guest) -> None:
    evading = guest.room.fork()
    ban = guest.room.member(ALICE, BOB, "ban")
    assert await guest.take(ban) == VerdictKind.ACCEPTED
    await guest.user.syncs()
    message = evading.says(BOB)
    assert await guest.take(message) == VerdictKind.SOFT_FAILED
    assert await guest.extremities() == {ban.event_id}
    assert await guest.news() == []


async def test_an_event_built_upon_a_soft_failed_one_and_the_ban_is_shown(guest: Guest) -> None:
    evading = guest.room.fork()
    ban = guest.room.member(ALICE, BOB, "ban")
    message = evading.says(BOB)
    for event in (ban, message):
        await guest.take(event)
    both = guest.room.says(ALICE, prev=[ban.event_id, message.event_id])
    assert await guest.take(both) == VerdictKind.ACCEPTED
    assert await guest.extremities() == {both.event_id}


async def test_what_stood_there_before_the_join_is_told_with_what_replaces_it(guest: Guest) -> None:
    await guest.user.syncs()
    await guest.takes(guest.room.joins(BOB, displayname="Bob"))
    (event,) = await guest.news()
    assert event["unsigned"]["prev_content"] == {"membership": "join"}


async def test_no_more_than_twenty_heads_are_kept_and_state_stays(guest: Guest) -> None:
    topic = guest.room.sets(ALICE, "m.room.topic", {"topic": "it"})
    await guest.takes(topic)
    for number in range(30):
        beside = guest.room.fork()
        beside.heads = tuple(topic.prev_events)
        beside.state.pop(("m.room.topic", ""))
        event = beside.joins(BOB, displayname=f"{number}") if number % 2 else beside.says(BOB, f"{number}")
        await guest.takes(event)
    assert len(await guest.extremities()) == 20
    assert await guest.state("m.room.topic") == {"topic": "it"}
    sent = await guest.user.says(guest.room_id)
    assert len((await guest.stored(sent)).pdu.prev_events) == 10
    assert len(await guest.extremities()) == 11
    assert await guest.state("m.room.topic") == {"topic": "it"}


async def test_the_servers_of_a_room_are_those_of_who_is_joined(guest: Guest) -> None:
    assert await guest.servers() == {"hs1", "a.example", "b.example"}
    await guest.take(guest.room.member(ALICE, BOB, "leave"))
    assert await guest.servers() == {"hs1", "a.example"}
    await guest.take(guest.room.joins(CAROL))
    assert await guest.servers() == {"hs1", "a.example", "c.example"}
