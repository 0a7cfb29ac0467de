"""Room summaries: https://spec.matrix.org/v1.19/client-server-api/#room-summaries.

Many clients still ask under the paths of the proposal (MSC3266), with names of its own for two fields.
"""

from homeserver.client_api.membership import room_or_alias
from homeserver.http.routing import Auth, Call, Json, Routes

routes = Routes()

_PROPOSED = {"room_version": "im.nheko.summary.room_version", "encryption": "im.nheko.summary.encryption"}


@routes.get("/_matrix/client/v1/room_summary/{room_id_or_alias}", auth=Auth.OPTIONAL)
async def room_summary(call: Call, room_id_or_alias: str) -> Json:
    """Say what a room is about."""
    return await call.services.summaries.of_room(call.requester, room_or_alias(room_id_or_alias))


@routes.get("/_matrix/client/unstable/im.nheko.summary/summary/{room_id_or_alias}", auth=Auth.OPTIONAL)
async def proposed_summary(call: Call, room_id_or_alias: str) -> Json:
    """Say what a room is about, as proposed."""
    summary = await call.services.summaries.of_room(call.requester, room_or_alias(room_id_or_alias))
    return {**summary, **{new: summary[name] for name, new in _PROPOSED.items() if name in summary}}


@routes.get("/_matrix/client/unstable/im.nheko.summary/rooms/{room_id_or_alias}/summary", auth=Auth.OPTIONAL)
async def first_proposed_summary(call: Call, room_id_or_alias: str) -> Json:
    """Say what a room is about, as first proposed."""
    return await proposed_summary(call, room_id_or_alias)
