"""Membership events that other servers hand over: what they must be before anybody signs or stores them.

Sources: https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv2send_joinroomideventid and its like
"""

from collections.abc import Mapping
from typing import Any

from federation.core.auth.receipt import Received, Verdict
from federation.core.errors import BadEvent, EventTooLarge
from federation.core.events.content import Membership
from federation.core.events.pdu import Pdu
from federation.core.ids import EventID, RoomID, ServerName, server_of
from federation.core.room_versions import RoomVersion
from federation.matrix.keyring import Keyring
from homeserver.errors import InvalidParam, TooLarge

MEMBER = "m.room.member"


def read(
    fields: Mapping[str, Any],
    version: RoomVersion,
    *,
    origin: ServerName,
    room_id: RoomID,
    event_id: EventID,
    membership: Membership,
) -> Pdu:
    """Return the event if it is that which the path names, of a user of `origin`. Raises `InvalidParam`, `TooLarge`."""
    try:
        pdu = Pdu.from_wire(dict(fields), version)
    except EventTooLarge as error:
        raise TooLarge(f"The event is too large: {error}") from error
    except BadEvent as error:
        raise InvalidParam(f"The event is not valid: {error}") from error
    if pdu.type != MEMBER or pdu.content.get("membership") != membership or pdu.state_key is None:
        raise InvalidParam(f"The event does not say {membership}")
    if pdu.room_id != room_id:
        raise InvalidParam("The event is of another room")
    if pdu.event_id != event_id:
        raise InvalidParam(f"The event's ID is {pdu.event_id}")
    if server_of(pdu.sender) != origin:
        raise InvalidParam("The event's sender is not one of your server's users")
    return pdu


async def verified(keyring: Keyring, pdu: Pdu) -> Received:
    """Return the event with its origin proven. Raises `InvalidParam`: who hands it over must have it whole."""
    (outcome,) = await keyring.verify_events([pdu])
    if isinstance(outcome, Verdict):
        raise InvalidParam(f"The event is not signed as it must be: {outcome.reason}")
    if outcome.redacted:
        raise InvalidParam("The event's content is not what its hash says")
    return outcome
