"""Every option of Isthmus, declared once: type, default, bounds and one sentence.

Times are whole seconds and sizes are bytes unless the name says otherwise. A path that is not absolute is
relative to the working directory of the server; `isthmus init` writes absolute ones.
"""

# ruff: noqa: RUF009 - `section` makes a dataclass field, as `option` does.

from dataclasses import dataclass

from federation.core.room_versions import DEFAULT_ROOM_VERSION, ROOM_VERSIONS
from homeserver.config.formats import (
    check_database_url,
    check_delegate,
    check_listen,
    check_network,
    check_public_url,
    check_room_id,
    check_server_name,
    check_turn_uri,
)
from homeserver.config.options import option, required, section


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    signing_key: str = option(
        "data/signing.key", "The file with the server's signing key; whoever has it can speak as this server."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    url: str = option(
        "sqlite:///data/isthmus.db",
        'A SQLite file, or "postgresql://user:password@host/database".',
        check=check_database_url,
        secret=True,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Http:
    listen: tuple[str, ...] = option(
        ("127.0.0.1:8008",),
        "Where the client API, media, well-known files and administration are served, without TLS.",
        check=check_listen,
    )
    trusted_proxies: tuple[str, ...] = option(
        ("127.0.0.1", "::1"),
        "Addresses or networks of reverse proxies; X-Forwarded-For is believed only from these.",
        check=check_network,
    )
    max_body_bytes: int = option(10 * 1024 * 1024, "Largest body of a request, media uploads apart.", at_least=131072)
    max_pending: int = option(
        1000, "Most requests worked on at once, long polls apart; above it the answer is 503.", at_least=1
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Federation:
    enabled: bool = option(True, "Whether this server speaks with other Matrix servers.")
    listen: tuple[str, ...] = option(
        (), 'More places to serve federation, with TLS, such as "0.0.0.0:8448".', check=check_listen
    )
    tls_certificate: str = option(
        "", "PEM file with the certificate chain for these listeners; a renewed one is taken without a restart."
    )
    tls_key: str = option("", "PEM file with its private key.")
    well_known: str = option(
        "",
        'Where other servers reach this one, such as "matrix.example.org:443", told in /.well-known/matrix/server.',
        check=check_delegate,
    )
    trusted_notaries: tuple[str, ...] = option(
        (),
        "Servers that are believed when they tell the keys of a server that does not answer itself.",
        check=check_server_name,
    )
    max_pending: int = option(
        200, "Most requests of other servers worked on at once; above it the answer is 503.", at_least=4
    )
    blocked_destinations: tuple[str, ...] = option(
        (),
        "Servers to which no events are sent; what they miss they get once they are taken off.",
        check=check_server_name,
    )
    transactions_at_once: int = option(
        100, "Most transactions on their way to other servers at once, those that take long apart.", at_least=1
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    extra_ca: str = option("", "PEM bundle of authorities trusted besides those of the system.")
    allow_private_addresses: bool = option(
        False, "Whether requests may go to private addresses; for tests and closed networks."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rooms:
    default_version: str = option(
        DEFAULT_ROOM_VERSION, "Version of a room when its creator names none.", one_of=tuple(ROOM_VERSIONS)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    enabled: bool = option(False, "Whether rooms may make this server their policy server.")
    signing_key: str = option(
        "",
        "The file with the key that recommends events, made when it is first needed; "
        "empty means policy.key beside the signing key.",
    )
    refused_senders: tuple[str, ...] = option(
        (), 'User IDs whose events are not recommended, with * and ?, such as "@*:spam.example.org".'
    )
    refused_words: tuple[str, ...] = option(
        (), 'Words and phrases with which events are not recommended, with * and ?, such as "buy * now".'
    )
    list_room: str = option(
        "",
        "ID of a moderation policy list's room, which a user of this server is in; whom it bans is not recommended.",
        check=check_room_id,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    enabled: bool = option(False, "Whether people may make accounts by themselves.")
    tokens_required: bool = option(False, "Whether they need a registration token for it.")
    shared_secret: str = option(
        "",
        "Lets tools make accounts at /_synapse/admin/v1/register; empty turns that endpoint off.",
        secret=True,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Passwords:
    argon2_memory_kib: int = option(65536, "Memory that hashing one password takes.", at_least=1024, at_most=4194304)
    argon2_iterations: int = option(3, "Passes over that memory.", at_least=1, at_most=100)
    min_length: int = option(8, "Fewest characters of a new password.", at_least=1, at_most=512)
    max_concurrent: int = option(2, "Passwords hashed at the same time; the others wait.", at_least=1, at_most=64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sessions:
    access_token_lifetime_seconds: int = option(
        3600, "How long an access token lives where the client can refresh it.", at_least=10
    )
    refresh_token_lifetime_seconds: int = option(
        0, "How long an unused refresh token lives; 0 means for ever.", at_least=0
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimits:
    enabled: bool = option(True, "Whether clients are slowed down at all.")
    messages_per_second: float = option(10.0, "Events a user may send a second, in the long run.", at_least=0.001)
    messages_burst: int = option(50, "Events a user may send at once.", at_least=1)
    login_per_second: float = option(
        0.2, "Attempts to log in a second, from one address and for one account.", at_least=0.001
    )
    login_burst: int = option(10, "Attempts to log in at once.", at_least=1)
    registration_per_second: float = option(0.1, "Attempts to register a second, from one address.", at_least=0.001)
    registration_burst: int = option(10, "Attempts to register at once.", at_least=1)
    joins_per_second: float = option(1.0, "Rooms a user may create, join or invite to, a second.", at_least=0.001)
    joins_burst: int = option(50, "Rooms a user may create, join or invite to, at once.", at_least=1)
    media_per_second: float = option(5.0, "Uploads of a user a second.", at_least=0.001)
    media_burst: int = option(50, "Uploads of a user at once.", at_least=1)
    default_per_second: float = option(50.0, "All other requests of a user a second.", at_least=0.001)
    default_burst: int = option(500, "All other requests of a user at once.", at_least=1)
    federation_per_second: float = option(100.0, "Requests of another server a second.", at_least=0.001)
    federation_burst: int = option(1000, "Requests of another server at once.", at_least=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    enabled: bool = option(True, "Whether users see who is online.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationServices:
    directory: str = option("", "Directory with the registration files (*.yaml) of application services.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Xmpp:
    enabled: bool = option(True, "Whether XMPP clients are served.")
    listen: tuple[str, ...] = option(
        ("127.0.0.1:5222",), "Where XMPP clients connect, with STARTTLS.", check=check_listen
    )
    listen_tls: tuple[str, ...] = option(
        (), 'Where they connect with TLS from the first byte, such as "0.0.0.0:5223".', check=check_listen
    )
    tls_certificate: str = option("", "PEM file with the certificate chain; a self-signed one is made for localhost.")
    tls_key: str = option("", "PEM file with its private key.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    path: str = option("data/media", "Directory that holds the files.")
    max_upload_bytes: int = option(104857600, "Largest file that a user may upload.", at_least=1)
    max_pixels: int = option(50_000_000, "Largest image (width times height) that thumbnails are made of.", at_least=1)
    max_remote_bytes: int = option(104857600, "Largest file that is fetched from another server.", at_least=1)
    remote_expires_seconds: int = option(
        2592000, "How long a file of another server is kept after somebody last wanted it.", at_least=3600
    )
    unused_expires_seconds: int = option(86400, "How long a reserved content URI waits for its upload.", at_least=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class Voip:
    turn_uris: tuple[str, ...] = option(
        (), 'TURN servers for calls, such as "turn:turn.example.org?transport=udp".', check=check_turn_uri
    )
    turn_shared_secret: str = option("", "The secret shared with them (static-auth-secret of coturn).", secret=True)
    turn_user_lifetime_seconds: int = option(86400, "How long a user's TURN password works.", at_least=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class Support:
    admin_matrix_id: str = option("", "User ID of whoever runs this server.")
    admin_email: str = option("", "Their e-mail address.")
    security_matrix_id: str = option("", "User ID to report security problems to.")
    security_email: str = option("", "E-mail address to report security problems to.")
    page: str = option("", "URL of a page with help for users.", check=check_public_url)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caches:
    budget_bytes: int = option(128 * 1024 * 1024, "Memory for all caches together, about.", at_least=4 * 1024 * 1024)


@dataclass(frozen=True, slots=True, kw_only=True)
class Logging:
    level: str = option(
        "info", "The least important messages that are written.", one_of=("debug", "info", "warning", "error")
    )
    format: str = option("console", "Text for people, or one JSON object a line.", one_of=("console", "json"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    listen: str = option(
        "",
        'Where Prometheus fetches /metrics, such as "127.0.0.1:9090"; empty turns it off.',
        check=check_listen,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The whole configuration."""

    server_name: str = required(
        "The name behind the colon of every user ID; it can never be changed.", check=check_server_name
    )
    public_url: str = option(
        "",
        "Where clients reach this server, told in /.well-known/matrix/client; empty means https://SERVER_NAME.",
        check=check_public_url,
    )
    keys: Keys = section(Keys, "Keys that prove who this server is.")
    database: Database = section(Database, "Where everything durable is kept.")
    http: Http = section(Http, "The HTTP listener; also serves federation unless told otherwise.")
    federation: Federation = section(Federation, "Conversation with other Matrix servers.")
    outgoing: Outgoing = section(
        Outgoing, "Every request that we make: federation, push, previews, application services."
    )
    rooms: Rooms = section(Rooms, "Rooms made on this server.")
    policy: Policy = section(Policy, "Having a say, as their policy server, over what is sent in rooms that want it.")
    registration: Registration = section(Registration, "How accounts are made.")
    passwords: Passwords = section(Passwords, "How passwords are kept: hashed with argon2id.")
    sessions: Sessions = section(Sessions, "How long a login lasts.")
    rate_limits: RateLimits = section(RateLimits, "How much one user or one address may ask.")
    presence: Presence = section(Presence, "Who is online.")
    application_services: ApplicationServices = section(ApplicationServices, "Bridges and bots.")
    xmpp: Xmpp = section(Xmpp, "The door for XMPP clients.")
    media: Media = section(Media, "Files that users send.")
    voip: Voip = section(Voip, "Servers that relay calls.")
    support: Support = section(Support, "Whom users turn to, told in /.well-known/matrix/support.")
    caches: Caches = section(Caches, "What is kept in memory.")
    logging: Logging = section(Logging, "What is written to standard error.")
    metrics: Metrics = section(Metrics, "Figures for Prometheus.")

    @property
    def base_url(self) -> str:
        """Where clients reach this server, without a slash at the end."""
        return (self.public_url or f"https://{self.server_name}").rstrip("/")
