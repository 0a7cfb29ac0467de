"""Judging conflicted events one by one: the iterative auth checks.

https://spec.matrix.org/v1.19/rooms/v2/#definitions
"""

from collections.abc import Container, Iterable, Mapping, MutableMapping

from federation.core.auth.rules import check, create_id_of
from federation.core.auth.selection import Slot, auth_slots
from federation.core.errors import Rejected
from federation.core.events.pdu import Pdu
from federation.core.ids import EventID
from federation.core.state.graph import Fetch, cited_state


def apply_allowed(
    events: Iterable[Pdu], state: MutableMapping[Slot, EventID], fetch: Fetch, rejected: Container[EventID]
) -> None:
    """Put into `state`, in turn, each of `events` that the state so far allows.

    What the state lacks for the judgement is taken from the event's own auth events, unless they were
    `rejected`.
    """
    for event in events:
        auth_state = auth_state_of(event, state, fetch)
        for slot, cited in cited_state(event, fetch).items():
            if cited.event_id not in rejected:
                auth_state.setdefault(slot, cited)
        if is_allowed(event, auth_state, fetch):
            state[event.slot] = event.event_id


def auth_state_of(event: Pdu, state: Mapping[Slot, EventID], fetch: Fetch) -> dict[Slot, Pdu]:
    """Return the events of `state` that the judgement of `event` needs."""
    auth_state = {}
    for slot in auth_slots(event.type, event.sender, event.state_key, event.content, event.version):
        event_id = state.get(slot)
        if event_id is not None and (found := fetch(event_id)) is not None:
            auth_state[slot] = found
    return auth_state


def is_allowed(event: Pdu, auth_state: Mapping[Slot, Pdu], fetch: Fetch) -> bool:
    """Return whether the authorisation rules allow `event` in a room whose state holds `auth_state`."""
    create = fetch(create_id_of(event)) if event.version.room_id_is_create_hash else None
    try:
        check(event, auth_state, create=create)
    except Rejected:
        return False
    return True
