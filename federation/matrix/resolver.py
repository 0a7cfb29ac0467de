"""Finds where other servers listen: answers what discovery asks.

https://spec.matrix.org/v1.19/server-server-api/#resolving-server-names
"""

from typing import Protocol

from federation.core.discovery import Answer, Place, Question, Target, WellKnown, find
from federation.core.ids import ServerName
from federation.matrix.ask import carry
from federation.matrix.errors import Unreachable


class WellKnownSource(Protocol):
    """Knows what well-known files say."""

    async def delegate(self, host: str) -> ServerName | None:
        """Return the server name that a host delegates to, or None if it has no valid file."""
        ...


class ServiceSource(Protocol):
    """Knows SRV records."""

    async def services(self, name: str) -> tuple[Place, ...] | None:
        """Return the places in the records of a name in the order to try them, or None if there are none."""
        ...


class Resolver:
    """Finds servers. It remembers nothing itself: whoever answers the questions does."""

    def __init__(self, well_known: WellKnownSource, services: ServiceSource) -> None:
        """Ask these."""
        self._well_known = well_known
        self._services = services

    async def resolve(self, server_name: ServerName) -> Target:
        """Return where a server listens. The addresses of its places are looked up when they are connected to."""
        return await carry(find(server_name), self._answer)

    async def _answer(self, question: Question) -> Answer:
        if isinstance(question, WellKnown):
            return await self._well_known.delegate(question.host)
        return await self._services.services(question.name)


class Nowhere(Resolver):
    """Finds no server: federation is off."""

    async def resolve(self, server_name: ServerName) -> Target:
        """Raise `Unreachable`."""
        raise Unreachable(f"{server_name} is not asked: federation is off")
