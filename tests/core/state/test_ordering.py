"""The orders of conflicted events: https://spec.matrix.org/v1.19/rooms/v2/#definitions."""

from itertools import permutations

import pytest

from federation.core.events.pdu import Pdu
from federation.core.ids import EventID
from federation.core.room_versions import ROOM_VERSIONS
from federation.core.state.ordering import mainline_order, reverse_topological_power_order
from tests.support.rooms import ALICE


def event(name: str, cites: str = "", *, ts: int = 0, event_type: str = "m.room.power_levels") -> Pdu:
    """Return an event with a letter for its ID."""
    fields = {
        "type": event_type,
        "state_key": "",
        "sender": ALICE,
        "room_id": "!room",
        "content": {},
        "origin_server_ts": ts,
        "depth": 1,
        "auth_events": list(cites),
        "prev_events": [],
    }
    return Pdu.trusted(fields, ROOM_VERSIONS["11"], EventID(name))


def power_order(levels: dict[str, int], *events: Pdu) -> str:
    """Return the reverse topological power ordering as a word, whatever the order of `events`."""
    words = {
        "".join(
            found.event_id
            for found in reverse_topological_power_order(
                {each.event_id: each for each in some}, lambda each: levels.get(each.event_id, 0)
            )
        )
        for some in permutations(events)
    }
    assert len(words) == 1
    return words.pop()


def test_auth_events_come_first() -> None:
    assert power_order({"c": 100}, event("c", "b"), event("b", "a"), event("a")) == "abc"


def test_only_links_among_the_events_count() -> None:
    assert power_order({}, event("a", "xb"), event("b", "y")) == "ba"


def test_a_link_counts_once() -> None:
    assert power_order({}, event("a", "bbb"), event("b")) == "ba"


@pytest.mark.parametrize(
    ("levels", "ts", "expected"),
    [
        ({"a": 50, "b": 100}, {}, "bac"),
        ({"a": 50, "b": 100, "c": 100}, {"b": 2, "c": 1}, "cba"),
        ({}, {"a": 3, "b": 2, "c": 1}, "cba"),
        ({}, {}, "abc"),
        ({"a": -1}, {}, "bca"),
    ],
)
def test_among_equals_power_then_time_then_id_decide(levels: dict[str, int], ts: dict[str, int], expected: str) -> None:
    assert power_order(levels, *(event(name, ts=ts.get(name, 0)) for name in "abc")) == expected


def test_the_smallest_of_all_candidates_comes_next() -> None:
    # Once b is out its follower d, the most powerful, overtakes c.
    assert power_order({"d": 100, "b": 50}, event("b"), event("c"), event("d", "b")) == "bdc"


def test_a_circle_and_what_builds_on_it_is_left_out() -> None:
    assert power_order({}, event("a"), event("b", "c"), event("c", "b"), event("d", "ac")) == "a"


LEVELS = {each.event_id: each for each in (event("P"), event("Q", "P"), event("R", "Q"), event("S", "Q"))}
"""P <- Q <- R, and S beside R."""


def main_order(power_levels: str | None, *events: Pdu, known: dict[EventID, Pdu] = LEVELS) -> str:
    """Return the mainline ordering as a word, whatever the order of `events`."""
    start = None if power_levels is None else EventID(power_levels)
    words = {
        "".join(found.event_id for found in mainline_order(list(some), start, known.get))
        for some in permutations(events)
    }
    assert len(words) == 1
    return words.pop()


def topic(name: str, cites: str = "", ts: int = 0) -> Pdu:
    """Return a topic."""
    return event(name, cites, ts=ts, event_type="m.room.topic")


def test_what_stands_on_older_power_levels_comes_first() -> None:
    assert main_order("R", topic("a", "R", ts=1), topic("b", "Q", ts=2), topic("c", "P", ts=3)) == "cba"


def test_what_stands_on_none_of_them_comes_before_all() -> None:
    assert main_order("R", topic("a", "P", ts=1), topic("b", ts=2), topic("c", "X", ts=3)) == "bca"


def test_a_side_line_counts_as_where_it_meets_the_mainline() -> None:
    assert main_order("R", topic("a", "S", ts=2), topic("b", "Q", ts=1), topic("c", "R", ts=0)) == "bac"


def test_power_levels_count_as_what_they_cite() -> None:
    assert main_order("R", event("e", "R", ts=1), event("f", "Q", ts=2)) == "fe"


@pytest.mark.parametrize("power_levels", [None, "X"])
def test_without_power_levels_time_and_id_decide(power_levels: str | None) -> None:
    assert main_order(power_levels, topic("a", "R", ts=2), topic("b", "P", ts=1), topic("c", ts=1)) == "bca"


def test_a_circle_of_power_levels_has_an_end() -> None:
    known = {each.event_id: each for each in (event("P", "Q"), event("Q", "P"), event("Y", "Z"), event("Z", "Y"))}
    assert main_order("P", topic("a", "P"), topic("b", "Q"), topic("c", "Y"), known=known) == "cba"


def test_a_mainline_of_a_hundred_thousand_is_walked() -> None:
    length = 100_000
    known = {}
    for number in range(length):
        cited = [EventID(str(number - 1))] if number else []
        fields = {**event("P").fields, "auth_events": cited}
        known[EventID(str(number))] = Pdu.trusted(fields, ROOM_VERSIONS["11"], EventID(str(number)))
    leftover = list(known.values())
    assert mainline_order(leftover, None, known.get)[0].event_id == "0"
    ordered = mainline_order(leftover[1:], EventID(str(length - 1)), known.get)
    assert [found.event_id for found in ordered] == [str(number) for number in range(1, length)]
