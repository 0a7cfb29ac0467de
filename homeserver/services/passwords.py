"""Passwords: kept as argon2id hashes for us, and as SCRAM keys for the XMPP clients of the same accounts.

Both are slow on purpose, so they run in a few threads of their own, and only so many may wait.
"""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import argon2
from argon2.exceptions import InvalidHashError, VerificationError

from homeserver.clock import Ids
from homeserver.config.schema import Passwords as Options
from homeserver.errors import InvalidParam, Unavailable, WeakPassword
from homeserver.model.accounts import ScramKeys
from homeserver.services.saslprep import saslprep

T = TypeVar("T")

LONGEST = 512
"""Characters of a password; more would only cost time."""
MOST_WAITING = 200
SCRAM_ITERATIONS = {"SCRAM-SHA-1": 4096, "SCRAM-SHA-256": 10_000, "SCRAM-SHA-512": 10_000}
"""RFC 5802 asks for at least 4096, RFC 7677 for more with the longer hashes. Clients do this work at every login."""
_HASHES = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}
_SALT_BYTES = 16


@dataclass(frozen=True, slots=True)
class Secured:
    """What is stored of a password."""

    hash: str
    keys: tuple[ScramKeys, ...]


class Passwords:
    """Secures new passwords and verifies given ones."""

    def __init__(self, options: Options, ids: Ids) -> None:
        """Take the configured cost, and where the salts come from."""
        self._ids = ids
        self._min_length = options.min_length
        self._hasher = argon2.PasswordHasher(
            time_cost=options.argon2_iterations, memory_cost=options.argon2_memory_kib, parallelism=1
        )
        salt, digest = (_base64(bytes(size)) for size in (16, 32))
        self._decoy = f"$argon2id$v=19$m={options.argon2_memory_kib},t={options.argon2_iterations},p=1${salt}${digest}"
        self._threads = ThreadPoolExecutor(options.max_concurrent, thread_name_prefix="password")
        self._waiting = 0

    def check_new(self, password: str) -> None:
        """Raise `WeakPassword` for a password that a user may not choose, `InvalidParam` for one that is too long."""
        if len(password) < self._min_length:
            raise WeakPassword(f"password: must have at least {self._min_length} characters")
        check_length(password)

    async def secure(self, password: str) -> Secured:
        """Return what to store of a new password."""
        return await self._run(lambda: Secured(self._hasher.hash(password), self._scram_keys(password)))

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Return whether a password is right; without a hash it takes as long and is wrong."""

        def compare() -> bool:
            try:
                return self._hasher.verify(password_hash or self._decoy, password)
            except (VerificationError, InvalidHashError):
                return False

        return len(password) <= LONGEST and await self._run(compare)

    def is_outdated(self, password_hash: str) -> bool:
        """Return whether the hash was made at another cost than the configured one."""
        return self._hasher.check_needs_rehash(password_hash)

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(cancel_futures=True)

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= MOST_WAITING:
            raise Unavailable("Too many people are logging in", retry_after_ms=1000)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1

    def _scram_keys(self, password: str) -> tuple[ScramKeys, ...]:
        try:
            prepared = saslprep(password).encode()
        except ValueError:
            # A password that SCRAM cannot carry is still good everywhere else.
            return ()
        return tuple(
            scram_keys(mechanism, prepared, self._ids.token(_SALT_BYTES).encode(), iterations)
            for mechanism, iterations in SCRAM_ITERATIONS.items()
        )


def check_length(password: str) -> None:
    """Raise `InvalidParam` for a password that is empty or too long for the server to hash."""
    if not password:
        raise InvalidParam("password: must not be empty")
    if len(password) > LONGEST:
        raise InvalidParam(f"password: must have at most {LONGEST} characters")


def scram_keys(mechanism: str, password: bytes, salt: bytes, iterations: int) -> ScramKeys:
    """Return what a server keeps of a prepared password: https://www.rfc-editor.org/rfc/rfc5802#section-3."""
    algorithm = _HASHES[mechanism]
    salted = hashlib.pbkdf2_hmac(algorithm, password, salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", algorithm)
    return ScramKeys(
        mechanism=mechanism,
        salt=salt,
        iterations=iterations,
        stored_key=hashlib.new(algorithm, client_key).digest(),
        server_key=hmac.digest(salted, b"Server Key", algorithm),
    )


def _base64(data: bytes) -> str:
    return base64.b64encode(data).rstrip(b"=").decode()
