"""Auth chains, their difference, and what lies between events: https://spec.matrix.org/v1.19/rooms/v12/#definitions."""

from collections.abc import Iterable, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.core.ids import EventID
from federation.core.state.graph import AuthGraph, cited_state
from tests.support.rooms import ALICE, Room

Edges = Mapping[str, str]
"""What each event cites: `{"c": "ab"}` is an event c that cites a and b."""


def events(names: Iterable[str]) -> list[EventID]:
    """Return event IDs for letters."""
    return [EventID(name) for name in names]


def graph(starts: Iterable[str], edges: Edges) -> AuthGraph:
    """Return what can be reached from `starts`."""
    return AuthGraph(events(starts), lambda event_id: events(edges.get(event_id, "")))


def difference(edges: Edges, shared: str, *apart: str) -> str:
    """Return the auth difference of states as a word."""
    walked = graph(shared + "".join(apart), edges)
    return "".join(sorted(walked.difference(events(shared), [events(state) for state in apart])))


CHAIN = {"b": "a", "c": "b", "d": "c", "e": "c"}
"""a <- b <- c, and both d and e on top of it."""


@pytest.mark.parametrize(
    ("edges", "shared", "apart", "expected"),
    [
        (CHAIN, "", ("d", "e"), "de"),
        (CHAIN, "", ("b", "e"), "ce"),  # b is in the chain of e
        (CHAIN, "", ("b", "d", "e"), "cde"),
        (CHAIN, "", ("d", "d"), ""),
        (CHAIN, "c", ("d", "e"), "de"),
        (CHAIN, "d", ("b", "e"), "e"),  # c is in every chain by way of d
        (CHAIN, "d", ("", "e"), "e"),
        (CHAIN, "", ("", "e"), "abce"),
        (CHAIN, "b", ("", "d"), "cd"),
        ({"c": "ab", "d": "b"}, "", ("c", "d"), "acd"),
        ({"d": "bx"}, "", ("d", "b"), "dx"),  # x is not known
    ],
)
def test_the_auth_difference_is_what_some_chains_have_and_not_all(
    edges: Edges, shared: str, apart: Sequence[str], expected: str
) -> None:
    assert difference(edges, shared, *apart) == expected


@pytest.mark.parametrize(
    ("edges", "ends", "expected"),
    [
        (CHAIN, "ae", "abce"),
        (CHAIN, "de", "de"),
        (CHAIN, "bde", "bcde"),
        (CHAIN, "a", "a"),
        (CHAIN, "", ""),
        ({"d": "bc", "b": "a", "c": "a"}, "ad", "abcd"),  # all paths
        ({"d": "bc", "b": "a"}, "ad", "abd"),  # c leads nowhere
    ],
)
def test_the_conflicted_state_subgraph_is_all_paths_between_conflicted_events(
    edges: Edges, ends: str, expected: str
) -> None:
    assert sorted(graph(ends, edges).between(events(ends))) == sorted(expected)


LETTERS = "abcdefghij"


@st.composite
def graphs(draw: st.DrawFn) -> Edges:
    """Graphs without circles: each event cites some that come before it in the alphabet."""
    return {
        name: "".join(draw(st.sets(st.sampled_from(LETTERS[:index]), max_size=3)) if index else "")
        for index, name in enumerate(LETTERS)
    }


def chain(edges: Edges, name: str) -> set[str]:
    """Return an event and its auth chain, by the definition."""
    return {name}.union(*(chain(edges, cited) for cited in edges[name]))


@given(edges=graphs(), states=st.lists(st.sets(st.sampled_from(LETTERS)), min_size=2, max_size=4))
def test_the_difference_is_that_of_the_definition(edges: Edges, states: list[set[str]]) -> None:
    chains = [set[str]().union(*(chain(edges, name) for name in state)) for state in states]
    shared = states[0].intersection(*states)
    expected = set[str]().union(*chains) - chains[0].intersection(*chains)
    apart = ["".join(state - shared) for state in states]
    assert difference(edges, "".join(shared), *apart) == "".join(sorted(expected))


@given(edges=graphs(), ends=st.sets(st.sampled_from(LETTERS)))
def test_what_lies_between_is_that_of_the_definition(edges: Edges, ends: set[str]) -> None:
    below = {name for name in LETTERS if ends & chain(edges, name)}
    expected = below & set[str]().union(*(chain(edges, end) for end in ends))
    # Whatever else was walked: unconflicted state stands on these events too.
    assert graph(LETTERS, edges).between(events(ends)) == expected


def test_a_circle_is_walked_once() -> None:
    asked = []

    def auth_events_of(event_id: EventID) -> list[EventID]:
        asked.append(event_id)
        return events({"a": "c", "b": "a", "c": "bc", "d": "c"}.get(event_id, ""))

    walked = AuthGraph(events("dd"), auth_events_of)
    walked.difference([], [events("d"), events("a")])
    walked.between(events("da"))
    assert sorted(asked) == list("abcd")


def test_a_chain_of_a_hundred_thousand_is_walked() -> None:
    length = 100_000

    def auth_events_of(event_id: EventID) -> list[EventID]:
        number = int(event_id)
        return [EventID(str(number - 1))] * 3 if number else []

    newest, oldest, half = EventID(str(length)), EventID("0"), EventID(str(length // 2))
    walked = AuthGraph([newest], auth_events_of)
    assert len(walked.difference([], [[newest], [half]])) == length // 2
    assert len(walked.between([newest, oldest])) == length + 1


def test_what_an_event_cites_is_told_by_type_and_state_key() -> None:
    room = Room.public("11")
    message = room.says(ALICE)
    other = room.says(ALICE, auth=[*message.auth_events, message.event_id, EventID("$unknown")])
    assert cited_state(other, room.fetch) == {event.slot: event for event in room.cited(message)}
