"""The verbs: access checks, decisions through the law, transactions. One service a noun, built once in `homeserver.app`."""

from dataclasses import dataclass

from homeserver.clock import Clock, Ids
from homeserver.config import Config
from homeserver.services.rate_limits import RateLimits
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
    sessions: Sessions
