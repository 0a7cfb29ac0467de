"""Endpoints: a handler with its method, path, authentication and limit; one line each, read by all who need it.

A handler says by its annotations what it takes:

    @routes.post("/_matrix/client/v3/rooms/{room_id}/receipt/{kind}/{event_id}", limit="default")
    async def send_receipt(call: Call, room_id: RoomID, kind: ReceiptKind, event_id: EventID, body: Body) -> Json:

`{name}`s of the path are read by their types (see `PARSERS`; an enum is read by its values). `body` is a
`msgspec.Struct`, or `JsonObject` for any object; `query` is a `msgspec.Struct`. A path without a parser stops the
server from starting.
"""

import enum
import inspect
import typing
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import unquote

import msgspec
from aiohttp import web

from federation.core.errors import InvalidIdentifier
from federation.core.ids import (
    DeviceID,
    EventID,
    RoomAlias,
    RoomID,
    ServerName,
    UserID,
    parse_alias,
    parse_device_id,
    parse_event_id,
    parse_room_id,
    parse_server_name,
    parse_user_id,
)
from homeserver.errors import InvalidParam, MissingToken, Unauthorized
from homeserver.http.bodies import JsonObject
from homeserver.model.accounts import Requester
from homeserver.model.media import MediaID, parse_media_id
from homeserver.services import Services

Json = Mapping[str, Any] | list[Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply that is more than JSON with status 200: ready bytes, another status, headers."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"


Reply = Json | Answer | web.StreamResponse
Handler = Callable[..., Awaitable[Reply]]
H = TypeVar("H", bound=Handler)


class Auth(enum.Enum):
    """Whether an endpoint wants an access token, or the signature of another server."""

    REQUIRED = "required"
    EVEN_LOCKED = "required, and answered to those whose account is locked too"
    OPTIONAL = "optional"
    NONE = "none"
    SERVER = "none, but another server's signature"


@dataclass(slots=True)
class Call:
    """One request, parsed: the services, who asks, from where."""

    services: Services
    request: web.BaseRequest
    address: str
    requester: Requester | None
    server: ServerName | None = None
    """The server that has signed the request, where `Auth.SERVER` asks for it."""

    @property
    def origin(self) -> ServerName:
        """Which server asks. Raises `Unauthorized` if none has signed the request."""
        if self.server is None:
            raise Unauthorized("The request is not signed")
        return self.server

    @property
    def who(self) -> Requester:
        """Who asks. Raises `MissingToken` if nobody said."""
        if self.requester is None:
            raise MissingToken("Missing access token")
        return self.requester


def _text(text: str) -> str:
    return text


PARSERS: Mapping[Any, Callable[[str], Any]] = {
    str: _text,
    UserID: parse_user_id,
    RoomID: parse_room_id,
    EventID: parse_event_id,
    RoomAlias: parse_alias,
    ServerName: parse_server_name,
    DeviceID: parse_device_id,
    MediaID: parse_media_id,
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What the server answers at one method and path."""

    method: str
    path: str
    handler: Handler
    auth: Auth
    limit: str
    names: tuple[str, ...]
    parsers: tuple[Callable[[str], Any], ...]
    body: type[msgspec.Struct] | type[JsonObject] | None
    query: type[msgspec.Struct] | None
    raw_body: bool
    """The handler reads the body itself, as uploads do."""
    waits: bool = False
    """The request is a long poll: it mostly waits, and does not count among those that are being worked on."""

    def arguments(self, values: list[str]) -> dict[str, Any]:
        """Return the path's parameters, parsed. Raises `InvalidParam`, naming the parameter."""
        parsed = {}
        for name, parse, value in zip(self.names, self.parsers, values, strict=True):
            if "\0" in value:
                raise InvalidParam(f"{name}: holds a NUL character")
            try:
                parsed[name] = parse(value)
            except (InvalidIdentifier, ValueError) as error:
                raise InvalidParam(f"{name}: {error}") from error
        return parsed


class Routes:
    """The endpoints of one module."""

    def __init__(self) -> None:
        """Start with none."""
        self.endpoints: list[Endpoint] = []

    def get(
        self, path: str, *, auth: Auth = Auth.REQUIRED, limit: str = "default", waits: bool = False
    ) -> Callable[[H], H]:
        """Answer GET at `path`."""
        return self._add("GET", path, auth, limit, raw_body=False, waits=waits)

    def post(
        self, path: str, *, auth: Auth = Auth.REQUIRED, limit: str = "default", raw_body: bool = False
    ) -> Callable[[H], H]:
        """Answer POST at `path`."""
        return self._add("POST", path, auth, limit, raw_body=raw_body)

    def put(
        self, path: str, *, auth: Auth = Auth.REQUIRED, limit: str = "default", raw_body: bool = False
    ) -> Callable[[H], H]:
        """Answer PUT at `path`."""
        return self._add("PUT", path, auth, limit, raw_body=raw_body)

    def delete(self, path: str, *, auth: Auth = Auth.REQUIRED, limit: str = "default") -> Callable[[H], H]:
        """Answer DELETE at `path`."""
        return self._add("DELETE", path, auth, limit, raw_body=False)

    def _add(
        self, method: str, path: str, auth: Auth, limit: str, *, raw_body: bool, waits: bool = False
    ) -> Callable[[H], H]:
        def add(handler: H) -> H:
            hints = typing.get_type_hints(handler)
            names = tuple(part[1:-1] for part in path.split("/") if part.startswith("{"))
            endpoint = Endpoint(
                method, path, handler, auth, limit, names, tuple(_parser(handler, hints, name) for name in names),
                _body(hints), hints.get("query"), raw_body, waits,
            )  # fmt: skip
            extra = set(inspect.signature(handler).parameters) - {"call", "body", "query", *names}
            if extra:
                raise TypeError(f"{handler.__qualname__}: {extra} are not in the path {path}")
            self.endpoints.append(endpoint)
            return handler

        return add


def _body(hints: Mapping[str, Any]) -> Any:
    """Return what the body is read as. `get_type_hints` makes another `JsonObject`, equal and not the same."""
    kind = hints.get("body")
    return JsonObject if kind == JsonObject else kind


def _parser(handler: Handler, hints: Mapping[str, Any], name: str) -> Callable[[str], Any]:
    kind = hints.get(name)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind
    if kind not in PARSERS:
        raise TypeError(f"{handler.__qualname__}: no parser for {name}: {kind}")
    return PARSERS[kind]


@dataclass(slots=True)
class _Node:
    """A place in the tree of paths."""

    fixed: dict[str, "_Node"] = field(default_factory=dict)
    variable: "_Node | None" = None
    methods: dict[str, Endpoint] = field(default_factory=dict)


class Router:
    """Finds the endpoint for a method and a path. Fixed parts win over variable ones."""

    def __init__(self, modules: typing.Iterable[Routes]) -> None:
        """Take the endpoints of all modules. Raises ValueError where two claim one place."""
        self._root = _Node()
        self._plain: dict[str, _Node] = {}
        for routes in modules:
            for endpoint in routes.endpoints:
                node = self._root
                for part in endpoint.path.split("/")[1:]:
                    if part.startswith("{"):
                        node.variable = node.variable or _Node()
                        node = node.variable
                    else:
                        node = node.fixed.setdefault(part, _Node())
                if endpoint.method in node.methods:
                    raise ValueError(f"{endpoint.method} {endpoint.path} is claimed twice")
                node.methods[endpoint.method] = endpoint
                if not endpoint.names:
                    self._plain[endpoint.path] = node

    def find(self, raw_path: str) -> tuple[Mapping[str, Endpoint], list[str]] | None:
        """Return the endpoints at a percent-encoded path by method, and the values of its variables; None if unknown.

        Raises UnicodeDecodeError for a variable that is not UTF-8.
        """
        values: list[str] = []
        node = self._plain.get(raw_path)
        if node is not None:
            return node.methods, values
        node = self._descend(self._root, raw_path.split("/")[1:], 0, values)
        return (node.methods, values) if node is not None else None

    def _descend(self, node: _Node, parts: list[str], depth: int, values: list[str]) -> _Node | None:
        if depth == len(parts):
            return node if node.methods else None
        fixed = node.fixed.get(parts[depth])
        if fixed is not None:
            found = self._descend(fixed, parts, depth + 1, values)
            if found is not None:
                return found
        if node.variable is not None:
            values.append(unquote(parts[depth], errors="strict"))
            found = self._descend(node.variable, parts, depth + 1, values)
            if found is not None:
                return found
            values.pop()
        return None
