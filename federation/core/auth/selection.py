"""Which state events authorise an event.

https://spec.matrix.org/v1.19/server-server-api/#auth-events-selection
"""

from collections.abc import Mapping
from typing import Any

from federation.core.room_versions import RoomVersion

Slot = tuple[str, str]
"""Event type and state key: what a state event replaces, and names it in the state of a room."""

CREATE = ("m.room.create", "")
POWER_LEVELS = ("m.room.power_levels", "")
JOIN_RULES = ("m.room.join_rules", "")


def auth_slots(
    event_type: str, sender: str, state_key: str | None, content: Mapping[str, Any], version: RoomVersion
) -> list[Slot]:
    """Return the (type, state key) pairs of room state that authorise an event, each once.

    Of these, the events that the room state has are the event's `auth_events`, and no others may be.
    """
    if event_type == "m.room.create":
        return []
    slots = [POWER_LEVELS, ("m.room.member", sender)]
    # Since v12 the room ID names the create event.
    if version.create_in_auth_events:
        slots.append(CREATE)
    if event_type != "m.room.member" or state_key is None:
        return slots
    if state_key != sender:
        slots.append(("m.room.member", state_key))
    membership = content.get("membership")
    if membership in ("join", "invite", "knock"):
        slots.append(JOIN_RULES)
    if membership == "invite":
        token = third_party_token(content)
        if token is not None:
            slots.append(("m.room.third_party_invite", token))
    elif membership == "join" and version.restricted_joins:
        voucher = content.get("join_authorised_via_users_server")
        if isinstance(voucher, str) and voucher not in (sender, state_key):
            slots.append(("m.room.member", voucher))
    return slots


def third_party_token(content: Mapping[str, Any]) -> str | None:
    """Return `content.third_party_invite.signed.token` of an invite, or None if it is not there or not
    text."""
    invite = content.get("third_party_invite")
    signed = invite.get("signed") if isinstance(invite, dict) else None
    token = signed.get("token") if isinstance(signed, dict) else None
    return token if isinstance(token, str) else None
