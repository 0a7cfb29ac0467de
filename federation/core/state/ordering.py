"""The two orders in which state resolution looks at conflicted events.

https://spec.matrix.org/v1.19/rooms/v2/#definitions
"""

from collections.abc import Callable, Collection, Mapping
from heapq import heapify, heappop, heappush

from federation.core.auth.selection import POWER_LEVELS
from federation.core.events.pdu import Pdu
from federation.core.ids import EventID
from federation.core.state.graph import Fetch, cited_state


def reverse_topological_power_order(events: Mapping[EventID, Pdu], sender_level: Callable[[Pdu], float]) -> list[Pdu]:
    """Return `events` from earliest to latest: auth events first, among equals the most powerful sender
    first.

    Kahn's algorithm. Only the `auth_events` links among `events` count, and the members of a circle are left
    out, and what cites them.
    """
    cited_by: dict[EventID, list[Pdu]] = {event_id: [] for event_id in events}
    waiting_for: dict[EventID, int] = {}
    for event in events.values():
        cited = {cited_id for cited_id in event.auth_events if cited_id in events}
        waiting_for[event.event_id] = len(cited)
        for cited_id in cited:
            cited_by[cited_id].append(event)

    def rank(event: Pdu) -> tuple[float, int, EventID]:
        return -sender_level(event), event.origin_server_ts, event.event_id

    ready = [rank(event) for event in events.values() if not waiting_for[event.event_id]]
    heapify(ready)
    ordered = []
    while ready:
        event_id = heappop(ready)[2]
        ordered.append(events[event_id])
        for event in cited_by[event_id]:
            waiting_for[event.event_id] -= 1
            if not waiting_for[event.event_id]:
                heappush(ready, rank(event))
    return ordered


def mainline_order(events: Collection[Pdu], power_levels: EventID | None, fetch: Fetch) -> list[Pdu]:
    """Return `events` in the mainline ordering based on a power levels event, or on none."""
    positions = _mainline(power_levels, fetch)

    def rank(event: Pdu) -> tuple[float, int, EventID]:
        return -_position(event, positions, fetch), event.origin_server_ts, event.event_id

    return sorted(events, key=rank)


def _mainline(power_levels: EventID | None, fetch: Fetch) -> dict[EventID, float]:
    """Return the place of each event in the mainline of `power_levels`, itself first."""
    places: dict[EventID, float] = {}
    event = None if power_levels is None else fetch(power_levels)
    while event is not None and event.event_id not in places:
        places[event.event_id] = len(places)
        event = cited_state(event, fetch).get(POWER_LEVELS)
    return places


def _position(event: Pdu, positions: dict[EventID, float], fetch: Fetch) -> float:
    """Return the mainline position of `event`, adding to `positions` what was passed on the way."""
    passed = []
    position = float("inf")
    ancestor = cited_state(event, fetch).get(POWER_LEVELS)
    while ancestor is not None:
        if ancestor.event_id in positions:
            position = positions[ancestor.event_id]
            break
        # Until we know better: an event that leads back here, in a circle, leads nowhere.
        positions[ancestor.event_id] = position
        passed.append(ancestor.event_id)
        ancestor = cited_state(ancestor, fetch).get(POWER_LEVELS)
    positions.update(dict.fromkeys(passed, position))
    return position
