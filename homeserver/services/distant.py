"""What is needed to take part in rooms of other servers, put together."""

from dataclasses import dataclass

from federation.matrix.client import FederationClient
from federation.matrix.keyring import Keyring
from homeserver.services.backfilling import Backfilling
from homeserver.services.fetching import Fetching
from homeserver.services.intake import Intake
from homeserver.services.joining import Joining
from homeserver.services.joining.candidates import Candidates
from homeserver.services.joining.handshakes import Handshakes
from homeserver.services.local_joins import LocalJoins
from homeserver.services.outside import OutsideMemberships
from homeserver.services.policy.asking import PolicedWrites
from homeserver.services.receiving import Receiving
from homeserver.services.receiving.arrivals import Arrivals
from homeserver.services.receiving.missing import MissingEvents
from homeserver.services.remote_invites import RemoteInvites
from homeserver.services.room_tellings import RoomTellings
from homeserver.services.room_turns import RoomTurns
from homeserver.services.server_access import ServerAccess
from homeserver.services.timeline import Timeline
from homeserver.services.withdrawals import Withdrawals
from homeserver.storage.database import Database


@dataclass(frozen=True, slots=True)
class Distant:
    """The services that speak with other servers about rooms."""

    receiving: Receiving
    joining: Joining
    invites: RemoteInvites
    backfilling: Backfilling


def build(
    db: Database,
    policed: PolicedWrites,
    timeline: Timeline,
    access: ServerAccess,
    intake: Intake,
    outside: OutsideMemberships,
    tellings: RoomTellings,
    local: LocalJoins,
    client: FederationClient,
    keyring: Keyring,
) -> Distant:
    """Put the services together."""
    clock, events, turns = timeline.clock, timeline.events, RoomTurns()
    fetching = Fetching(client, keyring)
    missing = MissingEvents(db, events, intake, fetching)
    arrivals = Arrivals(db, policed, intake, missing)
    receiving = Receiving(db, clock, access, intake, fetching, arrivals, turns)
    receiving.asides.append(Withdrawals(db, events, keyring, outside).take)
    joining = Joining(
        db,
        timeline,
        local,
        intake,
        arrivals,
        Handshakes(client, fetching, timeline),
        Candidates(access.server_name, access.names, access.room_servers),
        outside,
        turns,
    )
    return Distant(
        receiving,
        joining,
        RemoteInvites(db, policed, timeline, intake, tellings, client),
        Backfilling(db, clock, access, intake, fetching, missing, client),
    )
