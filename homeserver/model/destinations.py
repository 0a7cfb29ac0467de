"""Servers to which this one sends."""

from dataclasses import dataclass

from federation.core.ids import ServerName


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """What is kept of a server; times are milliseconds since 1970, and None while nothing is wrong."""

    server: ServerName
    cursor: int
    in_flight: bytes | None = None
    """The transaction that it may have taken or not, as JSON."""
    failing_since: int | None = None
    tried_at: int | None = None
    retry_at: int | None = None
    error: str | None = None
    blocked: bool = False
