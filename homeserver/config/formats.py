"""Formats of texts in the configuration: addresses to listen on, networks, URLs.

Each `check_…` raises `ValueError` with what is expected; each `parse_…` gives the parsed value.
"""

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from urllib.parse import urlsplit

from federation.core.errors import InvalidIdentifier
from federation.core.ids import parse_room_id, parse_server_name

MAX_SERVER_NAME_BYTES = 230
"""A longer name leaves no room for the localpart in a user ID."""

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where to accept connections. Port 0 lets the system choose one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_listen(text: str) -> ListenAddress:
    """Parse `127.0.0.1:8008`, `[::]:8008` or `localhost:8008`; raise `ValueError` for anything else."""
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
    plain_port = port.isascii() and port.isdigit() and len(port) <= 5
    if not (colon and host and plain_port and int(port) < 65536) or (":" in host) != bracketed:
        raise ValueError('expected an address and a port such as "127.0.0.1:8008" or "[::]:8008"')
    return ListenAddress(host, int(port))


def parse_network(text: str) -> Network:
    """Parse an IP address or a network such as `10.0.0.0/8`; raise `ValueError` for anything else."""
    try:
        return ip_network(text)
    except ValueError:
        raise ValueError('expected an IP address or a network such as "10.0.0.0/8"') from None


def check_server_name(text: str) -> None:
    """Check a server name: a host, with a port where it is not found by the usual means."""
    try:
        parse_server_name(text)
    except InvalidIdentifier:
        raise ValueError('expected a host name such as "example.org", with or without a port') from None
    if len(text) > MAX_SERVER_NAME_BYTES:
        raise ValueError(f"expected a name of at most {MAX_SERVER_NAME_BYTES} characters")


def check_delegate(text: str) -> None:
    """Check the name of a server that answers for this one; empty means none."""
    if text:
        check_server_name(text)


def check_listen(text: str) -> None:
    """Check an address to listen on; empty means not to listen."""
    if text:
        parse_listen(text)


def check_network(text: str) -> None:
    """Check an address or network."""
    parse_network(text)


def check_public_url(text: str) -> None:
    """Check a base URL that clients will be told; empty means the default."""
    if not text:
        return
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ValueError('expected a URL such as "https://matrix.example.org", without "?" and "#"')


def check_room_id(text: str) -> None:
    """Check the ID of a room; empty means none."""
    if not text:
        return
    try:
        parse_room_id(text)
    except InvalidIdentifier:
        raise ValueError('expected a room ID such as "!abc:example.org"') from None


def check_database_url(text: str) -> None:
    """Check the URL of a database: a SQLite file or a PostgreSQL server."""
    if text.startswith("sqlite:///") and len(text) > len("sqlite:///"):
        return
    parts = urlsplit(text)
    if parts.scheme == "postgresql" and parts.path.strip("/"):
        return
    raise ValueError('expected "sqlite:///FILE" or "postgresql://USER:PASSWORD@HOST/DATABASE"')


def check_turn_uri(text: str) -> None:
    """Check the URI of a TURN or STUN server."""
    if text.partition(":")[0] not in {"turn", "turns", "stun", "stuns"} or not text.partition(":")[2]:
        raise ValueError('expected a URI such as "turn:turn.example.org?transport=udp"')
