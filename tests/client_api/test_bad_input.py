"""Whatever is sent to whichever endpoint: no fault of ours, an error that clients know, and nothing is changed by it.

Every test walks the whole router, so that a new endpoint is attacked too.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from homeserver import admin_api, client_api
from homeserver.http.bodies import JsonObject
from homeserver.http.routing import Auth, Router
from tests.support.hostile import (
    BAD_JSON,
    ENDPOINTS,
    METHODS,
    NOT_JSON,
    PATH_VALUES,
    QUERY_VALUES,
    VALUES,
    Attacker,
    fields_of,
    fits,
    plausible_query,
)
from tests.support.world import World

MOST_BYTES = 131072
SYNC, MESSAGES = (next(each for each in ENDPOINTS if each.path.endswith(end)) for end in ("v3/sync", "/messages"))
WITH_BODY = [endpoint for endpoint in ENDPOINTS if endpoint.body is not None]


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    """A server that takes small bodies, and makes accounts for tools."""
    options = {"HTTP__MAX_BODY_BYTES": str(MOST_BYTES), "REGISTRATION__SHARED_SECRET": "secret"}
    async with World.start(database_url, tmp_path, **options) as started:
        yield started


@pytest.mark.sqlite_enough
async def test_nothing_is_told_without_a_good_token(world: World) -> None:
    attacker = await Attacker.prepare(world)
    for endpoint in ENDPOINTS:
        if endpoint.auth in (Auth.REQUIRED, Auth.EVEN_LOCKED):
            reply = await attacker.send(endpoint, token=None)
            assert (reply.status, reply.errcode) == (401, "M_MISSING_TOKEN"), reply
            reply = await attacker.send(endpoint, token=None, headers={"Authorization": "Basic YTpi"})
            assert (reply.status, reply.errcode) == (401, "M_MISSING_TOKEN"), reply
        if endpoint.auth is not Auth.NONE:
            for token in ("wrong", "a" * 5000, "\u00fc", "' OR 1=1"):
                reply = await attacker.send(endpoint, token=token)
                assert (reply.status, reply.errcode) == (401, "M_UNKNOWN_TOKEN"), reply
            reply = await attacker.send(endpoint, token=None, query=f"{plausible_query(endpoint)}&access_token=wrong")
            assert (reply.status, reply.errcode) == (401, "M_UNKNOWN_TOKEN"), reply
    await attacker.check_unchanged()


@pytest.mark.sqlite_enough
async def test_other_methods_and_paths_are_not_recognised(world: World) -> None:
    attacker = await Attacker.prepare(world)
    router = Router(client_api.ROUTES + admin_api.ROUTES)
    for endpoint in ENDPOINTS:
        found = router.find(endpoint.path)
        assert found is not None
        for method in set(METHODS) - set(found[0]):
            reply = await attacker.send(endpoint, method=method)
            assert reply.status == 405, reply
            assert method == "HEAD" or reply.errcode == "M_UNRECOGNIZED", reply
            assert set(found[0]) <= set(reply.headers["Allow"].split(", ")), reply
        for path in (endpoint.path + "/x/y/z/z/z", endpoint.path + "//", "/" + endpoint.path, endpoint.path + "%2F"):
            if router.find(path) is None:
                reply = await attacker.send(endpoint, path=path)
                assert (reply.status, reply.errcode) == (404, "M_UNRECOGNIZED"), reply
    await attacker.check_unchanged()


@pytest.mark.sqlite_enough
@pytest.mark.parametrize("half", [0, 1])
async def test_bodies_that_are_no_good_json_are_refused(world: World, half: int) -> None:
    for endpoint in WITH_BODY[half::2]:
        attacker = await Attacker.prepare(world)
        for what, raw in NOT_JSON.items():
            reply = await attacker.send(endpoint, what, raw=raw)
            assert (reply.status, reply.errcode) == (400, "M_NOT_JSON"), reply
        for what, raw in BAD_JSON.items():
            reply = await attacker.send(endpoint, what, raw=raw)
            assert (reply.status, reply.errcode) == (400, "M_BAD_JSON"), reply
        large = b'{"a":"' + b"x" * MOST_BYTES + b'"}'
        for data in (large, _in_pieces(large)):
            reply = await attacker.send(endpoint, "too large", data=data)
            assert (reply.status, reply.errcode) == (413, "M_TOO_LARGE"), reply
        reply = await attacker.send(endpoint, "no gzip", raw=b"garbage", headers={"Content-Encoding": "gzip"})
        assert (reply.status, reply.errcode) == (400, "M_NOT_JSON"), reply
        await attacker.check_unchanged()
        if endpoint.body is JsonObject:
            for raw in (b"", b" \n"):
                reply = await attacker.send(endpoint, "nothing", raw=raw)
                assert (reply.status, reply.errcode) == (400, "M_NOT_JSON"), reply
        else:
            await attacker.send(endpoint, "nothing", raw=b"")


@pytest.mark.sqlite_enough
@pytest.mark.parametrize("half", [0, 1])
async def test_a_field_of_a_wrong_type_is_named(world: World, half: int) -> None:
    for endpoint in WITH_BODY[half::2]:
        if endpoint.body is None or endpoint.body is JsonObject:
            continue
        attacker = await Attacker.prepare(world)
        for each in msgspec.structs.fields(endpoint.body):
            if each.required:
                body = attacker.plausible_body(endpoint)
                del body[each.encode_name]
                reply = await attacker.send(endpoint, raw=msgspec.json.encode(body))
                assert (reply.status, reply.errcode) == (400, "M_MISSING_PARAM"), reply
                assert each.encode_name in reply.body["error"], reply
        await attacker.check_unchanged()
        for name, kind in fields_of(endpoint.body):
            for value in VALUES:
                body = attacker.plausible_body(endpoint) | {name: value}
                reply = await attacker.send(endpoint, f"{name}={value!r:.80}", raw=msgspec.json.encode(body))
                if not fits(value, kind):
                    assert reply.status == 400, reply
                    assert reply.errcode in ("M_BAD_JSON", "M_MISSING_PARAM", "M_INVALID_PARAM"), reply
                    assert name in reply.body["error"], reply


# What the server itself reads of contents.
CONTENTS = {
    "m.room.member": (
        "membership", "displayname", "avatar_url", "reason", "is_direct", "third_party_invite",
        "join_authorised_via_users_server",
    ),
    "m.room.power_levels": ("users", "events", "notifications", "users_default", "state_default", "ban", "redact"),
    "m.room.canonical_alias": ("alias", "alt_aliases"),
    "m.room.join_rules": ("join_rule", "allow"),
    "m.room.create": ("room_version", "creator", "additional_creators", "predecessor", "type", "m.federate"),
    "m.room.redaction": ("redacts", "reason"),
    "m.room.history_visibility": ("history_visibility",),
    "m.room.message": ("body", "msgtype", "m.relates_to", "m.mentions", "m.new_content", "url"),
    "m.reaction": ("m.relates_to",),
    "m.room.server_acl": ("allow", "deny", "allow_ip_literals"),
    "m.room.tombstone": ("replacement_room", "body"),
    "m.room.encryption": ("algorithm",),
    "m.space.child": ("via", "order", "suggested"),
    "m.room.name": ("name",),
    "m.room.topic": ("topic", "m.topic"),
    "m.room.third_party_invite": ("public_key", "public_keys", "display_name"),
    "m.ignored_user_list": ("ignored_users",),
    "m.tag": ("tags",),
    "m.direct": ("@x:y",),
}  # fmt: skip
RELATIONS: tuple[Any, ...] = tuple(
    {"rel_type": kind, "event_id": parent, "key": key}
    for kind in ("m.annotation", "m.thread", "m.replace", "m.reference", "\0", "x" * 60000, 5)
    for parent, key in (("$x", "\0"), ("\0", "k"), ("x" * 60000, "k" * 3000), (5, []), ("", ""))
)


@pytest.mark.parametrize("room_version", ["1", "12"])
async def test_contents_of_any_shape_are_taken_or_refused(world: World, room_version: str) -> None:
    for endpoint in WITH_BODY:
        variable = next((name for name in endpoint.names if name in ("event_type", "data_type")), None)
        if endpoint.body is not JsonObject or variable is None:
            continue
        attacker = await Attacker.prepare(world, room_version)
        for event_type, names in CONTENTS.items():
            if (variable == "data_type") != (event_type in ("m.ignored_user_list", "m.tag", "m.direct")):
                continue
            for number, name in enumerate(names):
                for value in (*VALUES[number % 3 :: 3], *(RELATIONS if name == "m.relates_to" else ())):
                    values = {variable: event_type}
                    if "state_key" in endpoint.names and event_type == "m.room.member":
                        values["state_key"] = attacker.user.user_id
                    path = attacker.path(endpoint, **values)
                    body = msgspec.json.encode({"membership": "join", name: value})
                    await attacker.send(endpoint, f"{name}={value!r:.80}", path=path, raw=body)
        await attacker.user.syncs()
        await attacker.send(SYNC)
        await attacker.send(MESSAGES)


async def test_other_bodies_of_any_shape_are_taken_or_refused(world: World) -> None:
    read = {
        "put_tag": ("order",),
        "put_field": ("displayname", "avatar_url", "m.tz", "other"),
        "define": ("room", "presence", "account_data", "event_fields", "event_format"),
        "invite": ("user_id", "reason", "address", "medium", "id_server"),
    }
    for endpoint in WITH_BODY:
        if endpoint.body is not JsonObject:
            continue
        attacker = await Attacker.prepare(world)
        for name in read.get(endpoint.handler.__name__, ("x",)):
            path = attacker.path(endpoint, **({"key_name": name} if "key_name" in endpoint.names else {}))
            for value in VALUES:
                await attacker.send(
                    endpoint, f"{name}={value!r:.80}", path=path, raw=msgspec.json.encode({name: value})
                )
        for part in ("timeline", "state", "ephemeral", "account_data", "rooms", "include_leave"):
            for inner in ("limit", "types", "not_senders", "rooms", "contains_url", "lazy_load_members"):
                for value in VALUES[::3]:
                    if endpoint.handler.__name__ == "define":
                        body = msgspec.json.encode({"room": {part: {inner: value}}})
                        await attacker.send(endpoint, f"{part}.{inner}={value!r:.80}", raw=body)


@pytest.mark.sqlite_enough
async def test_parameters_of_queries_are_taken_or_refused(world: World) -> None:
    attacker = await Attacker.prepare(world)
    for endpoint in ENDPOINTS:
        if endpoint.query is None:
            continue
        for each in msgspec.structs.fields(endpoint.query):
            name = each.encode_name
            if each.required:
                reply = await attacker.send(endpoint, query="&".join(
                    part for part in plausible_query(endpoint).split("&") if part.partition("=")[0] != name
                ))  # fmt: skip
                assert (reply.status, reply.errcode) == (400, "M_MISSING_PARAM"), reply
                assert name in reply.body["error"], reply
            for value in QUERY_VALUES:
                reply = await attacker.send(endpoint, query=plausible_query(endpoint, **{name: value}))
                if value in ("%00", "a%00b", "%ff", "%ed%a0%80"):
                    assert (reply.status, reply.errcode) == (400, "M_INVALID_PARAM"), reply
            repeated = plausible_query(endpoint, **{name: "x"})
            await attacker.send(endpoint, query=f"{repeated}&{name}=5&{name}=x")
        await attacker.send(endpoint, query="&".join(f"a{number}=1" for number in range(300)))
        await attacker.send(endpoint, query="&&&=&==&%=%&" + plausible_query(endpoint))


@pytest.mark.parametrize("half", [0, 1])
async def test_variables_of_paths_are_taken_or_refused(world: World, half: int) -> None:
    for endpoint in ENDPOINTS[half::2]:
        if not endpoint.names:
            continue
        attacker = await Attacker.prepare(world)
        for name in endpoint.names:
            for value in PATH_VALUES:
                reply = await attacker.send(endpoint, path=attacker.path(endpoint, **{name: value}))
                if value in ("%00", "a%00b", "%ff", "%ed%a0%80", "@x:%00"):
                    assert (reply.status, reply.errcode) == (400, "M_INVALID_PARAM"), reply


async def _in_pieces(raw: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(raw), 16384):
        yield raw[start : start + 16384]
