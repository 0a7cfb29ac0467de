"""Requests of other servers: signed by whom they claim to come from, and not more than can be worked on.

https://spec.matrix.org/v1.19/server-server-api/#request-authentication
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from federation.core import request_auth
from federation.core.canonical_json import encode_lenient
from federation.core.errors import BadJson as NoJson
from federation.core.errors import BadSignature
from federation.core.ids import ServerName
from federation.core.request_auth import RequestAuth
from homeserver.errors import BadJson, Unauthorized, Unavailable
from homeserver.http.bodies import JsonObject
from homeserver.services import Services

SHARE = 4
"""One source may have this part of all places."""


@dataclass(slots=True)
class Places:
    """Where requests of servers are worked on: apart from those of clients, so that neither can push the other out."""

    most: int
    taken: int = 0
    by_source: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def one(self) -> Iterator[None]:
        """Take a place. Raises `Unavailable`."""
        if self.taken >= self.most:
            raise Unavailable("The server is busy", retry_after_ms=1000)
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1

    @contextmanager
    def one_of(self, source: str) -> Iterator[None]:
        """Let an address or a server have one place more, out of those taken. Raises `Unavailable`."""
        if self.by_source[source] >= max(1, self.most // SHARE):
            raise Unavailable("Too many requests at the same time", retry_after_ms=1000)
        self.by_source[source] += 1
        try:
            yield
        finally:
            self.by_source[source] -= 1
            if not self.by_source[source]:
                del self.by_source[source]


def claimed(headers: Sequence[str], server_name: str) -> RequestAuth:
    """Return what the `Authorization` headers claim. Raises `Unauthorized` if they cannot be meant for us."""
    try:
        auth = request_auth.parse(headers)
    except BadSignature as error:
        raise Unauthorized(f"Not signed: {error}") from error
    if auth is None:
        raise Unauthorized("The request is not signed")
    if auth.destination is not None and auth.destination != server_name:
        raise Unauthorized(f"The request is meant for {auth.destination}")
    if auth.origin == server_name:
        raise Unauthorized("The request claims to come from this server itself")
    return auth


async def verify(auth: RequestAuth, services: Services, method: str, uri: str, body: JsonObject | None) -> ServerName:
    """Return the server that has signed the request. Raises `Unauthorized` if that cannot be proven."""
    try:
        content = encode_lenient(body) if body is not None else None
    except NoJson as error:
        raise BadJson(f"The body has no canonical form: {error}") from error
    keys = await services.keyring.keys_in_use(auth.origin, auth.signatures, now_ms=services.clock.now_ms())
    reason = f"no key of {auth.origin} is known that is in use and has signed it"
    for key_id, public_key in keys.items():
        try:
            request_auth.verify(
                auth,
                key_id,
                public_key,
                destination=ServerName(services.config.server_name),
                method=method,
                uri=uri,
                content=content,
            )
        except BadSignature as error:
            reason = str(error)
        else:
            return auth.origin
    raise Unauthorized(f"Not signed: {reason}")
