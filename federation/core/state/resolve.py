"""State resolution: one state of a room out of several.

https://spec.matrix.org/v1.19/server-server-api/#room-state-resolution
"""

from collections.abc import Container, Mapping, Sequence
from functools import cache

from federation.core.auth.selection import Slot
from federation.core.ids import EventID
from federation.core.room_versions import RoomVersion, StateResolution
from federation.core.state import v1, v2
from federation.core.state.graph import AuthEventsOf, Fetch, StandingOn


def resolve(
    state_sets: Sequence[Mapping[Slot, EventID]],
    version: RoomVersion,
    fetch: Fetch,
    *,
    auth_events_of: AuthEventsOf | None = None,
    rejected: Container[EventID] = (),
) -> dict[Slot, EventID]:
    """Return the resolution of `state_sets`, the same whatever their order and however often each is there.

    `fetch` gives the state events and their auth chains, and is asked once for each; what it does not know
    wins no conflict. `auth_events_of` may give the auth events of an event where that is cheaper than to
    fetch it: room versions from 2 on walk the whole auth chain of every state, but need only the conflicted
    part of it as events. `rejected` knows which events were rejected on receipt.
    """
    if not state_sets:
        return {}
    unconflicted, conflicted = separate(state_sets)
    settled = settle(unconflicted, conflicted, version, fetch, auth_events_of=auth_events_of, rejected=rejected)
    return settled | unconflicted


def settle(
    unconflicted: Mapping[Slot, EventID],
    conflicted: Sequence[Mapping[Slot, EventID]],
    version: RoomVersion,
    fetch: Fetch,
    *,
    auth_events_of: AuthEventsOf | None = None,
    rejected: Container[EventID] = (),
    standing_on: StandingOn | None = None,
) -> dict[Slot, EventID]:
    """Return what the resolution of several states has besides what is the same in all of them.

    `unconflicted` is what all have, and `conflicted` has for each of them the rest. For large states that are nearly
    the same: of `unconflicted` little more is looked up than the entries that authorise conflicted events, as a rule.
    `standing_on` gives, of some events, those of `unconflicted` that may have one of them in their auth chain; without
    it, all may. The other arguments are those of `resolve`.
    """
    if not any(conflicted):
        return {}
    fetch = cache(fetch)
    if version.state_resolution is StateResolution.V1:
        return v1.settle(unconflicted, conflicted, fetch)

    def cited(event_id: EventID) -> Sequence[EventID]:
        event = fetch(event_id)
        return () if event is None else event.auth_events

    return v2.settle(
        unconflicted,
        conflicted,
        fetch,
        auth_events_of=auth_events_of or cited,
        rejected=rejected,
        revised=version.state_resolution is StateResolution.V2_1,
        standing_on=standing_on or (lambda _events: unconflicted.values()),
    )


def separate(
    state_sets: Sequence[Mapping[Slot, EventID]],
) -> tuple[dict[Slot, EventID], list[dict[Slot, EventID]]]:
    """Return the unconflicted state map, and of each state what is conflicted."""
    first, *others = state_sets
    unconflicted = {
        slot: event_id for slot, event_id in first.items() if all(other.get(slot) == event_id for other in others)
    }
    conflicted = [
        {slot: event_id for slot, event_id in state.items() if slot not in unconflicted} for state in state_sets
    ]
    return unconflicted, conflicted
