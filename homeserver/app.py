"""The composition root: builds everything once, by hand, in order. Nothing else constructs services."""

import asyncio
import gc
import resource
import signal
import ssl
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog
import uvloop
from aiohttp import web

from federation.core.ids import RoomID, UserID, parse_server_name
from federation.matrix import edus
from federation.matrix.client import FederationClient
from federation.matrix.keyring import Keyring
from homeserver import admin_api, client_api, federation_api, logs
from homeserver.background import prune
from homeserver.clock import Clock, Ids, SystemClock, SystemIds
from homeserver.config import Config, policy_key, signing_keys
from homeserver.http.door import Door
from homeserver.http.listener import Listener
from homeserver.http.routing import Router
from homeserver.http.servers import Places
from homeserver.http.tls import ShownCertificate
from homeserver.metrics import CONTENT_TYPE, Metrics
from homeserver.services import Services, media
from homeserver.services import distant as distant_rooms
from homeserver.services import encryption as encryption_services
from homeserver.services.account_data import AccountData
from homeserver.services.account_moderation import AccountModeration
from homeserver.services.accounts import Accounts
from homeserver.services.aggregations import Aggregations
from homeserver.services.aliases import Aliases
from homeserver.services.auth_chains import AuthChains
from homeserver.services.auth_stages import AuthStages
from homeserver.services.calls import Calls
from homeserver.services.credentials import Credentials
from homeserver.services.current_state import CurrentState
from homeserver.services.destinations import Destinations
from homeserver.services.devices import Devices
from homeserver.services.encryption.device_lists import DeviceLists
from homeserver.services.encryption.key_counts import CountsOfKeys
from homeserver.services.filters import Filters
from homeserver.services.handshakes import Handshakes
from homeserver.services.history import History
from homeserver.services.incoming_invites import IncomingInvites
from homeserver.services.intake import Intake
from homeserver.services.interactive_auth import InteractiveAuth
from homeserver.services.live import Live
from homeserver.services.local_joins import LocalJoins
from homeserver.services.login import LogIn
from homeserver.services.membership import Memberships
from homeserver.services.memory import shares
from homeserver.services.messages import Messages
from homeserver.services.neighbours import Neighbours
from homeserver.services.offers import Offers
from homeserver.services.openid import OpenId
from homeserver.services.outgoing import Outgoing
from homeserver.services.outside import OutsideMemberships
from homeserver.services.passwords import Passwords
from homeserver.services.pep import Pep
from homeserver.services.policy.asking import PolicedWrites, PolicyAsking
from homeserver.services.policy.lists import PolicyList
from homeserver.services.policy.own import OwnPolicy
from homeserver.services.policy.rules import PolicyRules
from homeserver.services.policy.signing import PolicySigning
from homeserver.services.presence import Presence
from homeserver.services.private_xml import PrivateXml
from homeserver.services.profiles import Profiles
from homeserver.services.public_rooms import PublicRooms
from homeserver.services.push_rules import PushRules
from homeserver.services.rate_limits import RateLimits
from homeserver.services.receipts import Receipts
from homeserver.services.recent import Recent
from homeserver.services.redactions import Redactions
from homeserver.services.registration import Registration
from homeserver.services.registration_tokens import RegistrationTokens
from homeserver.services.relations import Relations
from homeserver.services.remote_profiles import RemoteProfiles
from homeserver.services.remote_public_rooms import RemotePublicRooms
from homeserver.services.remote_spaces import RemoteSpaces
from homeserver.services.rendering import Rendering
from homeserver.services.resolution import Resolution
from homeserver.services.restricted_joins import RestrictedJoins
from homeserver.services.room_state import RoomState
from homeserver.services.room_tellings import RoomTellings
from homeserver.services.room_views import RoomViews
from homeserver.services.rooms import Rooms
from homeserver.services.rosters import Rosters
from homeserver.services.scram import Scram
from homeserver.services.secrets import Secrets
from homeserver.services.server_access import ServerAccess
from homeserver.services.server_keys import KeysOfOthers, OwnKeys, ServerKeys
from homeserver.services.server_visibility import ServerVisibility
from homeserver.services.serving import Serving
from homeserver.services.sessions import Sessions
from homeserver.services.shared_secret import SharedSecret
from homeserver.services.spaces import Spaces
from homeserver.services.states_before import StatesBefore
from homeserver.services.successions import Successions
from homeserver.services.summaries import Summaries
from homeserver.services.sync import Sync
from homeserver.services.sync.assemble import Assembler
from homeserver.services.sync.lazy import LazyMembers
from homeserver.services.sync.memory import FromMemory
from homeserver.services.sync.passing import PassingNews
from homeserver.services.sync.rooms import RoomGatherer
from homeserver.services.sync.unread import UnreadCounts
from homeserver.services.tags import RoomTags
from homeserver.services.third_party_invites import ThirdPartyInvites
from homeserver.services.timeline import Timeline
from homeserver.services.to_device import ToDevice
from homeserver.services.typing import Typing
from homeserver.services.upgrades import Upgrades
from homeserver.services.user_directory import UserDirectory
from homeserver.services.visibility import Visibility
from homeserver.storage.database import Database, current_position, open_database
from homeserver.storage.events import Events
from homeserver.storage.migrations import runner
from homeserver.storage.names import Names
from homeserver.storage.room_servers import RoomServers
from homeserver.storage.snapshots import Snapshots
from homeserver.xmpp.server import XmppServer

log = structlog.get_logger()

DRAIN_SECONDS = 10.0
"""How long a stop waits for the requests that are being answered."""


@dataclass(slots=True)
class Application:
    """A built server: its services, and the listeners and loops that run while it is started."""

    config: Config
    services: Services
    metrics: Metrics
    db: Database
    door: Door
    federation_door: Door
    """What the TLS listeners of federation lead to: nothing of it is for clients or operators."""
    certificate: ShownCertificate | None
    """What those listeners show; without one there are none."""
    xmpp: XmppServer | None
    """The door for XMPP clients, unless it is turned off."""
    _runners: list[web.ServerRunner] = field(default_factory=list)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def start(self) -> list[str]:
        """Listen and start the loops; return the addresses listened at."""
        await self.services.server_keys.own.begin(self.db, self.services.clock)
        await self.services.outgoing.start()
        await self.services.presence.recall()
        client = Listener(self.door, handler_cancellation=True, access_log=None)
        addresses = [await self._listen(client, place) for place in self.config.http.listen]
        await self._listen_for_servers()
        if self.config.federation.enabled:
            await self.services.joining.resume()
        if self.xmpp is not None:
            await self.xmpp.start()
        if self.config.metrics.listen:
            await self._listen(web.Server(self._metrics_page, access_log=None), self.config.metrics.listen)
        self._tasks.append(asyncio.create_task(self.metrics.sample_lag(self.services.clock), name="lag"))
        self._tasks.append(asyncio.create_task(self.services.media.pruner.run(), name="media-pruner"))
        self._tasks.append(asyncio.create_task(self.services.presence.run(), name="presence"))
        self._tasks.append(asyncio.create_task(self.services.remote_devices.run(), name="device-lists"))
        self._tasks.append(asyncio.create_task(prune.run(self.services, self.services.clock), name="prune"))
        return addresses

    async def stop(self) -> None:
        """Take no more requests, finish those that run, end the loops, close the database."""
        self.services.live.close()
        if self.xmpp is not None:
            await self.xmpp.stop()
        for runner_ in self._runners:
            await runner_.cleanup()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.services.sessions.write_seen()
        await self.services.presence.close()
        self.services.typing.close()
        self.services.credentials.passwords.close()
        await self.services.media.close()
        await self.services.joining.close()
        await self.services.receiving.close()
        await self.services.remote_devices.close()
        await self.services.keyring.close()
        await self.services.outgoing.stop()
        await self.services.federation_client.close()
        await self.db.close()

    async def _listen_for_servers(self) -> None:
        if self.certificate is None:
            return
        listener = Listener(self.federation_door, handler_cancellation=True, access_log=None)
        for place in self.config.federation.listen:
            await self._listen(listener, place, self.certificate.context)
        self._tasks.append(asyncio.create_task(self.certificate.watch(self.services.clock), name="certificate"))

    async def _listen(self, server: web.Server, place: str, tls: ssl.SSLContext | None = None) -> str:
        host, _, port = place.rpartition(":")
        server_runner = web.ServerRunner(server, shutdown_timeout=DRAIN_SECONDS)
        await server_runner.setup()
        self._runners.append(server_runner)
        site = web.TCPSite(server_runner, host.strip("[]") or None, int(port), backlog=1024, ssl_context=tls)
        await site.start()
        bound = server_runner.addresses[0]
        return f"{host}:{bound[1]}"

    async def _metrics_page(self, request: web.BaseRequest) -> web.Response:
        if request.path != "/metrics":
            return web.Response(status=404)
        return web.Response(body=self.metrics.page(), headers={"Content-Type": CONTENT_TYPE})


async def build(config: Config, *, clock: Clock | None = None, ids: Ids | None = None) -> Application:
    """Return a server for `config`, its database ready; nothing listens yet.

    Raises OSError, ValueError or `SchemaTooNew` where the configuration points to what cannot be used.
    """
    clock = clock or SystemClock()
    ids = ids or SystemIds()
    metrics = Metrics()
    keys = signing_keys.read(Path(config.keys.signing_key))
    key = keys[0]
    certificate = certificate_of(config)
    db = open_database(config.database.url, metrics.batch_written)
    await runner.prepare(db)
    share = shares(config.caches.budget_bytes)
    names = Names(share.names)
    live = Live(clock, await db.read(current_position))
    metrics.watch_waiters(lambda: live.waiting)
    limits = RateLimits(config.rate_limits, clock)
    server_name = parse_server_name(config.server_name)
    own_keys = OwnKeys(server_name, key, keys[1:])
    keys_of_others = KeysOfOthers(db, clock)
    notaries = [parse_server_name(name) for name in config.federation.trusted_notaries if name != server_name]
    client = FederationClient.open(
        server_name,
        key,
        clock,
        enabled=config.federation.enabled,
        extra_ca=config.outgoing.extra_ca,
        allow_private=config.outgoing.allow_private_addresses,
        count=metrics.server_asked,
    )
    keyring = Keyring(own_keys.known, keys_of_others, client, clock, notaries)
    events, snapshots = Events(names, share.events), Snapshots(share.state_entries)
    outgoing = Outgoing(server_name, db, events, clock, ids, client, config.federation)
    metrics.watch_sending(outgoing.figures)
    recent = Recent(live.position, share.recent)
    resolution = Resolution(names, events, snapshots)
    room_servers = RoomServers()
    neighbours = Neighbours(server_name, room_servers)
    current_state = CurrentState(server_name, names, events, live, room_servers)
    redactions = Redactions(names, events, recent)
    timeline = Timeline(
        server_name,
        key,
        names,
        events,
        snapshots,
        live,
        recent,
        clock,
        ids,
        resolution,
        current_state,
        redactions,
        outgoing.deliver,
        own_policy_of(config, names, events, snapshots),
    )
    policed = PolicedWrites(db, PolicyAsking(client, clock), clock)
    server_access = ServerAccess(server_name, names, events, snapshots, current_state.servers)
    server_visibility = ServerVisibility(names, events, snapshots)
    auth_chains, states_before = AuthChains(share.auth_edges), StatesBefore(snapshots)
    tellings = RoomTellings(names, events, snapshots, states_before, auth_chains)
    restricted_joins = RestrictedJoins(server_access)
    intake = Intake(timeline)
    outside = OutsideMemberships(names, events, live, clock)
    sessions = Sessions(db, clock, ids, config.sessions)
    passwords = Passwords(config.passwords, ids)
    credentials = Credentials(server_name, db, passwords, limits)
    secrets = Secrets(db, ids)
    interactive_auth = InteractiveAuth(db, clock, ids, AuthStages(db, clock, credentials).all())
    key_counts = CountsOfKeys()
    device_lists = DeviceLists(db, names, snapshots, live, neighbours, outgoing)
    encryption = encryption_services.build(
        server_name, db, clock, names, live, client, device_lists, key_counts, interactive_auth
    )
    devices = Devices(db, interactive_auth, sessions, device_lists)
    push_rules = PushRules(db, live)
    successions = Successions(timeline, push_rules)
    local_joins = LocalJoins(policed, timeline, successions, room_servers)
    distant = distant_rooms.build(
        db, policed, timeline, server_access, intake, outside, tellings, local_joins, client, keyring
    )
    federated = config.federation.enabled
    joining, invites = (distant.joining, distant.invites) if federated else (None, None)
    views = RoomViews(names, events, snapshots)
    aliases = Aliases(db, policed, timeline, views, room_servers, client if federated else None)
    memberships = Memberships(db, policed, timeline, aliases, local_joins, joining, invites)
    visibility = Visibility(names, events, snapshots)
    rendering = Rendering(events, visibility, Aggregations(names, events, visibility), clock)
    account_data = AccountData(db, names, live)
    accounts = Accounts(db, clock, passwords, interactive_auth, devices)
    accounts.departures.append(lambda who: memberships.leave_all(who.user, who.user_id))
    presence = Presence(server_name, db, clock, names, live, config.presence.enabled, neighbours, outgoing)
    remote_profiles = RemoteProfiles(server_name, client, clock)
    profiles = Profiles(db, names, remote_profiles, [memberships.update_profile, presence.names_changed])
    typing = Typing(db, clock, names, live, neighbours, outgoing)
    current_state.movers.extend((typing.moved, presence.moved, device_lists.moved))
    devices.on_removal.append(presence.devices_removed)
    to_device = ToDevice(server_name, db, clock, ids, names, live, outgoing)
    receipts = Receipts(db, clock, names, events, live, recent, neighbours, outgoing)
    distant.receiving.on_edu.update(
        {
            edus.TYPING: typing.hear,
            edus.PRESENCE: presence.hear,
            edus.RECEIPT: receipts.hear,
            edus.DIRECT_TO_DEVICE: to_device.hear,
            edus.DEVICE_LIST_UPDATE: encryption.remote_devices.hear_device,
            edus.SIGNING_KEY_UPDATE: encryption.remote_devices.hear_signing_keys,
        }
    )
    unread = UnreadCounts(names, events, snapshots, share.counts)
    lazy = LazyMembers(share.told_members)
    boot = ids.letters(8)
    sync = Sync(
        db,
        live,
        PassingNews(live, typing, presence),
        FromMemory(names, events, snapshots, recent, live, account_data, push_rules, unread, lazy, clock, boot),
        Assembler(
            names,
            RoomGatherer(names, events, snapshots, visibility),
            rendering,
            unread,
            lazy,
            push_rules,
            account_data,
            device_lists,
            clock,
            boot,
        ),
        clock,
        key_counts,
    )
    services = Services(
        config=config,
        clock=clock,
        ids=ids,
        db=db,
        limits=limits,
        federation_client=client,
        keyring=keyring,
        server_keys=ServerKeys(own_keys, keys_of_others, keyring, clock),
        media=media.build(config, clock, ids, db, client),
        live=live,
        sessions=sessions,
        credentials=credentials,
        secrets=secrets,
        scram=Scram(db, limits, secrets),
        interactive_auth=interactive_auth,
        registration=Registration(
            config.registration, server_name, db, clock, names, passwords, interactive_auth, sessions
        ),
        login=LogIn(db, clock, ids, credentials, interactive_auth, sessions),
        devices=devices,
        accounts=accounts,
        account_moderation=AccountModeration(server_name, db, sessions),
        registration_tokens=RegistrationTokens(db, clock, ids),
        shared_secret=SharedSecret(config.registration.shared_secret, clock, ids),
        openid=OpenId(db, clock, ids),
        outgoing=outgoing,
        destinations=Destinations(db, outgoing),
        calls=Calls(config.voip, clock),
        rooms=Rooms(db, timeline, invites),
        memberships=memberships,
        upgrades=Upgrades(db, policed, timeline, successions),
        aliases=aliases,
        public_rooms=PublicRooms(db, timeline, views, RemotePublicRooms(server_name, client, clock)),
        summaries=Summaries(db, views),
        spaces=Spaces(db, views, neighbours, RemoteSpaces(client, clock)),
        messages=Messages(policed, timeline, aliases, invites),
        sync=sync,
        history=History(
            db,
            names,
            events,
            snapshots,
            visibility,
            rendering,
            account_data,
            distant.backfilling if federated else None,
        ),
        room_state=RoomState(db, names, events, snapshots, visibility, rendering),
        relations=Relations(db, names, events, visibility, rendering, account_data),
        push_rules=push_rules,
        receipts=receipts,
        account_data=account_data,
        tags=RoomTags(db, names, live),
        filters=Filters(db),
        to_device=to_device,
        device_keys=encryption.device_keys,
        device_lists=device_lists,
        cross_signing=encryption.cross_signing,
        remote_devices=encryption.remote_devices,
        profiles=profiles,
        rosters=Rosters(db, names),
        pep=Pep(db),
        private_xml=PrivateXml(db),
        typing=typing,
        presence=presence,
        user_directory=UserDirectory(db),
        receiving=distant.receiving,
        joining=distant.joining,
        backfilling=distant.backfilling,
        offers=Offers(db, clock, server_access, restricted_joins),
        handshakes=Handshakes(db, policed, key, keyring, intake, server_access, restricted_joins, tellings),
        third_party_invites=ThirdPartyInvites(db, policed, timeline, server_access, distant.invites, client),
        incoming_invites=IncomingInvites(db, key, keyring, server_access, outside),
        serving=Serving(db, events, states_before, server_access, server_visibility, auth_chains),
        policy_signing=PolicySigning(db, keyring, server_access, current_state, timeline.own_policy),
    )
    routes = client_api.ROUTES + admin_api.ROUTES + (federation_api.ROUTES if config.federation.enabled else ())
    xmpp = XmppServer(services) if config.xmpp.enabled else None
    routes += (xmpp.routes(),) if xmpp is not None else ()
    door = Door(Router(routes), services, metrics.request_answered, places=Places(config.federation.max_pending))
    door.heard_from.append(outgoing.heard_from)
    federation_door = replace(door, router=Router(federation_api.ROUTES))
    metrics.watch_pending(lambda: door.pending + federation_door.pending + door.places.taken)
    return Application(config, services, metrics, db, door, federation_door, certificate, xmpp)


def own_policy_of(config: Config, names: Names, events: Events, snapshots: Snapshots) -> OwnPolicy | None:
    """Return this server's say as a policy server, None if it is none. Raises `ConfigError`."""
    options = config.policy
    if not options.enabled:
        return None
    file = Path(options.signing_key or Path(config.keys.signing_key).with_name(policy_key.FILE_NAME))
    followed = PolicyList(RoomID(options.list_room), names, events, snapshots) if options.list_room else None
    rules = PolicyRules(options.refused_senders, options.refused_words, followed)
    return OwnPolicy(parse_server_name(config.server_name), policy_key.read_or_make(file), rules)


def certificate_of(config: Config) -> ShownCertificate | None:
    """Return what the TLS listeners of federation show, None if there are none. Raises OSError."""
    options = config.federation
    if not (options.enabled and options.listen):
        return None
    return ShownCertificate(options.tls_certificate, options.tls_key)


def add_user(config: Config, name: str, password: str, admin: bool) -> UserID:
    """Make an account, also beside a running server, and return its user ID.

    Raises `InvalidUsername`, `UserInUse` or `InvalidParam`, and what `build` raises.
    """
    return asyncio.run(_add_user(config, name, password, admin))


async def _add_user(config: Config, name: str, password: str, admin: bool) -> UserID:
    application = await build(config)
    try:
        user_id = application.services.registration.user_id_for(name)
        await application.services.registration.make(user_id, password, admin=admin)
    finally:
        await application.stop()
    return user_id


def run(config: Config) -> None:
    """Run the server until SIGTERM or SIGINT."""
    logs.configure(config.logging)
    _allow_connections()
    uvloop.run(_serve(config))


def _allow_connections() -> None:
    """Raise the limit of open files as far as it goes: each connection is one, and usually only 1,024 are allowed."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # where "no limit" is no number
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _serve(config: Config) -> None:
    application = await build(config)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    addresses = await application.start()
    # What is there now stays until the end: the collector need not look through it again and again, while all wait.
    gc.collect()
    gc.freeze()
    # A waiting request is hundreds of objects. To look for cycles at each 700 took an eighth of what a delivery costs.
    gc.set_threshold(10_000, 10, 10)
    log.info("listening", server_name=config.server_name, http=addresses)
    await stop.wait()
    log.info("stopping")
    await application.stop()
