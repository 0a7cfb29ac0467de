"""The authorisation rules of all room versions, in the order of the specification.

https://spec.matrix.org/v1.19/rooms/v12/#authorisation-rules
The numbers in the comments are those of version 12. Earlier versions have no rule 2, so that since version 6
their numbers are one lower; until version 5 another rule 4, about aliases, makes up for it.

Rule 5.2 is about a signature, and is checked with all signatures: see `federation.core.auth.receipt`.
"""

from collections.abc import Container, Mapping, Sequence

from federation.core.auth.create import check_create
from federation.core.auth.membership import check_member
from federation.core.auth.power_levels import check_power_levels
from federation.core.auth.selection import CREATE, Slot, auth_slots
from federation.core.auth.state import AuthState
from federation.core.errors import Rejected
from federation.core.events.content import Membership
from federation.core.events.pdu import Pdu
from federation.core.ids import EventID, domain_of, server_of


def check_auth_events(event: Pdu, auth_events: Sequence[Pdu], rejected: Container[EventID] = ()) -> None:
    """Check the events that `event` cites as its `auth_events`, or raise `Rejected`.

    This is rule 3 (2 until v11), and what rule 2 says of rejected create events. `auth_events` are all that
    the event cites, and `rejected` knows which events were rejected on receipt.
    """
    # 1: a create event needs nobody's leave.
    if event.type == CREATE[0]:
        return
    version = event.version
    # 2
    if version.room_id_is_create_hash and create_id_of(event) in rejected:
        raise Rejected("the room's create event was rejected")
    wanted = auth_slots(event.type, event.sender, event.state_key, event.content, version)
    found: set[Slot] = set()
    for cited in auth_events:
        slot = (cited.type, cited.state_key)
        # 3.1
        if slot in found:
            raise Rejected(f"two auth events are of type {cited.type}, with the same state key")
        # 3.2
        if cited.state_key is None or slot not in wanted:
            raise Rejected(f"an auth event of type {cited.type} does not belong there")
        found.add(cited.slot)
        # 3.3
        if cited.event_id in rejected:
            raise Rejected(f"the auth event {cited.event_id} was rejected")
        # 3.5
        if cited.room_id != event.room_id:
            raise Rejected(f"the auth event {cited.event_id} is of another room")
    # Until v11, rule 2.4.
    if version.create_in_auth_events and CREATE not in found:
        raise Rejected("the create event is not among the auth events")


def create_id_of(event: Pdu) -> EventID:
    """Return the ID of the create event that the room ID names since v12."""
    return EventID("$" + event.room_id[1:])


def check(event: Pdu, auth_state: Mapping[Slot, Pdu], *, create: Pdu | None = None) -> None:
    """Allow `event` in a room whose state holds `auth_state`, or raise `Rejected`.

    `auth_state` needs what `auth_slots` names, and may hold more. `create` is the room's create event, which
    must not be a rejected one; without it, that in `auth_state` is taken. (Since v12 `auth_slots` does not
    name it.)
    """
    version = event.version
    # 1
    if event.type == CREATE[0]:
        check_create(event)
        return
    create = create or auth_state.get(CREATE)
    if create is None:
        raise Rejected("the room has no create event")
    # 2 since v12. Before, the same follows from the auth events.
    if event.room_id != create.room_id:
        raise Rejected("the create event is of another room")
    sender = event.sender
    # 4
    if create.content.get("m.federate") is False and server_of(sender) != server_of(create.sender):
        raise Rejected("the room is closed to other servers")
    # Until v5, rule 4.
    if version.special_case_aliases and event.type == "m.room.aliases":
        _check_aliases(event)
        return
    room = AuthState(auth_state, create)
    # 5
    if event.type == "m.room.member":
        check_member(event, room)
        return
    # 6
    if room.membership(sender) is not Membership.JOIN:
        raise Rejected("the sender is not in the room")
    level = room.levels.user_level(sender)
    # 7
    if event.type == "m.room.third_party_invite":
        if level < room.levels.invite:
            raise Rejected("the sender may not invite")
        return
    # 8
    if level < room.levels.event_level(event.type, event.is_state):
        raise Rejected(f"the sender may not send {event.type}")
    # 9
    if event.state_key is not None and event.state_key.startswith("@") and event.state_key != sender:
        raise Rejected("the state of another user is theirs to set")
    # 10
    if event.type == "m.room.power_levels":
        check_power_levels(event, room)
    # Until v2, rule 11.
    elif version.redactions_need_level and event.type == "m.room.redaction":
        _check_redaction(event, level, room)


def _check_aliases(event: Pdu) -> None:
    # 4.1 and 4.2
    if event.state_key != server_of(event.sender):
        raise Rejected("the aliases are not those of the sender's server")


def _check_redaction(event: Pdu, level: int, room: AuthState) -> None:
    # 11.1
    if level >= room.levels.redact:
        return
    # 11.2 and 11.3
    if event.redacts is None or domain_of(event.redacts) != domain_of(event.event_id):
        raise Rejected("the sender may not redact events of others")
