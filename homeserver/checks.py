"""What `isthmus check` looks at. Each check says what it found and, if that is bad, how to mend it."""

import asyncio
import json
import os
import socket
import sqlite3
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg  # type: ignore[import-untyped]
from argon2.exceptions import HashingError
from argon2.low_level import Type, hash_secret_raw

from federation.core.errors import ProtocolError
from federation.core.signing import parse_keys
from homeserver.config.formats import ListenAddress, parse_listen
from homeserver.config.schema import Config

OLDEST_POSTGRESQL = 13
OLDEST_SQLITE = (3, 35, 0)  # the first with RETURNING
CREATE_DATABASE = "CREATE DATABASE name ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
PATIENCE_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check; `mend` says what to do if it is not good."""

    subject: str
    good: bool
    text: str
    mend: str = ""


def all_findings(config: Config) -> list[Finding]:
    """Look at everything that the configuration names."""
    findings = [signing_key(config), database(config), media(config), public_url(config), hashing(config)]
    findings += certificates(config)
    for name, addresses in (
        ("http.listen", config.http.listen),
        ("metrics.listen", (config.metrics.listen,) if config.metrics.listen else ()),
        ("xmpp.listen", config.xmpp.listen if config.xmpp.enabled else ()),
        ("xmpp.listen_tls", config.xmpp.listen_tls if config.xmpp.enabled else ()),
    ):
        findings += [port(name, parse_listen(address)) for address in addresses]
    return findings


def signing_key(config: Config) -> Finding:
    """Look whether the signing key can be read and is private."""
    subject = "keys.signing_key"
    path = Path(config.keys.signing_key)
    try:
        keys = parse_keys(path.read_text(encoding="ascii"))
        mode = path.stat().st_mode
    except (OSError, UnicodeDecodeError, ProtocolError) as error:
        return Finding(subject, False, f"{path} cannot be read: {error}", "restore it from a backup")
    if not keys:
        return Finding(subject, False, f"{path} holds no key", "restore it from a backup")
    if mode & 0o077:
        return Finding(subject, False, f"others may read {path}", f"run: chmod 600 {path}")
    return Finding(subject, True, f"{path} holds {keys[0].key_id}")


def database(config: Config) -> Finding:
    """Look whether the database answers, and how old it is."""
    url = config.database.url
    if url.startswith("sqlite:///"):
        return _sqlite(Path(url.removeprefix("sqlite:///")))
    return asyncio.run(_postgresql(url))


def media(config: Config) -> Finding:
    """Look whether media can be written."""
    return _writable("media.path", Path(config.media.path))


def public_url(config: Config) -> Finding:
    """Look whether clients can use the URL that they will be told."""
    subject, url = "public_url", config.base_url
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "http" and not _is_local(host):
        return Finding(
            subject,
            False,
            f"{url} is not encrypted, and most clients refuse such servers",
            "put a reverse proxy with TLS before the server and write https://",
        )
    return Finding(subject, True, f"clients are told {url}")


def hashing(config: Config) -> Finding:
    """Look whether there is the memory to hash passwords."""
    subject, settings = "passwords", config.passwords
    needed = settings.argon2_memory_kib * settings.max_concurrent
    available = _available_kib()
    mend = "lower passwords.argon2_memory_kib or passwords.max_concurrent"
    if available is not None and needed > available:
        return Finding(subject, False, f"hashing may take {needed} KiB, {available} KiB are available", mend)
    try:
        hash_secret_raw(b"check", bytes(16), 1, settings.argon2_memory_kib, 1, 32, Type.ID)
    except (HashingError, MemoryError) as error:
        return Finding(subject, False, f"a password cannot be hashed: {error}", mend)
    return Finding(subject, True, f"hashing takes up to {needed} KiB")


def certificates(config: Config) -> Iterator[Finding]:
    """Look whether the certificates that are named can be used."""
    for name, tls in (("federation", config.federation), ("xmpp", config.xmpp)):
        if tls.tls_certificate:
            try:
                ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(tls.tls_certificate, tls.tls_key)
            except (OSError, ssl.SSLError) as error:
                text = f"{tls.tls_certificate} and {tls.tls_key} cannot be used: {error}"
                yield Finding(
                    f"{name}.tls_certificate",
                    False,
                    text,
                    "name a PEM chain and the private key that fits it",
                )
            else:
                yield Finding(f"{name}.tls_certificate", True, f"{tls.tls_certificate} can be used")


def port(subject: str, address: ListenAddress) -> Finding:
    """Look whether the address is free, or answered by a Matrix server, which will be this one."""
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(target)
            listener.listen()
    except PermissionError:
        mend = "choose a port of 1024 or more and let a reverse proxy listen on this one"
        return Finding(subject, False, f"{address} is not allowed for this user", mend)
    except OSError as error:
        path = "/metrics" if subject == "metrics.listen" else "/_matrix/client/versions"
        if _speaks_xmpp(subject, address) if subject.startswith("xmpp.") else _answers(address, path):
            return Finding(subject, True, f"{address} is answered by a running server")
        mend = "stop the program that uses it, or choose another address"
        return Finding(subject, False, f"{address} cannot be used: {error.strerror}", mend)
    return Finding(subject, True, f"{address} is free")


def _sqlite(file: Path) -> Finding:
    subject = "database.url"
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        text = f"SQLite {sqlite3.sqlite_version} is too old"
        return Finding(subject, False, text, "use a Python with SQLite 3.35 or newer")
    directory = _writable(subject, file.parent)
    if not directory.good:
        return directory
    if not file.exists():
        return Finding(subject, True, f"{file} will be made by SQLite {sqlite3.sqlite_version}")
    try:
        connection = sqlite3.connect(f"{file.resolve().as_uri()}?mode=rw", uri=True, timeout=PATIENCE_SECONDS)
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        finally:
            connection.close()
    except sqlite3.Error as error:
        return Finding(subject, False, f"{file} cannot be used: {error}", "restore it from a backup")
    return Finding(subject, True, f"{file} is readable by SQLite {sqlite3.sqlite_version}")


async def _postgresql(url: str) -> Finding:
    subject = "database.url"
    try:
        connection = await asyncpg.connect(url, timeout=PATIENCE_SECONDS)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        reason = str(error) or type(error).__name__
        mend = "start PostgreSQL, make user and database, and write them into the URL"
        return Finding(subject, False, f"PostgreSQL does not let us in: {reason}", mend)
    try:
        version = connection.get_server_version()
        encoding = await connection.fetchval("SHOW server_encoding")
    finally:
        await connection.close()
    if version.major < OLDEST_POSTGRESQL:
        text = f"PostgreSQL {version.major} is too old"
        return Finding(subject, False, text, f"upgrade it to {OLDEST_POSTGRESQL} or newer")
    if encoding != "UTF8":
        mend = f"make the database with: {CREATE_DATABASE}"
        return Finding(subject, False, f"the database's encoding is {encoding}", mend)
    return Finding(subject, True, f"PostgreSQL {version.major}.{version.minor} answers")


def _writable(subject: str, directory: Path) -> Finding:
    """Look whether a directory can be written, or made where it does not exist yet."""
    existing = directory
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        return Finding(subject, False, f"{existing} is not a directory", "name a directory")
    if not os.access(existing, os.W_OK | os.X_OK):
        mend = f"let this user write {existing}, or run as the user who owns it"
        return Finding(subject, False, f"{directory} cannot be written", mend)
    return Finding(subject, True, f"{directory} {'is writable' if existing == directory else 'will be made'}")


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_private
    except ValueError:
        return "." not in host


def _reachable(address: ListenAddress) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)  # noqa: S104


def _speaks_xmpp(subject: str, address: ListenAddress) -> bool:
    tls = ssl.create_default_context()
    # Whose certificate it is says nothing of whether the port is taken by another program.
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((_reachable(address), address.port), PATIENCE_SECONDS) as plain,
            tls.wrap_socket(plain) if subject == "xmpp.listen_tls" else plain as connection,
        ):
            connection.sendall(b"<stream:stream xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>")
            return b"http://etherx.jabber.org/streams" in connection.recv(4096)
    except OSError:
        return False


def _answers(address: ListenAddress, path: str) -> bool:
    connection = HTTPConnection(_reachable(address), address.port, timeout=PATIENCE_SECONDS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read(65536)
        if path == "/metrics":
            return answer.status == 200 and b"isthmus_" in body
        return answer.status == 200 and "versions" in json.loads(body)
    except (OSError, HTTPException, ValueError, TypeError):
        return False
    finally:
        connection.close()


def _available_kib() -> int | None:
    """Return the memory that programs may still take; None where the system does not say."""
    readers: tuple[Callable[[], int], ...] = (_free_kib, _left_in_group_kib)
    found = []
    for reader in readers:
        try:
            found.append(reader())
        except (OSError, ValueError, StopIteration):
            continue
    return min(found, default=None)


def _free_kib() -> int:
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))


def _left_in_group_kib() -> int:
    group = Path("/sys/fs/cgroup")
    limit = int((group / "memory.max").read_text(encoding="ascii"))
    return (limit - int((group / "memory.current").read_text(encoding="ascii"))) // 1024
