"""End-to-end encryption, as far as a server has a part in it: public keys, and who must learn that they changed.

Source: https://spec.matrix.org/v1.19/client-server-api/#end-to-end-encryption
"""

from dataclasses import dataclass

from federation.core.ids import ServerName
from federation.matrix.client import FederationClient
from homeserver.clock import Clock
from homeserver.services.encryption.cross_signing import CrossSigning
from homeserver.services.encryption.device_keys import DeviceKeys
from homeserver.services.encryption.device_lists import DeviceLists
from homeserver.services.encryption.key_counts import CountsOfKeys
from homeserver.services.encryption.remote_devices import RemoteDevices
from homeserver.services.interactive_auth import InteractiveAuth
from homeserver.services.live import Live
from homeserver.storage.database import Database
from homeserver.storage.names import Names


@dataclass(frozen=True, slots=True)
class Encryption:
    """The services of public keys."""

    device_keys: DeviceKeys
    cross_signing: CrossSigning
    remote_devices: RemoteDevices


def build(
    own: ServerName, db: Database, clock: Clock, names: Names, live: Live, client: FederationClient,
    lists: DeviceLists, counts: CountsOfKeys, interactive_auth: InteractiveAuth,
) -> Encryption:  # fmt: skip
    """Put the services together."""
    remote = RemoteDevices(db, clock, names, lists, client)
    return Encryption(
        DeviceKeys(own, db, names, live, counts, lists, remote, client),
        CrossSigning(own, db, names, live, lists, remote, interactive_auth),
        remote,
    )
