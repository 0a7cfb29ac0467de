"""What the carriers need of whoever uses them."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from federation.core.ids import ServerName
from federation.core.server_keys import KeyDocument, ServerKey

KeysOfServer = Mapping[str, ServerKey]
"""A server's public keys by their identifiers."""


class Time(Protocol):
    """Tells the time."""

    def now_ms(self) -> int:
        """Return milliseconds since 1970."""
        ...

    def monotonic(self) -> float:
        """Return seconds of a clock that never goes back."""
        ...


class KeyStore(Protocol):
    """Keeps the keys of other servers."""

    async def load(self, servers: Collection[ServerName]) -> Mapping[ServerName, KeysOfServer]:
        """Return what is known of these servers' keys; those of whom nothing is known may be left out."""
        ...

    async def save(self, learnt: Sequence[tuple[KeyDocument, KeysOfServer]]) -> None:
        """Keep documents, and with each all that is known of its server's keys now."""
        ...


class KeySource(Protocol):
    """Asks other servers for keys. Both raise `FederationError`."""

    async def server_keys(self, destination: ServerName) -> Mapping[str, Any]:
        """Return what a server says are its keys."""
        ...

    async def query_keys(self, notary: ServerName, wants: Mapping[ServerName, Mapping[str, int]]) -> Mapping[str, Any]:
        """Return what a notary answers when it is asked for keys, each good until at least a time."""
        ...
