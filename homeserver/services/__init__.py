"""The verbs: access checks, decisions through the law, transactions. One service a noun, built once in `homeserver.app`."""

from dataclasses import dataclass

from homeserver.clock import Clock, Ids
from homeserver.config import Config
from homeserver.services.credentials import Credentials
from homeserver.services.devices import Devices
from homeserver.services.interactive_auth import InteractiveAuth
from homeserver.services.live import Live
from homeserver.services.login import LogIn
from homeserver.services.rate_limits import RateLimits
from homeserver.services.registration import Registration
from homeserver.services.sessions import Sessions
from homeserver.storage.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """All services, one field each."""

    config: Config
    clock: Clock
    ids: Ids
    db: Database
    limits: RateLimits
    live: Live
    sessions: Sessions
    credentials: Credentials
    interactive_auth: InteractiveAuth
    registration: Registration
    login: LogIn
    devices: Devices
