"""The loop that keeps tables and memory from growing for ever. `CHORES` is all that it does."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from homeserver.clock import Clock
from homeserver.services import Services, once

log = structlog.get_logger()

HALF_A_MINUTE = 30.0
MINUTE = 60.0
HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Chore:
    """Something that is done again and again."""

    name: str
    do: Callable[[Services], Awaitable[object]]
    every_seconds: float


async def _idle_feeds(services: Services) -> None:
    services.live.prune()


CHORES: tuple[Chore, ...] = (
    Chore("last_seen", lambda services: services.sessions.write_seen(), MINUTE),
    Chore("idle_feeds", _idle_feeds, MINUTE),
    Chore("tokens", lambda services: services.sessions.prune(), HOUR),
    Chore("transactions", lambda services: once.forget_old(services.db, services.clock.now_ms()), HOUR),
    Chore("outbox", lambda services: services.outgoing.prune(), HOUR),
    Chore("asked_destinations", lambda services: services.outgoing.look(), HALF_A_MINUTE),
    Chore("server_transactions", lambda services: services.receiving.prune(), HOUR),
    Chore("to_device", lambda services: services.to_device.prune(), HOUR),
    Chore("device_lists", lambda services: services.remote_devices.prune(), HOUR),
    Chore("server_keys", lambda services: services.server_keys.others.prune(), HOUR),
    Chore("interactive_sessions", lambda services: services.interactive_auth.prune(), HOUR),
)


async def run(services: Services, clock: Clock, chores: Sequence[Chore] = CHORES) -> None:
    """Do each chore when it is due, one at a time, until cancelled. One that fails is logged and done again later."""
    due = {chore: clock.monotonic() + chore.every_seconds for chore in chores}
    while True:
        chore = min(due, key=lambda one: due[one])
        await clock.sleep(max(0.0, due[chore] - clock.monotonic()))
        try:
            await chore.do(services)
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("chore_failed", chore=chore.name)
        due[chore] = clock.monotonic() + chore.every_seconds
