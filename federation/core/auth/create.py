"""Authorisation rule 1: `m.room.create`.

https://spec.matrix.org/v1.19/rooms/v12/#authorisation-rules
The numbers in the comments are those of version 12.
"""

from federation.core.errors import InvalidIdentifier, Rejected
from federation.core.events.pdu import Pdu
from federation.core.ids import domain_of, parse_user_id, server_of
from federation.core.room_versions import ROOM_VERSIONS


def check_create(event: Pdu) -> None:
    """Allow a room to begin with `event`, or raise `Rejected`."""
    version = event.version
    # 1.1
    if event.prev_events:
        raise Rejected("a room has to begin with its create event")
    # 1.2: changed in v12.
    if version.room_id_is_create_hash:
        if "room_id" in event.fields:
            raise Rejected("the create event has a room_id")
    elif domain_of(event.room_id) != server_of(event.sender):
        raise Rejected("the room_id is of another server than the sender")
    # 1.3
    room_version = event.content.get("room_version", "1")
    if not isinstance(room_version, str) or room_version not in ROOM_VERSIONS:
        raise Rejected("the room_version is not known here")
    # Until v10, rule 1.4.
    if version.creator_in_content and "creator" not in event.content:
        raise Rejected("the create event names no creator")
    # 1.4: since v12.
    if version.creators_have_all_power and "additional_creators" in event.content:
        _check_additional_creators(event.content["additional_creators"])


def _check_additional_creators(creators: object) -> None:
    if not isinstance(creators, list):
        raise Rejected("additional_creators is not a list")
    for creator in creators:
        try:
            parse_user_id(creator if isinstance(creator, str) else "")
        except InvalidIdentifier as error:
            raise Rejected("additional_creators holds something that is not a user ID") from error
