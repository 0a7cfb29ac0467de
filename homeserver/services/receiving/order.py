"""Events in the order in which they can be taken in: each after those of them that it builds on."""

from collections.abc import Mapping

from federation.core.auth.receipt import Received
from federation.core.ids import EventID


def in_order(events: Mapping[EventID, Received]) -> list[Received]:
    """Return the events so that each comes after its `prev_events` and `auth_events`, as far as they are among them.

    What depends on nothing keeps its order. In rooms of versions 1 and 2, where senders choose event IDs, events may
    cite one another in a circle; that is walked once.
    """
    order: list[Received] = []
    seen: set[EventID] = set()
    for start in events:
        if start in seen:
            continue
        seen.add(start)
        path = [(start, _references(events[start]))]
        while path:
            event_id, unseen = path[-1]
            while unseen:
                reference = unseen.pop()
                if reference in events and reference not in seen:
                    seen.add(reference)
                    path.append((reference, _references(events[reference])))
                    break
            else:
                order.append(events[event_id])
                path.pop()
    return order


def reachable(events: Mapping[EventID, Received], wanted: set[EventID]) -> dict[EventID, Received]:
    """Return those of the events that are wanted, or that one of these comes after, and so on."""
    found: dict[EventID, Received] = {}
    waiting = [event_id for event_id in wanted if event_id in events]
    while waiting:
        event_id = waiting.pop()
        if event_id not in found:
            found[event_id] = events[event_id]
            waiting += [prev for prev in events[event_id].event.prev_events if prev in events and prev not in found]
    return found


def _references(received: Received) -> list[EventID]:
    return [*reversed(received.event.auth_events), *reversed(received.event.prev_events)]
