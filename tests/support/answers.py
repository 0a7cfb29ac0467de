"""What a peer (`tests.support.peer`) answers, an ability each: the name of the function."""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import aiohttp
from aiohttp import web

from federation.core.auth.selection import Slot
from federation.core.errors import BadEvent
from federation.core.events.pdu import Pdu
from federation.core.ids import EventID, RoomID, ServerName, UserID, server_of
from federation.core.room_versions import ROOM_VERSIONS
from federation.core.signing import sign_event, sign_json
from tests.support.shared_room import SharedRoom, wire

if TYPE_CHECKING:
    from tests.support.peer import Peer


@dataclass(slots=True)
class Asked:
    """A request that the peer got."""

    ability: str
    """The name of what was asked for; empty if the peer knows no such path."""
    method: str
    target: str
    """Path and query as they came."""
    values: tuple[str, ...]
    """The variables of the path."""
    query: Mapping[str, list[str]]
    body: Any
    origin: ServerName | None
    """Who says they ask."""
    signed: bool
    """Whether that is proven."""
    request: web.BaseRequest

    def one(self, name: str, default: str = "") -> str:
        """Return the first value of a query parameter."""
        return self.query.get(name, [default])[0]


class Refusal(Exception):
    """An error answer."""

    def __init__(self, status: int, errcode: str, **more: Any) -> None:
        """Say which."""
        super().__init__(errcode)
        self.status = status
        self.body = {"errcode": errcode, "error": f"The peer says {errcode}", **more}


@dataclass(slots=True)
class Media:
    """A file that the peer has."""

    content: bytes
    content_type: str = "text/plain"
    filename: str = "file.txt"


Reply = Mapping[str, Any] | web.StreamResponse
Answer = Callable[["Peer", Asked], Awaitable[Reply]]

ANSWERS: dict[str, Answer] = {}
_paths: list[tuple[str, Callable[[str], re.Match[str] | None], str]] = []


def _answers(method: str, path: str) -> Callable[[Answer], Answer]:
    pattern = re.compile(re.escape(path).replace(r"\{\}", "([^/]+)"))

    def add(answer: Answer) -> Answer:
        ANSWERS[answer.__name__] = answer
        _paths.append((method, pattern.fullmatch, answer.__name__))
        return answer

    return add


def ability_of(method: str, path: str) -> tuple[str, tuple[str, ...]]:
    """Return what a request asks for, and the variables of its path; an empty name if it is unknown."""
    for wanted, match, ability in _paths:
        found = match(path) if wanted == method else None
        if found is not None:
            return ability, tuple(unquote(value) for value in found.groups())
    return "", ()


@_answers("GET", "/_matrix/federation/v1/version")
async def version(peer: "Peer", asked: Asked) -> Reply:
    return {"server": {"name": "peer", "version": "1"}}


@_answers("GET", "/.well-known/matrix/server")
async def well_known(peer: "Peer", asked: Asked) -> Reply:
    return {"m.server": peer.name}


@_answers("GET", "/_matrix/key/v2/server")
async def keys(peer: "Peer", asked: Asked) -> Reply:
    return peer.key_document()


@_answers("GET", "/_matrix/key/v2/query/{}")
@_answers("POST", "/_matrix/key/v2/query")
async def notary(peer: "Peer", asked: Asked) -> Reply:
    wanted = asked.values if asked.method == "GET" else tuple((asked.body or {}).get("server_keys", {}))
    documents = []
    for server in wanted:
        if server == peer.name:
            documents.append(peer.key_document())
            continue
        with suppress(aiohttp.ClientError, TimeoutError):
            status, document = await peer.request("GET", server, "/_matrix/key/v2/server", signed=False)
            if status == 200:
                documents.append(sign_json(document, peer.name, peer.key))
    return {"server_keys": documents}


@_answers("PUT", "/_matrix/federation/v1/send/{}")
async def transactions(peer: "Peer", asked: Asked) -> Reply:
    key = (asked.origin, asked.values[0])
    if key in peer.seen:
        return peer.seen[key]
    peer.transactions.append(asked.body)
    results: dict[str, Any] = {}
    for fields in asked.body["pdus"]:
        peer.pdus.append(fields)
        room = peer.rooms.get(fields.get("room_id", ""))
        if room is None:
            continue
        try:
            event = Pdu.from_wire(fields, room.version)
        except BadEvent as error:
            results[str(fields.get("event_id"))] = {"error": str(error)}
            continue
        room.add(event)
        results[event.event_id] = {}
    peer.edus += asked.body.get("edus", [])
    peer.seen[key] = {"pdus": results}
    return peer.seen[key]


def _room(peer: "Peer", asked: Asked) -> SharedRoom:
    room = peer.rooms.get(RoomID(asked.values[0]))
    if room is None:
        raise Refusal(404, "M_NOT_FOUND")
    return room


def _placed(room: SharedRoom, event_id: str) -> EventID:
    if event_id not in room.after:
        raise Refusal(404, "M_NOT_FOUND")
    return EventID(event_id)


@_answers("GET", "/_matrix/federation/v1/event/{}")
async def event(peer: "Peer", asked: Asked) -> Reply:
    for room in peer.rooms.values():
        found = room.events.get(EventID(asked.values[0]))
        if found is not None:
            return _some(peer, [found])
    raise Refusal(404, "M_NOT_FOUND")


def _before(peer: "Peer", asked: Asked) -> tuple[SharedRoom, dict[Slot, EventID]]:
    room = _room(peer, asked)
    event_id = _placed(room, asked.one("event_id"))
    return room, dict(room.state_before(room.events[event_id].prev_events))


@_answers("GET", "/_matrix/federation/v1/state/{}")
async def state(peer: "Peer", asked: Asked) -> Reply:
    room, state = _before(peer, asked)
    return {
        "pdus": [wire(room.events[event_id]) for event_id in state.values()],
        "auth_chain": [wire(event) for event in room.auth_chain(state.values())],
    }


@_answers("GET", "/_matrix/federation/v1/state_ids/{}")
async def state_ids(peer: "Peer", asked: Asked) -> Reply:
    room, state = _before(peer, asked)
    chain = [event.event_id for event in room.auth_chain(state.values())]
    return {"pdu_ids": list(state.values()), "auth_chain_ids": chain}


@_answers("GET", "/_matrix/federation/v1/event_auth/{}/{}")
async def event_auth(peer: "Peer", asked: Asked) -> Reply:
    room = _room(peer, asked)
    if asked.values[1] not in room.events:
        raise Refusal(404, "M_NOT_FOUND")
    return {"auth_chain": [wire(event) for event in room.auth_chain([EventID(asked.values[1])])]}


@_answers("GET", "/_matrix/federation/v1/backfill/{}")
async def backfill(peer: "Peer", asked: Asked) -> Reply:
    room = _room(peer, asked)
    starts = [EventID(event_id) for event_id in asked.query.get("v", []) if event_id in room.after]
    return _some(peer, room.before(starts, int(asked.one("limit", "10"))))


@_answers("POST", "/_matrix/federation/v1/get_missing_events/{}")
async def missing_events(peer: "Peer", asked: Asked) -> Reply:
    room = _room(peer, asked)
    latest = [event_id for event_id in asked.body["latest_events"] if event_id in room.after]
    starts = [prev for event_id in latest for prev in room.events[event_id].prev_events if prev in room.after]
    found = room.before(starts, asked.body.get("limit", 10), asked.body["earliest_events"])
    least = asked.body.get("min_depth", 0)
    return {"events": [wire(event) for event in reversed(found) if event.depth >= least]}


@_answers("GET", "/_matrix/federation/v1/timestamp_to_event/{}")
async def timestamp_to_event(peer: "Peer", asked: Asked) -> Reply:
    room, ts = _room(peer, asked), int(asked.one("ts"))
    forward = asked.one("dir") == "f"
    found = [e for e in room.timeline() if (e.origin_server_ts >= ts if forward else e.origin_server_ts <= ts)]
    if not found:
        raise Refusal(404, "M_NOT_FOUND")
    event = min(found, key=lambda each: abs(each.origin_server_ts - ts))
    return {"event_id": event.event_id, "origin_server_ts": event.origin_server_ts}


@_answers("GET", "/_matrix/federation/v1/make_join/{}/{}")
async def make_join(peer: "Peer", asked: Asked) -> Reply:
    room = _room(peer, asked)
    if room.version.id not in asked.query.get("ver", ["1"]):
        raise Refusal(400, "M_INCOMPATIBLE_ROOM_VERSION", room_version=room.version.id)
    content: dict[str, Any] = {"membership": "join"}
    rule = (room.content("m.room.join_rules") or {}).get("join_rule")
    if rule in ("restricted", "knock_restricted") and room.membership(asked.values[1]) not in ("join", "invite"):
        able = [user for user in room.members() if server_of(user) == peer.name and room.may_invite(user)]
        if not able:
            raise Refusal(400, "M_UNABLE_TO_GRANT_JOIN")
        content["join_authorised_via_users_server"] = able[0]
    return {"room_version": room.version.id, "event": room.offer(UserID(asked.values[1]), content)}


def _some(peer: "Peer", events: Iterable[Pdu]) -> Reply:
    """Return events as a transaction has them."""
    return {"origin": peer.name, "origin_server_ts": peer.now_ms(), "pdus": [wire(event) for event in events]}


def _taken(peer: "Peer", asked: Asked) -> tuple[SharedRoom, Pdu]:
    """Take the event that ends a handshake, signed by us where it needs that."""
    room = _room(peer, asked)
    fields = asked.body
    if "join_authorised_via_users_server" in fields["content"]:
        fields = sign_event(fields, room.version, peer.name, peer.key)
    event = Pdu.from_wire(fields, room.version)
    assert event.event_id == asked.values[1], "the path names another event"
    return room, event


@_answers("PUT", "/_matrix/federation/v2/send_join/{}/{}")
async def send_join(peer: "Peer", asked: Asked) -> Reply:
    room, event = _taken(peer, asked)
    state = dict(room.state_before(event.prev_events))
    room.add(event)
    return {
        "event": wire(event),
        "origin": peer.name,
        "members_omitted": False,
        "state": [wire(room.events[event_id]) for event_id in state.values()],
        "auth_chain": [wire(each) for each in room.auth_chain([*state.values(), event.event_id])],
        "servers_in_room": sorted(room.servers()),
    }


@_answers("GET", "/_matrix/federation/v1/make_leave/{}/{}")
async def make_leave(peer: "Peer", asked: Asked) -> Reply:
    room = _room(peer, asked)
    offer = room.offer(UserID(asked.values[1]), {"membership": "leave"})
    return {"room_version": room.version.id, "event": offer}


@_answers("PUT", "/_matrix/federation/v2/send_leave/{}/{}")
async def send_leave(peer: "Peer", asked: Asked) -> Reply:
    room, event = _taken(peer, asked)
    room.add(event)
    return {}


@_answers("GET", "/_matrix/federation/v1/make_knock/{}/{}")
async def make_knock(peer: "Peer", asked: Asked) -> Reply:
    room = _room(peer, asked)
    if room.version.id not in asked.query.get("ver", []):
        raise Refusal(400, "M_INCOMPATIBLE_ROOM_VERSION", room_version=room.version.id)
    offer = room.offer(UserID(asked.values[1]), {"membership": "knock"})
    return {"room_version": room.version.id, "event": offer}


@_answers("PUT", "/_matrix/federation/v1/send_knock/{}/{}")
async def send_knock(peer: "Peer", asked: Asked) -> Reply:
    room, event = _taken(peer, asked)
    room.add(event)
    return {"knock_room_state": peer.told(room)}


@_answers("PUT", "/_matrix/federation/v2/invite/{}/{}")
async def invite(peer: "Peer", asked: Asked) -> Reply:
    version = ROOM_VERSIONS[asked.body["room_version"]]
    peer.invites.append(asked.body)
    return {"event": sign_event(asked.body["event"], version, peer.name, peer.key)}


@_answers("PUT", "/_matrix/federation/v1/invite/{}/{}")
async def invite_v1(peer: "Peer", asked: Asked) -> Reply:
    peer.invites.append({"event": asked.body, "room_version": "1"})
    return {"event": sign_event(asked.body, ROOM_VERSIONS["1"], peer.name, peer.key)}


@_answers("GET", "/_matrix/federation/v1/publicRooms")
@_answers("POST", "/_matrix/federation/v1/publicRooms")
async def public_rooms(peer: "Peer", asked: Asked) -> Reply:
    return {"chunk": peer.public_rooms, "total_room_count_estimate": len(peer.public_rooms)}


@_answers("GET", "/_matrix/federation/v1/hierarchy/{}")
async def hierarchy(peer: "Peer", asked: Asked) -> Reply:
    if asked.values[0] not in peer.hierarchy:
        raise Refusal(404, "M_NOT_FOUND")
    return peer.hierarchy[asked.values[0]]


@_answers("GET", "/_matrix/federation/v1/query/directory")
async def query_directory(peer: "Peer", asked: Asked) -> Reply:
    room_id = peer.aliases.get(asked.one("room_alias"))
    if room_id is None:
        raise Refusal(404, "M_NOT_FOUND")
    servers = peer.rooms[room_id].servers() if room_id in peer.rooms else {peer.name}
    return {"room_id": room_id, "servers": sorted(servers)}


@_answers("GET", "/_matrix/federation/v1/query/profile")
async def query_profile(peer: "Peer", asked: Asked) -> Reply:
    profile = peer.profiles.get(asked.one("user_id"))
    if profile is None:
        raise Refusal(404, "M_NOT_FOUND")
    wanted = asked.one("field")
    return {name: value for name, value in profile.items() if wanted in ("", name)}


@_answers("GET", "/_matrix/federation/v1/user/devices/{}")
async def user_devices(peer: "Peer", asked: Asked) -> Reply:
    if asked.values[0] not in peer.devices:
        raise Refusal(404, "M_NOT_FOUND")
    return peer.devices[asked.values[0]]


@_answers("POST", "/_matrix/federation/v1/user/keys/query")
async def query_keys(peer: "Peer", asked: Asked) -> Reply:
    wanted = asked.body["device_keys"]
    answer: dict[str, Any] = {
        "device_keys": {
            user: {device: keys for device, keys in peer.device_keys[user].items() if not ids or device in ids}
            for user, ids in wanted.items()
            if user in peer.device_keys
        }
    }
    for kind in ("master", "self_signing"):
        found = {user: peer.cross_signing.get(user, {}).get(kind) for user in wanted}
        answer[f"{kind}_keys"] = {user: key for user, key in found.items() if key is not None}
    return answer


@_answers("POST", "/_matrix/federation/v1/user/keys/claim")
async def claim_keys(peer: "Peer", asked: Asked) -> Reply:
    claimed: dict[str, dict[str, Any]] = {}
    for user, devices in asked.body["one_time_keys"].items():
        for device, algorithm in devices.items():
            keys = peer.one_time_keys.get(user, {}).get(device, {})
            key_id = next((each for each in keys if each.startswith(f"{algorithm}:")), None)
            if key_id is not None:
                claimed.setdefault(user, {})[device] = {key_id: keys.pop(key_id)}
    return {"one_time_keys": claimed}


@_answers("GET", "/_matrix/federation/v1/openid/userinfo")
async def openid_userinfo(peer: "Peer", asked: Asked) -> Reply:
    user = peer.openid.get(asked.one("access_token"))
    if user is None:
        raise Refusal(401, "M_UNKNOWN_TOKEN")
    return {"sub": user}


@_answers("GET", "/_matrix/federation/v1/media/download/{}")
async def media_download(peer: "Peer", asked: Asked) -> Reply:
    found = peer.media.get(asked.values[0])
    if found is None:
        raise Refusal(404, "M_NOT_FOUND")
    return multipart(found)


@_answers("GET", "/_matrix/federation/v1/media/thumbnail/{}")
async def media_thumbnail(peer: "Peer", asked: Asked) -> Reply:
    return await media_download(peer, asked)


@_answers("PUT", "/_matrix/federation/v1/exchange_third_party_invite/{}")
async def exchange_third_party_invite(peer: "Peer", asked: Asked) -> Reply:
    _room(peer, asked)
    return {}


@_answers("POST", "/_matrix/policy/v1/sign")
async def policy_sign(peer: "Peer", asked: Asked) -> Reply:
    raise Refusal(400, "M_FORBIDDEN")


def multipart(media: Media, boundary: str = "boundary") -> web.Response:
    """Return the answer of `media/download`: https://spec.matrix.org/v1.19/server-server-api/#content-repository."""
    head = (
        f"--{boundary}\r\nContent-Type: application/json\r\n\r\n{{}}\r\n--{boundary}\r\n"
        f"Content-Type: {media.content_type}\r\n"
        f'Content-Disposition: inline; filename="{media.filename}"\r\n\r\n'
    )
    body = head.encode() + media.content + f"\r\n--{boundary}--\r\n".encode()
    return web.Response(body=body, headers={"Content-Type": f"multipart/mixed; boundary={boundary}"})
