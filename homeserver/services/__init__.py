"""The verbs: access checks, decisions through the law, transactions. One service a noun, built in `homeserver.app`."""

from dataclasses import dataclass

from federation.matrix.client import FederationClient
from federation.matrix.keyring import Keyring
from homeserver.clock import Clock, Ids
from homeserver.config import Config
from homeserver.services.account_data import AccountData
from homeserver.services.account_moderation import AccountModeration
from homeserver.services.accounts import Accounts
from homeserver.services.aliases import Aliases
from homeserver.services.backfilling import Backfilling
from homeserver.services.calls import Calls
from homeserver.services.credentials import Credentials
from homeserver.services.destinations import Destinations
from homeserver.services.devices import Devices
from homeserver.services.encryption.cross_signing import CrossSigning
from homeserver.services.encryption.device_keys import DeviceKeys
from homeserver.services.encryption.device_lists import DeviceLists
from homeserver.services.encryption.remote_devices import RemoteDevices
from homeserver.services.filters import Filters
from homeserver.services.handshakes import Handshakes
from homeserver.services.history import History
from homeserver.services.incoming_invites import IncomingInvites
from homeserver.services.interactive_auth import InteractiveAuth
from homeserver.services.joining import Joining
from homeserver.services.live import Live
from homeserver.services.login import LogIn
from homeserver.services.media import Media
from homeserver.services.membership import Memberships
from homeserver.services.messages import Messages
from homeserver.services.offers import Offers
from homeserver.services.openid import OpenId
from homeserver.services.outgoing import Outgoing
from homeserver.services.pep import Pep
from homeserver.services.policy.signing import PolicySigning
from homeserver.services.presence import Presence
from homeserver.services.private_xml import PrivateXml
from homeserver.services.profiles import Profiles
from homeserver.services.public_rooms import PublicRooms
from homeserver.services.push_rules import PushRules
from homeserver.services.rate_limits import RateLimits
from homeserver.services.receipts import Receipts
from homeserver.services.receiving import Receiving
from homeserver.services.registration import Registration
from homeserver.services.registration_tokens import RegistrationTokens
from homeserver.services.relations import Relations
from homeserver.services.room_state import RoomState
from homeserver.services.rooms import Rooms
from homeserver.services.rosters import Rosters
from homeserver.services.scram import Scram
from homeserver.services.secrets import Secrets
from homeserver.services.server_keys import ServerKeys
from homeserver.services.serving import Serving
from homeserver.services.sessions import Sessions
from homeserver.services.shared_secret import SharedSecret
from homeserver.services.spaces import Spaces
from homeserver.services.summaries import Summaries
from homeserver.services.sync import Sync
from homeserver.services.tags import RoomTags
from homeserver.services.third_party_invites import ThirdPartyInvites
from homeserver.services.to_device import ToDevice
from homeserver.services.typing import Typing
from homeserver.services.upgrades import Upgrades
from homeserver.services.user_directory import UserDirectory
from homeserver.storage.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """All services, one field each."""

    config: Config
    clock: Clock
    ids: Ids
    db: Database
    limits: RateLimits
    federation_client: FederationClient
    keyring: Keyring
    server_keys: ServerKeys
    media: Media
    live: Live
    sessions: Sessions
    credentials: Credentials
    secrets: Secrets
    scram: Scram
    interactive_auth: InteractiveAuth
    registration: Registration
    login: LogIn
    devices: Devices
    accounts: Accounts
    account_moderation: AccountModeration
    registration_tokens: RegistrationTokens
    shared_secret: SharedSecret
    openid: OpenId
    outgoing: Outgoing
    destinations: Destinations
    calls: Calls
    rooms: Rooms
    memberships: Memberships
    upgrades: Upgrades
    aliases: Aliases
    public_rooms: PublicRooms
    summaries: Summaries
    spaces: Spaces
    messages: Messages
    history: History
    room_state: RoomState
    relations: Relations
    push_rules: PushRules
    receipts: Receipts
    account_data: AccountData
    tags: RoomTags
    filters: Filters
    to_device: ToDevice
    device_keys: DeviceKeys
    device_lists: DeviceLists
    cross_signing: CrossSigning
    remote_devices: RemoteDevices
    profiles: Profiles
    rosters: Rosters
    pep: Pep
    private_xml: PrivateXml
    sync: Sync
    typing: Typing
    presence: Presence
    user_directory: UserDirectory
    receiving: Receiving
    joining: Joining
    backfilling: Backfilling
    offers: Offers
    handshakes: Handshakes
    incoming_invites: IncomingInvites
    third_party_invites: ThirdPartyInvites
    serving: Serving
    policy_signing: PolicySigning
