"""From an HTTP request to an endpoint and back: the only place that makes an error answer.

In this order: CORS, the endpoint, who asks, limits, the body, the handler. What went wrong is a `MatrixError`; anything
else is a fault of ours, logged with the request's id and answered with 500.
"""

import asyncio
import ipaddress
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import parse_qs

import msgspec
import orjson
import structlog
from aiohttp import HttpVersion11, web

from federation.core.ids import ServerName
from homeserver.errors import (
    InvalidParam,
    LimitExceeded,
    MatrixError,
    MethodNotAllowed,
    MissingToken,
    NotJson,
    TooLarge,
    TooSlow,
    Unauthorized,
    Unavailable,
    Unrecognized,
)
from homeserver.http.bodies import JsonObject, convert, convert_query, parse_object, parse_signed, refuse_nul
from homeserver.http.packing import pieces_of
from homeserver.http.ready import CORS, JSON, json_response
from homeserver.http.routing import Answer, Auth, Call, Endpoint, Reply, Router
from homeserver.http.servers import Places, claimed, verify
from homeserver.logs import request_id
from homeserver.model.accounts import Requester
from homeserver.services import Services

log = structlog.get_logger()

SLOWEST_BODY_SECONDS = 60.0
MOST_PARAMETERS = 200
"""Of a query."""

OLD_PREFIXES = (
    ("/_matrix/client/r0/", "/_matrix/client/v3/"),
    ("/_matrix/media/r0/", "/_matrix/media/v3/"),
    ("/_matrix/media/v1/", "/_matrix/media/v3/"),
)
"""Paths of before Matrix 1.1, under which clients still ask; they answer where the old path itself is not known."""

_HOP = re.compile(r"(?P<v4>[0-9.]+)(?::[0-9]+)?|\[?(?P<v6>[0-9A-Fa-f:.]+)(?:\](?::[0-9]+)?)?")


@dataclass(slots=True)
class Door:
    """Answers HTTP requests."""

    router: Router
    services: Services
    observe: Callable[[str, str, int, float], object]
    pending: int = 0
    """Requests of clients that are being worked on, long polls apart."""
    places: Places = field(default_factory=lambda: Places(0))
    """Where requests of other servers are worked on."""
    heard_from: list[Callable[[ServerName], object]] = field(default_factory=list)
    """Is told, after each request that another server has signed, which one that was."""
    count: int = 0

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        self.count += 1
        # Each request has a task, and so a context, of its own: what is set here nobody else sees.
        request_id.set(f"{id(self):x}-{self.count}")
        clock = self.services.clock
        started = clock.monotonic()
        path = _path(request)
        endpoint: Endpoint | None = None
        try:
            endpoint, values = self._find(request.method, path)
            if request.method == "OPTIONS":
                response: web.StreamResponse = web.Response(headers=CORS)
            else:
                assert endpoint is not None
                response = _response(request, await self._ask_in_turn(request, endpoint, values), clock.now_ms())
        except MatrixError as error:
            response = error_response(error)
        except (ConnectionResetError, asyncio.CancelledError):
            raise
        except Exception:
            log.exception("request_failed", method=request.method, path=path)
            response = fault_response()
        seconds = clock.monotonic() - started
        self.observe(endpoint.path if endpoint is not None else "unknown", request.method, response.status, seconds)
        log.debug("request", method=request.method, path=path, status=response.status, ms=round(seconds * 1000, 1))
        return response

    def _find(self, method: str, path: str) -> tuple[Endpoint | None, list[str]]:
        try:
            found = self.router.find(path)
            if found is None:
                for old, new in OLD_PREFIXES:
                    if path.startswith(old):
                        found = self.router.find(new + path.removeprefix(old))
                        break
        except UnicodeDecodeError as error:
            raise InvalidParam("The path is not UTF-8") from error
        if method == "OPTIONS":
            return None, []
        if found is None:
            raise Unrecognized("Unrecognized request")
        methods, values = found
        if method not in methods:
            raise MethodNotAllowed("This endpoint does not take that method", tuple(methods))
        return methods[method], values

    async def _ask_in_turn(self, request: web.BaseRequest, endpoint: Endpoint, values: list[str]) -> Reply:
        """Let the endpoint answer unless too much is being worked on. Long polls, which only wait, do not count."""
        if endpoint.auth is Auth.SERVER:
            with self.places.one():
                return await self._ask_for_server(request, endpoint, values)
        if endpoint.waits or endpoint.limit == "none":
            return await self._ask(request, endpoint, values)
        if self.pending >= self.services.config.http.max_pending:
            raise Unavailable("The server is busy", retry_after_ms=1000)
        self.pending += 1
        try:
            return await self._ask(request, endpoint, values)
        finally:
            self.pending -= 1

    async def _ask(self, request: web.BaseRequest, endpoint: Endpoint, values: list[str]) -> Reply:
        services = self.services
        address = self._address(request)
        requester = await self._requester(request, endpoint.auth, address)
        services.limits.take(endpoint.limit, requester.user_id if requester is not None else address)
        arguments = endpoint.arguments(values)
        if endpoint.query is not None:
            arguments["query"] = convert_query(_query(request, endpoint.query), endpoint.query)
        if "Expect" in request.headers:
            await _encourage(request)
        if endpoint.body is not None:
            arguments["body"] = await self._body(request, endpoint.body)
        elif not endpoint.raw_body and request.can_read_body:
            await self._read(request)
        return await endpoint.handler(Call(services, request, address, requester), **arguments)

    async def _ask_for_server(self, request: web.BaseRequest, endpoint: Endpoint, values: list[str]) -> Reply:
        services, address = self.services, self._address(request)
        claims = claimed(request.headers.getall("Authorization", ()), services.config.server_name)
        services.limits.take("unsigned", address, 0)
        with self.places.one_of(address):
            await _encourage(request)
            raw = await self._read(request)
            body = parse_signed(raw) if raw.strip() else None
            try:
                origin = await verify(claims, services, request.method, _target(request), body)
            except Unauthorized:
                services.limits.take("unsigned", address)
                raise
        services.limits.take("federation" if endpoint.limit == "default" else endpoint.limit, origin)
        for tell in self.heard_from:
            tell(origin)
        with self.places.one_of(origin):
            arguments = endpoint.arguments(values)
            if endpoint.query is not None:
                arguments["query"] = convert_query(_query(request, endpoint.query), endpoint.query)
            if endpoint.body is not None:
                arguments["body"] = _signed_body(raw, body, endpoint.body)
            return await endpoint.handler(Call(services, request, address, None, origin), **arguments)

    async def _requester(self, request: web.BaseRequest, auth: Auth, address: str) -> Requester | None:
        if auth is Auth.NONE:
            return None
        token = _token(request)
        if token is None:
            if auth is not Auth.OPTIONAL:
                raise MissingToken("Missing access token")
            return None
        agent = request.headers.get("User-Agent", "")
        return await self.services.sessions.authenticate(
            token, address=address, agent=agent, even_locked=auth is Auth.EVEN_LOCKED
        )

    async def _body(self, request: web.BaseRequest, wanted: type[Any]) -> Any:
        raw = await self._read(request)
        if wanted is JsonObject:
            # Nothing at all is no empty object: what got lost on the way must not wipe out what stands there.
            return parse_object(raw)
        # Clients send nothing where every field is optional.
        body = parse_object(raw) if raw.strip() else {}
        if b"\\u0000" in raw:
            # Names and texts go into the database, and PostgreSQL's texts cannot hold it.
            refuse_nul(body)
        return convert(body, wanted)

    async def _read(self, request: web.BaseRequest) -> bytes:
        try:
            async with asyncio.timeout(SLOWEST_BODY_SECONDS):
                return await self._read_all(request)
        except TimeoutError as error:
            raise TooSlow("The body took too long") from error

    async def _read_all(self, request: web.BaseRequest) -> bytes:
        most = self.services.config.http.max_body_bytes
        if request.content_length is not None and request.content_length > most:
            raise TooLarge(f"The body has more than {most} bytes")
        parts: list[bytes] = []
        size = 0
        async for part in pieces_of(request):
            size += len(part)
            if size > most:
                raise TooLarge(f"The body has more than {most} bytes")
            parts.append(part)
        return b"".join(parts)

    def _address(self, request: web.BaseRequest) -> str:
        peer = request.remote or ""
        forwarded = request.headers.getall("X-Forwarded-For", None)
        if not forwarded:
            return peer
        return client_address(peer, ",".join(forwarded), self.services.config.http.trusted_proxies)


def client_address(peer: str, forwarded: str, trusted: Sequence[str]) -> str:
    """Return the nearest address in `X-Forwarded-For` that is not one of our proxies'.

    The header may have come in several lines, in order: some proxies add a line of their own to what the client sent.
    """
    address = peer
    for hop in reversed(forwarded.split(",")):
        if not _is_trusted(address, trusted) or (before := _ip(hop)) is None:
            break
        address = before
    return address


def _ip(hop: str) -> str | None:
    """Return the IP address of a hop, which may have a port; None if it is none."""
    found = _HOP.fullmatch(hop.strip())
    try:
        return str(ipaddress.ip_address(found["v6"] or found["v4"])) if found is not None else None
    except ValueError:
        return None


def _is_trusted(address: str, trusted: Sequence[str]) -> bool:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    # A socket for both families shows an IPv4 peer as ::ffff:127.0.0.1.
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return any(ip in _network(network) for network in trusted)


@cache
def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(text, strict=False)


def _signed_body(raw: bytes, body: JsonObject | None, wanted: type[Any]) -> Any:
    if wanted is JsonObject:
        if body is None:
            raise NotJson("The body must be a JSON object")
        return body
    if b"\\u0000" in raw:
        refuse_nul(body)
    return convert(body or {}, wanted)


def _path(request: web.BaseRequest) -> str:
    """Return the path as it was sent, percent-encoded."""
    return _target(request).partition("?")[0]


def _target(request: web.BaseRequest) -> str:
    """Return the path and the query as they were sent."""
    path = request.raw_path
    if path.startswith(("http://", "https://")):
        # https://www.rfc-editor.org/rfc/rfc9112#section-3.2.2: proxies are asked in this form, and servers take it too.
        return "/" + path.split("/", 3)[3] if path.count("/") > 2 else "/"
    return path


async def _encourage(request: web.BaseRequest) -> None:
    """Let a client that asks first whether its body is welcome send it, now that it is.

    https://www.rfc-editor.org/rfc/rfc9110#section-10.1.1
    """
    if request.headers.get("Expect", "").lower() == "100-continue" and request.version >= HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # That was no part of the answer yet.
        request.writer.output_size = 0


def _token(request: web.BaseRequest) -> str | None:
    header = request.headers.get("Authorization")
    if header is not None:
        scheme, _, token = header.partition(" ")
        return token.strip() if scheme.lower() == "bearer" and token.strip() else None
    return request.query.get("access_token")


def _query(request: web.BaseRequest, wanted: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the query's parameters; one that the struct wants as a list is a list."""
    # `request.query_string` is decoded once already.
    raw = request.raw_path.partition("?")[2]
    if "%" not in raw and "+" not in raw and raw.count("&") < MOST_PARAMETERS:
        # Nothing is escaped, as in the query of nearly every sync.
        found: dict[str, list[str]] = {}
        for part in raw.split("&") if raw else ():
            name, _, value = part.partition("=")
            if part:
                found.setdefault(name, []).append(value)
    else:
        found = _unescaped(raw)
    lists = _lists(wanted)
    return {name: values if name in lists else values[0] for name, values in found.items()}


def _unescaped(raw: str) -> dict[str, list[str]]:
    try:
        found = parse_qs(raw, keep_blank_values=True, errors="strict", max_num_fields=MOST_PARAMETERS)
    except ValueError as error:
        raise InvalidParam(f"The query is not valid: {error}") from error
    for name, values in found.items() if "%00" in raw else ():
        for value in values:
            refuse_nul(value, name)
    return found


@cache
def _lists(wanted: type[msgspec.Struct]) -> frozenset[str]:
    """Return the parameters that a struct wants as lists."""
    fields = msgspec.structs.fields(wanted)
    return frozenset(f.encode_name for f in fields if getattr(f.type, "__origin__", None) in (list, tuple))


def _response(request: web.BaseRequest, reply: Reply, now_ms: int) -> web.StreamResponse:
    if isinstance(reply, Answer):
        if reply.status == 200 and not reply.headers and reply.content_type == JSON:
            return json_response(request, reply.body, now_ms)
        return web.Response(
            body=reply.body, status=reply.status, headers={**CORS, **reply.headers}, content_type=reply.content_type
        )
    if isinstance(reply, web.StreamResponse):
        if not reply.prepared:
            for name, value in CORS.items():
                reply.headers.setdefault(name, value)
        return reply
    return json_response(request, orjson.dumps(reply), now_ms)


def error_response(error: MatrixError) -> web.Response:
    """Return the answer that tells a client of an error."""
    response = _error_body(error.status, error.body())
    if isinstance(error, MethodNotAllowed):
        response.headers["Allow"] = ", ".join((*error.allowed, "OPTIONS"))
    retry_after_ms = error.fields.get("retry_after_ms")
    if isinstance(error, LimitExceeded | Unavailable) and isinstance(retry_after_ms, int):
        response.headers["Retry-After"] = str(-(-retry_after_ms // 1000))
    return response


def fault_response() -> web.Response:
    """Return the answer to a request that we failed to answer; what happened is for the log alone."""
    return _error_body(500, {"errcode": "M_UNKNOWN", "error": "Internal server error"})


def _error_body(status: int, body: dict[str, Any]) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, headers=CORS, content_type=JSON)
