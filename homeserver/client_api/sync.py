"""Syncing: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync."""

import msgspec

from homeserver.errors import InvalidParam
from homeserver.http.bodies import convert, parse_object
from homeserver.http.routing import Answer, Call, Routes
from homeserver.model.filters import EVERYTHING, Filter
from homeserver.model.positions import SyncToken
from homeserver.model.presence import PresenceState
from homeserver.model.sync import SyncRequest

routes = Routes()

STATE_AFTER = "state_after"
UNSTABLE_STATE_AFTER = "org.matrix.msc4222.state_after"


class SyncQuery(msgspec.Struct):
    """The parameters of a sync."""

    since: str = ""
    filter: str = ""
    full_state: bool = False
    timeout: int = 0
    set_presence: PresenceState = PresenceState.ONLINE
    use_state_after: bool = False
    use_unstable_state_after: bool = msgspec.field(default=False, name="org.matrix.msc4222.use_state_after")

    @property
    def state_after(self) -> str | None:
        """The name that the client wants the state at the end of the timeline under."""
        if self.use_state_after:
            return STATE_AFTER
        return UNSTABLE_STATE_AFTER if self.use_unstable_state_after else None


@routes.get("/_matrix/client/v3/sync", waits=True)
async def sync(call: Call, query: SyncQuery) -> Answer:
    """Tell what has changed since the client last asked."""
    services, who = call.services, call.who
    request = SyncRequest(
        who=who,
        since=_token(query.since) if query.since else None,
        filter=await _filter(call, query.filter),
        full_state=query.full_state,
        timeout_ms=max(query.timeout, 0),
        state_after=query.state_after,
    )
    device = await services.presence.sync_begins(who, query.set_presence)
    try:
        return Answer(await services.sync.sync(request))
    finally:
        services.presence.sync_ends(device)


async def _filter(call: Call, text: str) -> Filter:
    """Return the filter given by its ID or, where the text starts with a brace, by itself."""
    if not text:
        return EVERYTHING
    if text.startswith("{"):
        return convert(parse_object(text.encode()), Filter)
    return await call.services.filters.named(call.who, text)


def _token(text: str) -> SyncToken:
    try:
        return SyncToken.parse(text)
    except ValueError as error:
        raise InvalidParam("since: not a token of this server") from error
