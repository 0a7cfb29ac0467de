"""What hostile and broken clients send, to any endpoint: plausible requests, and all that can be wrong with them."""

import itertools
import json
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec

from homeserver import admin_api, client_api
from homeserver.http.bodies import JsonObject
from homeserver.http.routing import Endpoint
from tests.support.world import User, World, q

ENDPOINTS = [endpoint for routes in client_api.ROUTES + admin_api.ROUTES for endpoint in routes.endpoints]

NOT_JSON: Mapping[str, bytes] = {
    "words": b"nonsense",
    "half": b'{"a":1',
    "two": b"{}{}",
    "not UTF-8": b'{"a":"\xff"}',
    "a lone surrogate": b'{"a":"\\ud800"}',
    "a lone surrogate in a name": b'{"\\udfff":1}',
    "an encoded surrogate": b'{"a":"\xed\xa0\x80"}',
    "NaN": b'{"a":NaN}',
    "infinity": b'{"a":-Infinity}',
    "infinity by digits": b'{"a":1e400}',
    "a raw NUL": b'{"a":"\0"}',
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "60000 levels": b'{"a":' + b"[" * 60_000 + b"]" * 60_000 + b"}",
}
BAD_JSON: Mapping[str, bytes] = {
    "a list": b"[]",
    "null": b"null",
    "a text": b'"text"',
    "200 levels of lists": b'{"a":' + b"[" * 200 + b"]" * 200 + b"}",
    "200 levels of objects": b'{"a":' * 200 + b"1" + b"}" * 200,
    "a name twice": b'{"a":1,"b":{},"a":1}',
    "a name twice, once escaped": b'{"a":1,"\\u0061":1}',
    "a name twice, inside": b'{"x":[{"y":{"a:b":":","a\\u003ab":":"}}]}',
    "2^53": b'{"a":9007199254740992}',
    "2^64": b'{"a":{"b":[18446744073709551616]}}',
    "-2^63": b'{"a":-9223372036854775808}',
    "a thousand digits": b'{"a":1' + b"0" * 300 + b"}",
}

VALUES: tuple[Any, ...] = (
    None, True, 5, 0, -1, 2**53 - 1, -(2**53) + 1, 1.5, "", "x", "\0", "a" * 65536, "\U0001f600" * 300, "@x:y", "!x:y",
    "$x:y", "#x:y", "@:", "5", "m.room.member", [], [[]], [None], ["x"], ["@x:y"], ["a" * 65536], [{}], {},
    {"a": {"b": [1]}},
    {"@x:y": {}}, {"type": 5, "session": 5}, {"type": "x" * 5000, "session": "\0"}, {"": ""}, {"a\0": "b\0"},
)  # fmt: skip
"""Put into every field of every body."""

QUERY_VALUES = (
    "", "x", "-1", "0", "1.5", "NaN", "true", "null", "9" * 30, "-" + "9" * 30, "9" * 4400, "1e9", "%00",
    "a%00b", "%ff",
    "%ed%a0%80", "%", "%2", "%25", "%F0%9F%98%80", "a" * 5000, "{}", "[]", "{", "%7B%22a%22%3A1%2C%22a%22%3A2%7D",
    "%7B%22room%22%3A5%7D", "t" + "9" * 18, "t-" + "9" * 18, "s" + "9" * 18 + "_0_x", "s1_1_x_1",
    "t" + "9" * 19, "n9_9",
    "h9_9_1", "h999999_9999_0", "@x:y", "%27%20OR%201=1--", "+", "*",
)  # fmt: skip
"""Put into every parameter of every query, encoded already."""

PATH_VALUES = (
    "", "%00", "a%00b", "%ff", "%ed%a0%80", "%", "%zz", "%2F", "%2e%2e", "..", ".", "*", "%25",
    "%F0%9F%98%80", "a" * 256,
    "a" * 7000, "%C3%A9" * 300, "@", "@:", "@x:y", "@x:%00", "!", "!x:y", "$", "$x:y", "#", "%23", "%23x:y",
    "-1", "0", "9" * 30,
    "%27%20OR%201=1--", "undefined", "null", "x%3Ay%3Az", "@" + "a" * 300 + ":hs1", "%40x%3A%5B%3A%3A%5D",
    "@x:y:99999",
)  # fmt: skip
"""Put into every variable of every path, encoded already."""

METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "TRACE", "PROPFIND")

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back."""

    what: str
    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def is_error(self) -> bool:
        return self.status >= 400

    @property
    def errcode(self) -> str | None:
        return self.body.get("errcode") if isinstance(self.body, dict) else None

    def __str__(self) -> str:
        return f"{self.what} -> {self.status} {str(self.body)[:300]}"


@dataclass
class Attacker:
    """Somebody with an account and a room, who sends what they should not."""

    user: User
    room_id: str
    event_id: str
    victim: str
    since: str = ""
    replies: list[Reply] = field(default_factory=list)

    @classmethod
    async def prepare(cls, world: World, room_version: str = "12") -> "Attacker":
        """Return a new user with a room of their own, and all that a sync tells seen."""
        user = await world.user(f"attacker{next(_numbers)}")
        room_id = await user.creates_room(room_version=room_version)
        event_id = await user.says(room_id)
        return cls(user, room_id, event_id, "@nobody:hs1", (await user.syncs())["next_batch"])

    def path(self, endpoint: Endpoint, **values: str) -> str:
        """Return a plausible path, or one with other (encoded) values for some of its variables."""
        plausible = {
            "user_id": self.user.user_id, "room_id": self.room_id, "event_id": self.event_id,
            "txn_id": f"h{next(_numbers)}",
            "event_type": "org.example.type", "room_id_or_alias": self.room_id,
            "room_alias": f"#h{next(_numbers)}:hs1",
            "destination": "elsewhere.invalid",
            "device_id": self.user.device_id, "filter_id": "1", "data_type": "org.example.data", "tag": "u.tag",
            "key_name": "displayname", "kind": "override", "rule_id": "rule", "receipt_type": "m.read",
            "server_name": "hs1",
            "media_id": "abc", "token": "token", "rel_type": "m.thread", "state_key": "", "file_name": "name.txt",
        }  # fmt: skip
        encoded = {name: q(plausible[name]) for name in endpoint.names} | values
        return endpoint.path.format(**encoded)

    async def send(
        self, endpoint: Endpoint, what: str = "", *, path: str | None = None, query: str | None = None,
        raw: bytes | None = None, method: str | None = None, headers: Mapping[str, str] | None = None,
        token: str | None = "own",
        data: Any = None,
    ) -> Reply:  # fmt: skip
        """Send a request that is plausible but for what is given; check that the answer is one that clients know."""
        method = method or endpoint.method
        target = path if path is not None else self.path(endpoint)
        query = query if query is not None else plausible_query(endpoint)
        sent = dict(headers or {})
        if token is not None:
            sent.setdefault("Authorization", f"Bearer {self.user.token if token == 'own' else token}")
        if raw is None and data is None and endpoint.body is not None:
            raw = json.dumps(self.plausible_body(endpoint)).encode()
        world = self.user.world
        url = aiohttp.client.URL(world.base + target + (f"?{query}" if query else ""), encoded=True)
        before = world.app.services.live.position
        async with world.http.request(method, url, data=raw if data is None else data, headers=sent) as response:
            content = await response.read()
            is_json = response.content_type == "application/json"
            body = json.loads(content) if is_json and content else content
            shown = f"{method} {target[:200]}?{query[:100]} {what or str(raw)[:100]}"
            reply = Reply(shown, response.status, body, response.headers)
        check_standard(reply, method)
        if reply.is_error:
            assert world.app.services.live.position == before, f"{reply}: it failed, and changed something"
        self.replies.append(reply)
        return reply

    def plausible_body(self, endpoint: Endpoint) -> dict[str, Any]:
        """Return a body that the endpoint can read."""
        if endpoint.body is None or endpoint.body is JsonObject:
            # Which endpoint reads what of an object that may hold anything.
            read = {"invite": {"user_id": self.victim}, "put_field": {"displayname": "x"}}
            return read.get(endpoint.handler.__name__, {})
        body: dict[str, Any] = {}
        for each in msgspec.structs.fields(endpoint.body):
            if each.required:
                known = {"user_id": self.victim, "new_version": "12", "room_id": self.room_id}
                body[each.encode_name] = known.get(each.encode_name) or _value_of(each.type)
        return body

    async def check_unchanged(self) -> None:
        """Assert that a sync shows nothing new, if all that was sent failed."""
        if all(reply.is_error for reply in self.replies):
            answer = await self.user.syncs(since=self.since)
            assert not {"rooms", "account_data", "to_device", "device_lists"} & set(answer), answer
        self.replies.clear()


def check_standard(reply: Reply, method: str) -> None:
    """Assert that an answer is none of our faults, and that an error has the standard form."""
    # Names of other servers lead nowhere here.
    elsewhere = reply.status == 502 and "asked" in reply.body.get("error", "")
    assert reply.status < 500 or reply.errcode == "M_NOT_YET_UPLOADED" or elsewhere, reply
    assert reply.headers["Access-Control-Allow-Origin"] == "*", reply
    if not reply.is_error or method == "HEAD":
        return
    assert isinstance(reply.body, dict), reply
    if reply.status == 401 and "flows" in reply.body:
        assert isinstance(reply.body["session"], str), reply
        return
    assert reply.body["errcode"].startswith("M_"), reply
    assert isinstance(reply.body["error"], str), reply
    assert reply.body["error"], reply


def plausible_query(endpoint: Endpoint, **values: str) -> str:
    """Return the (encoded) query with what must be in it, and with other values for some parameters."""
    found = {}
    if endpoint.query is not None:
        for each in msgspec.structs.fields(endpoint.query):
            if each.required:
                found[each.encode_name] = str(_value_of(each.type))
    return "&".join(f"{name}={value}" for name, value in {**found, **values}.items())


def fits(value: Any, kind: Any) -> bool:
    """Return whether a type takes a value."""
    try:
        msgspec.convert(value, kind)
    except (msgspec.ValidationError, ValueError):
        return False
    return True


def fields_of(kind: type[msgspec.Struct]) -> Iterator[tuple[str, Any]]:
    """Yield the names and types of the fields of a body or a query."""
    for each in msgspec.structs.fields(kind):
        yield each.encode_name, each.type


def _value_of(kind: Any) -> Any:
    origin = typing.get_origin(kind)
    if origin is typing.Annotated:
        return 1 if typing.get_args(kind)[0] is int else _value_of(typing.get_args(kind)[0])
    if origin is typing.Literal:
        return typing.get_args(kind)[0]
    if origin in (typing.Union, types.UnionType):
        return _value_of(typing.get_args(kind)[0])
    if origin is not None:
        return origin()
    if isinstance(kind, type) and issubclass(kind, str) and kind is not str:
        return next(iter(kind))  # type: ignore[call-overload]
    return {str: "x", int: 1, bool: True}.get(kind) or kind()
