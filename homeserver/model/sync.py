"""What a client asks of /sync: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync."""

from dataclasses import dataclass

from homeserver.model.accounts import Requester
from homeserver.model.filters import Filter
from homeserver.model.positions import SyncToken


@dataclass(frozen=True, slots=True)
class SyncRequest:
    """One request, parsed."""

    who: Requester
    since: SyncToken | None
    filter: Filter
    full_state: bool = False
    timeout_ms: int = 0
    state_after: str | None = None
    """Under which name the client wants the state at the end of the timeline; None: at its start, as `state`."""
    set_presence: str = "online"
