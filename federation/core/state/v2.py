"""State resolution of room versions 2 to 11, and its revision for version 12.

https://spec.matrix.org/v1.19/rooms/v2/#state-resolution
https://spec.matrix.org/v1.19/rooms/v12/#state-resolution
"""

from collections import ChainMap
from collections.abc import Container, Iterable, Mapping, Sequence

from federation.core.auth.rules import create_id_of
from federation.core.auth.selection import CREATE, POWER_LEVELS, Slot
from federation.core.events.content import PowerLevels, creators_of
from federation.core.events.pdu import Pdu
from federation.core.ids import EventID
from federation.core.state.graph import AuthEventsOf, AuthGraph, Fetch, StandingOn, cited_state
from federation.core.state.iterative import apply_allowed
from federation.core.state.ordering import mainline_order, reverse_topological_power_order


def settle(
    unconflicted: Mapping[Slot, EventID],
    conflicted: Sequence[Mapping[Slot, EventID]],
    fetch: Fetch,
    *,
    auth_events_of: AuthEventsOf,
    rejected: Container[EventID],
    revised: bool,
    standing_on: StandingOn,
) -> dict[Slot, EventID]:
    """Return what the resolution has besides `unconflicted`; conflicted events that `fetch` does not know are
    passed over.

    `revised` is the algorithm of room version 12 (also called 2.1): it starts from nothing, and judges again
    whatever lies between conflicted events.
    """
    apart = [list(state.values()) for state in conflicted]
    full = _full_conflicted_set(unconflicted, apart, fetch, auth_events_of, standing_on, revised=revised)
    events = {event_id: event for event_id in full if (event := fetch(event_id)) is not None and event.is_state}

    # 1. Power events, with what they stand on.
    powerful = _with_auth_chains((event for event in events.values() if is_power_event(event)), events)
    ordered = reverse_topological_power_order(powerful, lambda event: _sender_level(event, fetch))
    # 2.
    settled: dict[Slot, EventID] = {}
    resolved = settled if revised else ChainMap(settled, unconflicted)  # type: ignore[arg-type]  # the first is written
    apply_allowed(ordered, resolved, fetch, rejected)
    # 3.
    remaining = [event for event_id, event in events.items() if event_id not in powerful]
    ordered = mainline_order(remaining, resolved.get(POWER_LEVELS), fetch)
    # 4.
    apply_allowed(ordered, resolved, fetch, rejected)
    # 5.
    return {slot: event_id for slot, event_id in settled.items() if slot not in unconflicted}


def is_power_event(event: Pdu) -> bool:
    """Return whether `event` might take from someone the ability to do something."""
    if event.type in ("m.room.power_levels", "m.room.join_rules"):
        return event.state_key is not None
    return (
        event.type == "m.room.member"
        and event.state_key is not None
        and event.state_key != event.sender
        and event.content.get("membership") in ("leave", "ban")
    )


def _full_conflicted_set(
    unconflicted: Mapping[Slot, EventID],
    conflicted: Sequence[Iterable[EventID]],
    fetch: Fetch,
    auth_events_of: AuthEventsOf,
    standing_on: StandingOn,
    *,
    revised: bool,
) -> set[EventID]:
    full = {event_id for state in conflicted for event_id in state}
    graph = AuthGraph(full, auth_events_of)
    # What unconflicted events stand on is in all chains. Only where something else than them is in some chains and
    # not in all does it take a walk down theirs to know.
    difference = graph.difference((), conflicted)
    in_doubt = {event_id for event_id in difference - full if not _is_unconflicted(event_id, unconflicted, fetch)}
    if in_doubt:
        shared = list(standing_on(in_doubt))
        whole = AuthGraph([*full, *shared], auth_events_of)
        in_doubt &= whole.difference(shared, conflicted)
    # Since v12 the conflicted state subgraph belongs to it.
    return full | in_doubt | (graph.between(full) if revised else set())


def _is_unconflicted(event_id: EventID, unconflicted: Mapping[Slot, EventID], fetch: Fetch) -> bool:
    event = fetch(event_id)
    return event is not None and event.is_state and unconflicted.get(event.slot) == event_id


def _with_auth_chains(starts: Iterable[Pdu], events: Mapping[EventID, Pdu]) -> dict[EventID, Pdu]:
    """Return `starts` and what can be reached from them along `auth_events` within `events`."""
    reached = {event.event_id: event for event in starts}
    unseen = list(reached.values())
    while unseen:
        for event_id in unseen.pop().auth_events:
            if event_id in events and event_id not in reached:
                reached[event_id] = events[event_id]
                unseen.append(events[event_id])
    return reached


def _sender_level(event: Pdu, fetch: Fetch) -> int:
    """Return the power level of an event's sender, as the event's own auth events have it."""
    cited = cited_state(event, fetch)
    create = fetch(create_id_of(event)) if event.version.room_id_is_create_hash else cited.get(CREATE)
    power_levels = cited.get(POWER_LEVELS)
    levels = PowerLevels.of(
        None if power_levels is None else power_levels.content,
        event.version,
        frozenset() if create is None else creators_of(create),
    )
    return levels.user_level(event.sender)
