"""The XMPP door as a whole: built once, started and stopped with the server."""

import asyncio
from functools import partial
from pathlib import Path

import structlog

from federation.core.ids import parse_server_name
from federation.core.xmpp.errors import StreamCondition, StreamError
from federation.core.xmpp.stream import Settings
from homeserver import xmpp
from homeserver.http.routing import Routes
from homeserver.services import Services
from homeserver.xmpp import avatars, roster, uploads
from homeserver.xmpp.accounts import Accounts
from homeserver.xmpp.addresses import Addresses
from homeserver.xmpp.allocation import give_back_what_is_free, keep_large_blocks_apart
from homeserver.xmpp.certificate import Certificate, open_certificate
from homeserver.xmpp.connection import Welcome
from homeserver.xmpp.disco import capabilities
from homeserver.xmpp.listener import listen
from homeserver.xmpp.router import Router
from homeserver.xmpp.websocket import routes_of

log = structlog.get_logger()

LOOK_AFTER_SECONDS = 3600.0
REST_AFTER_SECONDS = 4.0
"""A connection on which nothing has come for so long (twice at most) lets go of what it can do without."""
MANY = 500
"""Connections that have let go, after which it is worth while to give the system back what they had."""


class XmppServer:
    """Serves XMPP clients."""

    def __init__(self, services: Services) -> None:
        """Take what it calls."""
        self._services = services
        self._options = services.config.xmpp
        self.addresses = Addresses.of(parse_server_name(services.config.server_name))
        router = Router(xmpp.MODULES, xmpp.IDENTITIES, xmpp.GUARDS, roster.may_reach)
        self.accounts = Accounts(
            services, self.addresses, router, xmpp.BEGUN, xmpp.ENDED, xmpp.NEWS, xmpp.AVAILABILITY, xmpp.PRESENCE
        )
        services.profiles.on_change.append(partial(avatars.profile_changed, self.accounts))
        settings = Settings(
            self.addresses.domain,
            (*xmpp.STREAM_FEATURES, capabilities(router, services.config.support)),
            frozenset(namespace for namespace, _ in xmpp.NONZAS),
            services.ids.token,
        )
        self.welcome = Welcome(self.accounts, settings, xmpp.NONZAS, xmpp.URGENT)
        self.listening: list[str] = []
        """Where clients connect: the places with STARTTLS first."""
        self._servers: list[asyncio.Server] = []
        self._tasks: list[asyncio.Task[None]] = []

    def routes(self) -> Routes:
        """Return what is served over HTTP."""
        routes = routes_of(lambda: self.welcome, self._services.config.base_url)
        uploads.add_routes(routes, self.accounts)
        return routes

    async def start(self) -> None:
        """Listen. Raises OSError where the configured certificate cannot be used."""
        keep_large_blocks_apart()
        directory = Path(self._services.config.keys.signing_key).parent
        clock = self._services.clock
        certificate = open_certificate(
            self._options.tls_certificate, self._options.tls_key, directory, self.addresses, clock
        )
        for place in self._options.listen:
            await self._listen(certificate, place, direct=False)
        for place in self._options.listen_tls:
            await self._listen(certificate, place, direct=True)
        self._tasks.append(asyncio.create_task(certificate.watch(clock), name="xmpp-certificate"))
        self._tasks.append(asyncio.create_task(self._let_rest(), name="xmpp-rest"))
        self._tasks.append(asyncio.create_task(self._look_after(), name="xmpp-devices"))

    async def stop(self) -> None:
        """Listen no more, and end all sessions with a word."""
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.accounts.close(StreamError(StreamCondition.SYSTEM_SHUTDOWN))

    async def _look_after(self) -> None:
        """Look after the devices of sessions, until cancelled."""
        while True:
            try:
                await self.accounts.look_after()
            except Exception:
                log.exception("xmpp_devices_failed")
            await self._services.clock.sleep(LOOK_AFTER_SECONDS)

    async def _let_rest(self) -> None:
        """Let connections on which nothing comes cost less."""
        rested = 0
        while True:
            await self._services.clock.sleep(REST_AFTER_SECONDS)
            connections = [session.connection for session in self.accounts.all()]
            rested += sum(connection.rest() for connection in connections if connection is not None)
            if rested >= MANY:
                rested = 0
                give_back_what_is_free()

    async def _listen(self, certificate: Certificate, place: str, *, direct: bool) -> None:
        try:
            server = await listen(self.welcome, certificate, place, direct=direct)
        except OSError as error:
            # Another XMPP server on this machine must not keep this one from serving Matrix.
            log.error("xmpp_cannot_listen", place=place, reason=str(error))
            return
        self._servers.append(server)
        self.listening.append(f"{place.rpartition(':')[0]}:{server.sockets[0].getsockname()[1]}")
