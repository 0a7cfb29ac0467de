"""Signed requests to other servers: to the right place, over connections that are kept, within bounds.

https://spec.matrix.org/v1.19/server-server-api/#api-standards
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal, Protocol
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from federation.core import request_auth
from federation.core.canonical_json import encode_lenient
from federation.core.discovery import Place, Target
from federation.core.errors import InvalidIdentifier
from federation.core.ids import ServerName, parse_server_name
from federation.core.signing import SigningKey
from federation.matrix.answers import parse_json, read_bounded
from federation.matrix.errors import BadAnswer, FederationError, RemoteError, Unreachable

MOST_BYTES = 50 * 1024 * 1024
MOST_ERROR_BYTES = 64 * 1024
MOST_HEADER_BYTES = 16 * 1024
MOST_HEADERS = 100
CONNECT_SECONDS = 10.0
"""For TCP and TLS, with one address."""
IDEMPOTENT = frozenset({"GET", "PUT"})

Outcome = Literal["ok", "error", "unreachable", "bad_answer", "cancelled"]
_OUTCOMES: Mapping[type[FederationError], Outcome] = {
    Unreachable: "unreachable",
    BadAnswer: "bad_answer",
    RemoteError: "error",
}
Query = Iterable[tuple[str, str]]


class Finder(Protocol):
    """Finds where servers listen."""

    async def resolve(self, server_name: ServerName) -> Target:
        """Return where a server listens, or raise `Unreachable`."""
        ...


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    uri: str
    headers: Mapping[str, str]
    content: bytes | None
    idempotent: bool


class Requests:
    """Asks other servers, over one pool of connections."""

    def __init__(
        self,
        server_name: ServerName,
        key: SigningKey,
        finder: Finder,
        connector: aiohttp.BaseConnector,
        *,
        count: Callable[[Outcome], None] = lambda _: None,
    ) -> None:
        """Use `connector`, which is closed with this, for connections; tell `count` how each request ended."""
        self._server_name = server_name
        self._key = key
        self._finder = finder
        self._count = count
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "Isthmus", "Accept-Encoding": "gzip, deflate"},
            trace_configs=[_watching_reuse()],
            middlewares=(_send_once,),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
            max_line_size=MOST_HEADER_BYTES,
            max_field_size=MOST_HEADER_BYTES,
            max_headers=MOST_HEADERS,
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def exchange(
        self,
        method: str,
        destination: ServerName,
        path: str,
        *,
        query: Query = (),
        body: object = None,
        signed: bool = True,
        seconds: float = 30.0,
        most_bytes: int = MOST_BYTES,
        idempotent: bool | None = None,
    ) -> Any:
        """Send a request and return the JSON value that is its answer. Raises `FederationError`.

        `path` is percent-encoded, `query` and `body` are plain. An idempotent request (GET and PUT, unless said
        otherwise) is sent once more if the connection, kept from an earlier one, turned out to be dead.
        """
        request = self._request(method, destination, path, query, body, signed, idempotent)
        async with self._sent(destination, request, seconds) as answer:
            return await answer.json(most_bytes)

    @asynccontextmanager
    async def download(
        self,
        destination: ServerName,
        path: str,
        query: Query = (),
        *,
        seconds: float = 300.0,
        most_bytes: int = MOST_BYTES,
    ) -> AsyncIterator[tuple[Mapping[str, str], AsyncIterator[bytes]]]:
        """Send a GET; give the headers of the answer, and its body in pieces. Both raise `FederationError`."""
        request = self._request("GET", destination, path, query, None, True, None)
        async with self._sent(destination, request, seconds) as answer:
            yield answer.response.headers, answer.pieces(most_bytes)

    @asynccontextmanager
    async def follow(
        self, destination: ServerName, url: str, *, seconds: float = 300.0, most_bytes: int = MOST_BYTES
    ) -> AsyncIterator[tuple[Mapping[str, str], AsyncIterator[bytes]]]:
        """Get what a server has put elsewhere: at an HTTPS address that it names, unsigned. As `download`."""
        try:
            address = URL(url)
        except ValueError as error:
            raise BadAnswer(f"{destination} names an address that is none: {error}") from error
        if address.scheme != "https" or not address.host:
            raise BadAnswer(f"{destination} names an address that is not HTTPS")
        deadline = asyncio.get_running_loop().time() + seconds
        async with _in_time(deadline, Unreachable(f"{address.host} did not answer in time")), _told(destination):
            response = await self._session.get(address, allow_redirects=False)
        try:
            if response.status != 200:
                raise BadAnswer(f"{address.host} answered with status {response.status}")
            yield response.headers, _Answer(destination, response, deadline).pieces(most_bytes)
        finally:
            response.close()

    def _request(
        self,
        method: str,
        destination: ServerName,
        path: str,
        query: Query,
        body: object,
        signed: bool,
        idempotent: bool | None,
    ) -> _Request:
        uri = path
        if parameters := urlencode(list(query), quote_via=quote, safe=""):
            uri = f"{path}?{parameters}"
        content = None if body is None else encode_lenient(body)
        headers = {} if content is None else {"Content-Type": "application/json"}
        if signed:
            headers["Authorization"] = request_auth.make(
                self._key, self._server_name, destination, method, uri, content
            )
        return _Request(method, uri, headers, content, method in IDEMPOTENT if idempotent is None else idempotent)

    @asynccontextmanager
    async def _sent(self, destination: ServerName, request: _Request, seconds: float) -> AsyncIterator["_Answer"]:
        """Give a good answer, its body still to be read, or raise what it was instead."""
        deadline = asyncio.get_running_loop().time() + seconds
        outcome: Outcome = "cancelled"
        response: aiohttp.ClientResponse | None = None
        try:
            async with _in_time(deadline, Unreachable(f"{destination} did not answer in time")), _told(destination):
                response = await self._send(destination, request)
            answer = _Answer(destination, response, deadline)
            if not 200 <= response.status < 300:
                raise RemoteError(destination, response.status, await answer.error())
            yield answer
            outcome = "ok"
        except FederationError as error:
            outcome = _OUTCOMES.get(type(error), "bad_answer")
            raise
        finally:
            if response is not None:
                # One that was read to its end leaves its connection to the next; of another, the rest is not wanted.
                response.close()
            self._count(outcome)

    async def _send(self, destination: ServerName, request: _Request) -> aiohttp.ClientResponse:
        """Send to the first place that takes a connection; return the answer before its body is read."""
        if destination == self._server_name:
            raise Unreachable(f"{destination} is this server")
        try:
            parse_server_name(destination)
        except InvalidIdentifier as error:  # old user IDs have anything behind the colon
            raise Unreachable(f"{destination} is no server: {error}") from error
        target = await self._finder.resolve(destination)
        for number, place in enumerate(target.places, 1):
            try:
                return await self._send_to(place, target, request)
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):  # nothing of the request was sent
                if number == len(target.places):
                    raise
        raise Unreachable(f"{destination} says that it cannot be reached")

    async def _send_to(self, place: Place, target: Target, request: _Request) -> aiohttp.ClientResponse:
        host = f"[{place.host}]" if ":" in place.host else place.host
        try:
            url = URL(f"https://{host}:{place.port}{request.uri}", encoded=True)
        except ValueError as error:
            raise Unreachable(f"{place.host} is not a host: {error}") from error
        attempt = _Attempt()
        for _ in range(2):
            try:
                return await self._session.request(
                    request.method,
                    url,
                    data=request.content,
                    headers={"Host": target.host_header, **request.headers},
                    server_hostname=target.tls_name,
                    allow_redirects=False,
                    trace_request_ctx=attempt,
                )
            except _Lost:
                if not (attempt.reused and request.idempotent):
                    raise
            attempt = _Attempt()
        raise Unreachable(f"{place.host} lost the connection twice")


@dataclass(frozen=True, slots=True)
class _Answer:
    """An answer whose body is still to come, until the deadline."""

    destination: ServerName
    response: aiohttp.ClientResponse
    deadline: float

    async def json(self, most_bytes: int) -> Any:
        """Return the JSON value that is the body. Raises `BadAnswer`."""
        async with self._in_time(), _told(self.destination):
            return parse_json(await read_bounded(self.response, most_bytes))

    async def error(self) -> Mapping[str, Any]:
        """Return the JSON object of an error, or nothing if there is none: proxies answer in HTML."""
        with suppress(FederationError):
            body = await self.json(MOST_ERROR_BYTES)
            if isinstance(body, dict):
                return body
        return {}

    async def pieces(self, most_bytes: int) -> AsyncIterator[bytes]:
        """Give the body as it comes. Raises `BadAnswer`. What is done with it in the meantime takes from the time."""
        size = 0
        while True:
            async with self._in_time(), _told(self.destination):
                piece = await self.response.content.readany()
            size += len(piece)
            if size > most_bytes:
                raise BadAnswer(f"{self.destination} gave a file of more than {most_bytes} bytes")
            if not piece:
                return
            yield piece

    def _in_time(self) -> AbstractAsyncContextManager[None]:
        return _in_time(self.deadline, BadAnswer(f"{self.destination} did not end its answer in time"))


@asynccontextmanager
async def _in_time(deadline: float, error: FederationError) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout_at(deadline):
            yield
    except TimeoutError as cause:
        raise error from cause


@asynccontextmanager
async def _told(destination: ServerName) -> AsyncIterator[None]:
    """Raise what aiohttp says in our words."""
    try:
        yield
    except BadAnswer as error:
        raise BadAnswer(f"{destination} gave {error}") from error
    except (aiohttp.ClientResponseError, aiohttp.ClientPayloadError) as error:
        raise BadAnswer(f"{destination} does not speak HTTP: {error}") from error
    except aiohttp.ClientConnectorError as error:
        cause = error.os_error
        raise Unreachable(f"{destination} cannot be reached: {cause.strerror or cause}") from error
    except (aiohttp.ClientError, OSError) as error:
        raise Unreachable(f"{destination} cannot be reached: {error}") from error


class _Lost(aiohttp.ClientError):
    """The connection was lost before the answer began."""


@dataclass(slots=True)
class _Attempt:
    reused: bool = False
    """Whether the connection had been used before, so that the other side may have closed it in the meantime."""


async def _send_once(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    # aiohttp would send again by itself, also over a connection that it has just made, and never a POST.
    try:
        return await send(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _Lost(str(error) or "the connection was lost") from error


def _watching_reuse() -> aiohttp.TraceConfig:
    async def reused(_session: aiohttp.ClientSession, context: Any, _params: object) -> None:
        if isinstance(context.trace_request_ctx, _Attempt):
            context.trace_request_ctx.reused = True

    config = aiohttp.TraceConfig()
    config.on_connection_reuseconn.append(reused)
    return config
