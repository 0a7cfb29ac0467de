"""State resolution of room version 1: https://spec.matrix.org/v1.19/rooms/v1/#state-resolution."""

from collections import ChainMap
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from hashlib import sha1

from federation.core.auth.selection import Slot
from federation.core.events.pdu import Pdu
from federation.core.ids import EventID
from federation.core.state.graph import Fetch
from federation.core.state.iterative import auth_state_of, is_allowed

_AUTH_TYPES = ("m.room.power_levels", "m.room.join_rules", "m.room.member")

Pick = Callable[[Sequence[Pdu], MutableMapping[Slot, EventID], Fetch], EventID | None]


def settle(
    unconflicted: Mapping[Slot, EventID], conflicted: Sequence[Mapping[Slot, EventID]], fetch: Fetch
) -> dict[Slot, EventID]:
    """Return what the resolution has besides `unconflicted`; conflicting events that `fetch` does not know are
    passed over."""
    candidates: dict[Slot, set[EventID]] = {}
    for state in conflicted:
        for slot, event_id in state.items():
            candidates.setdefault(slot, set()).add(event_id)
    # A slot that some states lack is no conflict in this version.
    settled = {slot: next(iter(ids)) for slot, ids in candidates.items() if len(ids) == 1}
    resolved = ChainMap[Slot, EventID](settled, unconflicted)  # type: ignore[arg-type]  # only the first is written to
    conflicts: dict[str, dict[Slot, list[Pdu]]] = {}
    for slot, ids in candidates.items():
        if len(ids) > 1:
            known = [event for event_id in ids if (event := fetch(event_id)) is not None]
            conflicts.setdefault(slot[0], {})[slot] = sorted(known, key=_age)

    for auth_type in _AUTH_TYPES:
        resolved.update(_winners(conflicts.pop(auth_type, {}), resolved, fetch, _last_allowed))
    for others in conflicts.values():
        resolved.update(_winners(others, resolved, fetch, _newest_allowed))
    return settled


def _age(event: Pdu) -> tuple[int, int]:
    """Sort by ascending depth, then descending SHA-1 of the event ID."""
    return event.depth, -int.from_bytes(sha1(event.event_id.encode(), usedforsecurity=False).digest())


def _winners(
    conflicts: Mapping[Slot, Sequence[Pdu]], resolved: MutableMapping[Slot, EventID], fetch: Fetch, pick: Pick
) -> dict[Slot, EventID]:
    """Return the winner of each conflict, all judged against the same state: no user comes before another."""
    winners = ((slot, pick(events, resolved, fetch)) for slot, events in conflicts.items())
    return {slot: winner for slot, winner in winners if winner is not None}


def _last_allowed(events: Sequence[Pdu], resolved: MutableMapping[Slot, EventID], fetch: Fetch) -> EventID | None:
    """Return how far the events lead, oldest first: each is judged with the one before in its place."""
    winner: EventID | None = None
    state = ChainMap[Slot, EventID]({}, resolved)
    for event in events:
        if winner is not None and not is_allowed(event, auth_state_of(event, state, fetch), fetch):
            break
        winner = state[event.slot] = event.event_id
    return winner


def _newest_allowed(events: Sequence[Pdu], resolved: MutableMapping[Slot, EventID], fetch: Fetch) -> EventID | None:
    """Return the newest event that the resolved state allows."""
    for event in reversed(events):
        if is_allowed(event, auth_state_of(event, resolved, fetch), fetch):
            return event.event_id
    return None
