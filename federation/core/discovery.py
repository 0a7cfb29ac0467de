"""Server discovery: from a server name to where the server listens, as a conversation.

https://spec.matrix.org/v1.19/server-server-api/#resolving-server-names

`find` asks for what only the network knows, a well-known file or SRV records, and is sent the answer. It ends
with a `Target`. What a well-known file says, and for how long, is read here too.
"""

import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import orjson

from federation.core.errors import InvalidIdentifier
from federation.core.ids import ServerName, is_ip_literal, parse_server_name, split_server_name

DEFAULT_PORT = 8448
DEFAULT_LIFETIME = 24 * 3600
"""Seconds that a well-known file holds which does not say how long."""

_max_age = re.compile(r'max-age="?([0-9]{1,10})"?').fullmatch


@dataclass(frozen=True, slots=True)
class Place:
    """A host, which is a name or an IP address without brackets, and a port."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Target:
    """Where a server listens, and how it is spoken to."""

    places: tuple[Place, ...]
    """To be tried one after the other; none if the server says that it is not to be reached."""
    host_header: str
    """The `Host` of requests."""
    tls_name: str
    """The name, or IP address without brackets, that the certificate must be valid for."""
    step: str
    """The step of the specification that found it, such as "3.2"."""


@dataclass(frozen=True, slots=True)
class WellKnown:
    """Asks for `https://host/.well-known/matrix/server`; the answer is the server name in it, or None."""

    host: str


@dataclass(frozen=True, slots=True)
class Service:
    """Asks for the SRV records of a name; the answer is their places in order, or None if there are no records.

    No places means that there is a record which says that the service is not to be had (RFC 2782, target ".").
    """

    name: str


Question = WellKnown | Service
Answer = str | tuple[Place, ...] | None


def find(server_name: ServerName) -> Generator[Question, Answer, Target]:
    """Return where `server_name` listens."""
    # 1 and 2
    if (target := _at_once(server_name, "1", "2")) is not None:
        return target
    # 3
    delegate = yield WellKnown(server_name)
    if not isinstance(delegate, str):
        return (yield from _by_service(server_name, ("4", "5", "6")))
    if (target := _at_once(delegate, "3.1", "3.2")) is not None:
        return target
    return (yield from _by_service(delegate, ("3.3", "3.4", "3.5")))


def _at_once(name: str, literal_step: str, port_step: str) -> Target | None:
    """Return the target of an IP literal, or of a name with a port, neither of which needs a question."""
    host, port = split_server_name(ServerName(name))
    if is_ip_literal(host):
        address = host.strip("[]")
        return Target((Place(address, DEFAULT_PORT if port is None else port),), name, address, literal_step)
    if port is not None:
        return Target((Place(host, port),), name, host, port_step)
    return None


def _by_service(host: str, steps: tuple[str, str, str]) -> Generator[Question, Answer, Target]:
    """Ask for both kinds of SRV records, the deprecated one last, and fall back to the default port."""
    for service, step in zip(("_matrix-fed._tcp", "_matrix._tcp"), steps, strict=False):
        places = yield Service(f"{service}.{host}")
        if isinstance(places, tuple):
            return Target(places, host, host, step)
    return Target((Place(host, DEFAULT_PORT),), host, host, steps[2])


def delegate_in(body: bytes) -> ServerName | None:
    """Return the server name that a well-known file delegates to, or None if it is not valid."""
    try:
        content = orjson.loads(body)
        return parse_server_name(content["m.server"])
    except (orjson.JSONDecodeError, LookupError, TypeError, InvalidIdentifier):
        return None


def lifetime(headers: Mapping[str, str]) -> int:
    """Return for how many seconds an answer with these headers (their names in lower case) holds.

    It follows `Cache-Control`, less the `Age`, then `Expires` (RFC 9111, section 4.2.1); the caller sets bounds.
    """
    directives = [part.strip().lower() for part in headers.get("cache-control", "").split(",")]
    if "no-store" in directives or "no-cache" in directives:
        return 0
    for directive in directives:
        if (found := _max_age(directive)) is not None:
            age = headers.get("age", "").strip()
            return max(0, int(found[1]) - (int(age) if age.isascii() and age.isdigit() else 0))
    if "expires" in headers:
        return _until_expiry(headers)
    return DEFAULT_LIFETIME


def _until_expiry(headers: Mapping[str, str]) -> int:
    try:
        return max(0, int((_moment(headers["expires"]) - _moment(headers.get("date", ""))).total_seconds()))
    except (ValueError, OverflowError):  # "Expires: 0" is an old way to say "at once"
        return 0


def _moment(text: str) -> datetime:
    moment = parsedate_to_datetime(text)
    return moment.replace(tzinfo=moment.tzinfo or UTC)
