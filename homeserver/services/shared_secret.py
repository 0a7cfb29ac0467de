"""Registration by tools that know the server's shared secret.

A tool fetches a nonce, and proves by an HMAC over it and over the account's data that it knows the secret. Nonces
are kept in memory: they live a minute, and each is good for one attempt.
"""

import hmac
from collections import OrderedDict

from homeserver.clock import Clock, Ids
from homeserver.errors import Forbidden, InvalidParam, Unrecognized

NONCE_SECONDS = 60.0
MOST_NONCES = 1000


class SharedSecret:
    """Gives nonces out and checks what tools prove with them."""

    def __init__(self, secret: str, clock: Clock, ids: Ids) -> None:
        """Take the secret; an empty one turns all of it off."""
        self._secret = secret.encode()
        self._clock = clock
        self._ids = ids
        self._nonces: OrderedDict[str, float] = OrderedDict()

    def new_nonce(self) -> str:
        """Return a nonce for one attempt. Raises `Unrecognized` where no secret is configured."""
        self._check_enabled()
        if len(self._nonces) >= MOST_NONCES:
            self._nonces.popitem(last=False)
        nonce = self._ids.token()
        self._nonces[nonce] = self._clock.monotonic() + NONCE_SECONDS
        return nonce

    def check(self, mac: str, *, nonce: str, username: str, password: str, admin: bool, user_type: str | None) -> None:
        """Use the nonce up and check the HMAC. Raises `Unrecognized`, `InvalidParam` or `Forbidden`."""
        self._check_enabled()
        if self._nonces.pop(nonce, 0.0) <= self._clock.monotonic():
            raise InvalidParam("nonce: unknown, expired or used already")
        parts = [nonce, username, password, "admin" if admin else "notadmin"]
        if user_type is not None:
            parts.append(user_type)
        wanted = hmac.new(self._secret, "\0".join(parts).encode(), "sha1").hexdigest()
        if not hmac.compare_digest(wanted.encode(), mac.lower().encode()):
            raise Forbidden("mac: wrong")

    def _check_enabled(self) -> None:
        if not self._secret:
            raise Unrecognized("No shared secret is configured")
