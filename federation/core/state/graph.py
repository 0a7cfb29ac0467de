"""The graph of auth events, and the questions that state resolution asks it.

https://spec.matrix.org/v1.19/rooms/v2/#definitions and, for the conflicted state subgraph,
https://spec.matrix.org/v1.19/rooms/v12/#definitions.

Every question is one or two passes over the graph in topological order, so its cost is linear in events and
edges however many states are compared. Nothing recurses: chains of hundreds of thousands of events are real.
"""

from collections.abc import Callable, Collection, Iterable, Sequence

from federation.core.auth.selection import Slot
from federation.core.events.pdu import Pdu
from federation.core.ids import EventID

Fetch = Callable[[EventID], Pdu | None]
"""Gives a known event, None for one that is not known."""

AuthEventsOf = Callable[[EventID], Sequence[EventID]]
"""Gives the auth events of an event; none for an event that is not known."""


StandingOn = Callable[[Collection[EventID]], Iterable[EventID]]
"""Gives those events, of some that are agreed upon, that may have one of the given ones in their auth chain."""


def cited_state(event: Pdu, fetch: Fetch) -> dict[Slot, Pdu]:
    """Return the known auth events of `event` by type and state key."""
    cited = (fetch(event_id) for event_id in event.auth_events)
    return {found.slot: found for found in cited if found is not None and found.is_state}


class AuthGraph:
    """All that can be reached from some events along `auth_events`.

    In rooms of versions 1 and 2 the sender chooses event IDs, so that hostile events can cite one another in
    a circle. A circle is walked once; what is said about its members is then of no meaning, but it is said in
    time.
    """

    __slots__ = ("_auth_events", "_order")

    def __init__(self, starts: Iterable[EventID], auth_events_of: AuthEventsOf) -> None:
        """Walk the graph from `starts`, asking `auth_events_of` once for each event."""
        auth_events: dict[EventID, Sequence[EventID]] = {}
        order: list[EventID] = []
        for start in starts:
            if start in auth_events:
                continue
            auth_events[start] = cited = auth_events_of(start)
            path = [(start, iter(cited))]
            while path:
                event_id, unseen = path[-1]
                for parent in unseen:
                    if parent not in auth_events:
                        auth_events[parent] = cited = auth_events_of(parent)
                        path.append((parent, iter(cited)))
                        break
                else:
                    order.append(event_id)
                    path.pop()
        self._auth_events = auth_events
        self._order = order
        """Each event comes after its auth events."""

    def difference(self, shared: Iterable[EventID], apart: Sequence[Iterable[EventID]]) -> set[EventID]:
        """Return the auth difference of states: what is in the full auth chain of some of them, but not of
        all.

        Each state holds `shared` and its own member of `apart`. An event counts as a member of its own chain,
        as it does in the servers of the network: for conflicted events that changes nothing, and it keeps
        unconflicted state that only one side happens to cite from being judged again.
        """
        everyone = (1 << len(apart)) - 1
        chains = dict.fromkeys(shared, everyone)
        for number, state in enumerate(apart):
            for event_id in state:
                chains[event_id] = chains.get(event_id, 0) | 1 << number
        for event_id in reversed(self._order):
            # Every event here was reached from one that some state holds, so it has been given its chains by
            # now (a member of a circle may not).
            within = chains.get(event_id, 0)
            for parent in self._auth_events[event_id]:
                chains[parent] = chains.get(parent, 0) | within
        return {event_id for event_id, within in chains.items() if within != everyone}

    def between(self, ends: Collection[EventID]) -> set[EventID]:
        """Return the events on all paths from one of `ends` to another, and `ends` (the conflicted state
        subgraph)."""
        above = set(ends)
        """Reached from one of `ends`."""
        for event_id in reversed(self._order):
            if event_id in above:
                above.update(self._auth_events[event_id])
        between = set(ends)
        for event_id in self._order:
            if event_id in above and not between.isdisjoint(self._auth_events[event_id]):
                between.add(event_id)
        return between
