"""What can be asked of another server: a method for each endpoint of the server-server API.

https://spec.matrix.org/v1.19/server-server-api/

Every method returns the JSON object of the answer, of which nothing is checked but that it is an object, and raises
`Unreachable`, `BadAnswer` or `RemoteError`, which are `FederationError`s.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any
from urllib.parse import quote

from federation.core.ids import EventID, RoomAlias, RoomID, ServerName, UserID
from federation.core.room_versions import ROOM_VERSIONS
from federation.core.signing import SigningKey
from federation.matrix.addresses import ByLookups, guarded_connector, is_any, is_public, tls_context
from federation.matrix.errors import BadAnswer, RemoteError
from federation.matrix.lookups import Lookups
from federation.matrix.ports import Time
from federation.matrix.requests import MOST_BYTES, Outcome, Query, Requests
from federation.matrix.resolver import Nowhere, Resolver
from federation.matrix.well_known import WellKnownFiles

FEDERATION = "/_matrix/federation"
MOST_STATE_BYTES = 200 * 1024 * 1024
"""The state of a room of a hundred thousand members with its auth chain."""
MOST_LIST_BYTES = 10 * 1024 * 1024
"""A page of rooms, the devices of users, what is told to one who knocks."""
MOST_SMALL_BYTES = 1024 * 1024
"""One event of 64 KiB, with escapes, and all that is smaller. What is parsed takes many times as much memory."""
SHORT_SECONDS = 10.0
"""For what a client waits for meanwhile and may do without."""
LONG_SECONDS = 120.0
"""For what takes the other server a while."""

Json = dict[str, Any]


class FederationClient:
    """Asks other servers."""

    def __init__(self, requests: Requests, resolver: Resolver, close: Callable[[], Awaitable[None]]) -> None:
        """Send by `requests`, which go where `resolver` says; `close` ends both."""
        self._requests = requests
        self.resolver = resolver
        self.close = close
        """Closes all connections."""

    @classmethod
    def open(
        cls,
        server_name: ServerName,
        key: SigningKey,
        time: Time,
        *,
        enabled: bool = True,
        extra_ca: str = "",
        allow_private: bool = False,
        count: Callable[[Outcome], None] = lambda _: None,
    ) -> "FederationClient":
        """Return a client for a server of ours, within a running event loop.

        Raises OSError if `extra_ca`, a PEM file of authorities trusted besides those of the system, cannot be used.
        One that is not `enabled` finds nobody. With `allow_private`, requests may go to private addresses too. `count`
        is told how each request ended.
        """
        lookups = Lookups(time.monotonic)
        may_connect = is_any if allow_private else is_public
        connector = guarded_connector(ByLookups(lookups), tls_context(extra_ca), may_connect)
        well_known = WellKnownFiles(connector, time.monotonic)
        resolver = Resolver(well_known, lookups) if enabled else Nowhere(well_known, lookups)
        requests = Requests(server_name, key, resolver, connector, count=count)

        async def close() -> None:
            await well_known.close()
            await requests.close()
            await lookups.close()

        return cls(requests, resolver, close)

    async def request(
        self,
        method: str,
        destination: ServerName,
        path: str,
        *,
        query: Query = (),
        body: object = None,
        signed: bool = True,
        timeout: float = 30.0,  # noqa: ASYNC109 - it is not for this function alone
        most_bytes: int = MOST_BYTES,
        idempotent: bool | None = None,
    ) -> Json:
        """Send a request and return the JSON object that is its answer.

        `path` is percent-encoded, `query` and `body` are plain. GET and PUT are taken for idempotent unless said
        otherwise: they are sent again if a connection that was kept turned out to be dead.
        """
        answer = await self._requests.exchange(
            method,
            destination,
            path,
            query=query,
            body=body,
            signed=signed,
            seconds=timeout,
            most_bytes=most_bytes,
            idempotent=idempotent,
        )
        return _object(destination, answer)

    def download(
        self,
        destination: ServerName,
        path: str,
        query: Query = (),
        *,
        timeout: float = 300.0,
        most_bytes: int = MOST_BYTES,
    ) -> AbstractAsyncContextManager[tuple[Mapping[str, str], AsyncIterator[bytes]]]:
        """Send a GET whose answer is not JSON: `async with client.download(...) as (headers, pieces)`."""
        return self._requests.download(destination, path, query, seconds=timeout, most_bytes=most_bytes)

    def follow(
        self, destination: ServerName, url: str, *, most_bytes: int = MOST_BYTES
    ) -> AbstractAsyncContextManager[tuple[Mapping[str, str], AsyncIterator[bytes]]]:
        """GET a file from where a server has put it; see `download`."""
        return self._requests.follow(destination, url, most_bytes=most_bytes)

    # Server implementation and keys: not signed, for the other server may not know our keys yet.

    async def version(self, destination: ServerName) -> Json:
        """GET /version."""
        return await self.request(
            "GET",
            destination,
            f"{FEDERATION}/v1/version",
            signed=False,
            timeout=SHORT_SECONDS,
            most_bytes=MOST_SMALL_BYTES,
        )

    async def server_keys(self, destination: ServerName) -> Json:
        """GET /key/v2/server: the keys of a server, from itself."""
        return await self.request(
            "GET", destination, "/_matrix/key/v2/server", signed=False, most_bytes=MOST_SMALL_BYTES
        )

    async def query_keys(self, notary: ServerName, wants: Mapping[ServerName, Mapping[str, int]]) -> Json:
        """POST /key/v2/query: keys of others, each of which shall be valid until a time; no keys mean all."""
        asked = {
            server: {key_id: {"minimum_valid_until_ts": until} for key_id, until in keys.items()}
            for server, keys in wants.items()
        }
        return await self.request(
            "POST",
            notary,
            "/_matrix/key/v2/query",
            body={"server_keys": asked},
            signed=False,
            most_bytes=min(MOST_SMALL_BYTES * max(1, len(asked)), MOST_BYTES),
            idempotent=True,
        )

    # Transactions and events

    async def send_transaction(self, destination: ServerName, txn_id: str, body: Mapping[str, Any]) -> Json:
        """PUT /send/{txnId}."""
        path = f"{FEDERATION}/v1/send/{_quoted(txn_id)}"
        return await self.request(
            "PUT", destination, path, body=body, timeout=LONG_SECONDS, most_bytes=MOST_SMALL_BYTES
        )

    async def event(self, destination: ServerName, event_id: EventID) -> Json:
        """GET /event/{eventId}."""
        return await self.request(
            "GET", destination, f"{FEDERATION}/v1/event/{_quoted(event_id)}", most_bytes=MOST_SMALL_BYTES
        )

    async def state(self, destination: ServerName, room_id: RoomID, event_id: EventID) -> Json:
        """GET /state/{roomId}: the state before an event, with its auth chain."""
        return await self._state("state", destination, room_id, event_id, MOST_STATE_BYTES)

    async def state_ids(self, destination: ServerName, room_id: RoomID, event_id: EventID) -> Json:
        """GET /state_ids/{roomId}: the same, in event IDs."""
        return await self._state("state_ids", destination, room_id, event_id, MOST_BYTES)

    async def _state(
        self, name: str, destination: ServerName, room_id: RoomID, event_id: EventID, most_bytes: int
    ) -> Json:
        return await self.request(
            "GET",
            destination,
            f"{FEDERATION}/v1/{name}/{_quoted(room_id)}",
            query=(("event_id", event_id),),
            timeout=LONG_SECONDS,
            most_bytes=most_bytes,
        )

    async def event_auth(self, destination: ServerName, room_id: RoomID, event_id: EventID) -> Json:
        """GET /event_auth/{roomId}/{eventId}: the auth chain of an event."""
        path = f"{FEDERATION}/v1/event_auth/{_quoted(room_id)}/{_quoted(event_id)}"
        return await self.request("GET", destination, path, timeout=LONG_SECONDS)

    async def backfill(
        self, destination: ServerName, room_id: RoomID, event_ids: Iterable[EventID], limit: int
    ) -> Json:
        """GET /backfill/{roomId}: events from these on backwards."""
        query = [*(("v", event_id) for event_id in event_ids), ("limit", str(limit))]
        path = f"{FEDERATION}/v1/backfill/{_quoted(room_id)}"
        return await self.request("GET", destination, path, query=query, timeout=LONG_SECONDS)

    async def missing_events(
        self,
        destination: ServerName,
        room_id: RoomID,
        earliest: Collection[EventID],
        latest: Collection[EventID],
        limit: int,
        min_depth: int = 0,
    ) -> Json:
        """POST /get_missing_events/{roomId}: what lies between the events that we have and those that we got."""
        body = {
            "earliest_events": list(earliest),
            "latest_events": list(latest),
            "limit": limit,
            "min_depth": min_depth,
        }
        path = f"{FEDERATION}/v1/get_missing_events/{_quoted(room_id)}"
        return await self.request("POST", destination, path, body=body, timeout=LONG_SECONDS, idempotent=True)

    async def timestamp_to_event(
        self,
        destination: ServerName,
        room_id: RoomID,
        ts: int,
        dir: str,  # noqa: A002 - its name in the specification
    ) -> Json:
        """GET /timestamp_to_event/{roomId}: the event closest to a time, backwards (`b`) or forwards (`f`)."""
        path = f"{FEDERATION}/v1/timestamp_to_event/{_quoted(room_id)}"
        return await self.request(
            "GET", destination, path, query=(("ts", str(ts)), ("dir", dir)), most_bytes=MOST_SMALL_BYTES
        )

    # Joining, leaving, knocking, inviting

    async def make_join(
        self, destination: ServerName, room_id: RoomID, user_id: UserID, versions: Iterable[str]
    ) -> Json:
        """GET /make_join/{roomId}/{userId}: a join to be signed, in a room of one of these versions."""
        return await self._make("make_join", destination, room_id, user_id, [("ver", each) for each in versions])

    async def make_leave(self, destination: ServerName, room_id: RoomID, user_id: UserID) -> Json:
        """GET /make_leave/{roomId}/{userId}."""
        return await self._make("make_leave", destination, room_id, user_id, ())

    async def make_knock(
        self, destination: ServerName, room_id: RoomID, user_id: UserID, versions: Iterable[str]
    ) -> Json:
        """GET /make_knock/{roomId}/{userId}."""
        return await self._make("make_knock", destination, room_id, user_id, [("ver", each) for each in versions])

    async def _make(
        self, name: str, destination: ServerName, room_id: RoomID, user_id: UserID, query: Sequence[tuple[str, str]]
    ) -> Json:
        path = f"{FEDERATION}/v1/{name}/{_quoted(room_id)}/{_quoted(user_id)}"
        return await self.request("GET", destination, path, query=query, most_bytes=MOST_SMALL_BYTES)

    async def send_join(
        self,
        destination: ServerName,
        room_id: RoomID,
        event_id: EventID,
        event: Mapping[str, Any],
        omit_members: bool = False,
    ) -> Json:
        """PUT /v2/send_join/{roomId}/{eventId}: the state of the room and its auth chain."""
        return await self.request(
            "PUT",
            destination,
            f"{FEDERATION}/v2/send_join/{_quoted(room_id)}/{_quoted(event_id)}",
            query=(("omit_members", "true"),) if omit_members else (),
            body=event,
            timeout=300.0,
            most_bytes=MOST_STATE_BYTES,
        )

    async def send_leave(
        self, destination: ServerName, room_id: RoomID, event_id: EventID, event: Mapping[str, Any]
    ) -> Json:
        """PUT /v2/send_leave/{roomId}/{eventId}."""
        path = f"{FEDERATION}/v2/send_leave/{_quoted(room_id)}/{_quoted(event_id)}"
        return await self.request(
            "PUT", destination, path, body=event, timeout=LONG_SECONDS, most_bytes=MOST_LIST_BYTES
        )

    async def send_knock(
        self, destination: ServerName, room_id: RoomID, event_id: EventID, event: Mapping[str, Any]
    ) -> Json:
        """PUT /v1/send_knock/{roomId}/{eventId}: some of the room's state."""
        path = f"{FEDERATION}/v1/send_knock/{_quoted(room_id)}/{_quoted(event_id)}"
        return await self.request(
            "PUT", destination, path, body=event, timeout=LONG_SECONDS, most_bytes=MOST_LIST_BYTES
        )

    async def invite(
        self, destination: ServerName, room_id: RoomID, event_id: EventID, body: Mapping[str, Any]
    ) -> Json:
        """PUT /v2/invite/{roomId}/{eventId}: the event with the other server's signature, as `event`.

        `body` holds `room_version`, `event` and `invite_room_state`. A server that knows only the first version of
        the endpoint can be invited into rooms of versions 1 and 2.
        """
        where = f"invite/{_quoted(room_id)}/{_quoted(event_id)}"
        try:
            return await self.request(
                "PUT", destination, f"{FEDERATION}/v2/{where}", body=body, most_bytes=MOST_SMALL_BYTES
            )
        except RemoteError as error:
            version = ROOM_VERSIONS.get(str(body.get("room_version")))
            if not error.unrecognized or version is None or version.event_id_is_hash:
                raise
        event = dict(body["event"])
        event["unsigned"] = {**event.get("unsigned", {}), "invite_room_state": body.get("invite_room_state", [])}
        answer = await self._requests.exchange(
            "PUT", destination, f"{FEDERATION}/v1/{where}", body=event, most_bytes=MOST_SMALL_BYTES
        )
        if not isinstance(answer, list) or len(answer) != 2:
            raise BadAnswer(f"{destination} gave an answer that is not a status and an object")
        return _object(destination, answer[1])

    async def exchange_third_party_invite(
        self, destination: ServerName, room_id: RoomID, event: Mapping[str, Any]
    ) -> Json:
        """PUT /exchange_third_party_invite/{roomId}."""
        path = f"{FEDERATION}/v1/exchange_third_party_invite/{_quoted(room_id)}"
        return await self.request("PUT", destination, path, body=event, most_bytes=MOST_SMALL_BYTES)

    # Directories, profiles, media, policy

    async def public_rooms(
        self,
        destination: ServerName,
        *,
        limit: int | None = None,
        since: str | None = None,
        search: Mapping[str, Any] | None = None,
        include_all_networks: bool = False,
        third_party_instance_id: str | None = None,
    ) -> Json:
        """POST /publicRooms: a page of the server's directory, filtered by `search`."""
        given = {
            "limit": limit,
            "since": since,
            "filter": search,
            "include_all_networks": include_all_networks or None,
            "third_party_instance_id": third_party_instance_id,
        }
        body = {name: value for name, value in given.items() if value is not None}
        return await self.request(
            "POST", destination, f"{FEDERATION}/v1/publicRooms", body=body, most_bytes=MOST_LIST_BYTES, idempotent=True
        )

    async def hierarchy(self, destination: ServerName, room_id: RoomID, suggested_only: bool = False) -> Json:
        """GET /hierarchy/{roomId}: a space and its children."""
        path = f"{FEDERATION}/v1/hierarchy/{_quoted(room_id)}"
        query = (("suggested_only", "true" if suggested_only else "false"),)
        return await self.request("GET", destination, path, query=query, most_bytes=MOST_LIST_BYTES)

    async def query_directory(self, destination: ServerName, alias: RoomAlias) -> Json:
        """GET /query/directory: the room that an alias points to, and servers that are in it."""
        return await self.request(
            "GET",
            destination,
            f"{FEDERATION}/v1/query/directory",
            query=(("room_alias", alias),),
            most_bytes=MOST_SMALL_BYTES,
        )

    async def query_profile(self, destination: ServerName, user_id: UserID, field: str | None = None) -> Json:
        """GET /query/profile: the profile of a user, or one field of it."""
        query = [("user_id", str(user_id))]
        if field is not None:
            query.append(("field", field))
        path = f"{FEDERATION}/v1/query/profile"
        return await self.request(
            "GET", destination, path, query=query, timeout=SHORT_SECONDS, most_bytes=MOST_SMALL_BYTES
        )

    async def openid_userinfo(self, destination: ServerName, token: str) -> Json:
        """GET /openid/userinfo: who has this token. The caller checks that the user is of that server."""
        path = f"{FEDERATION}/v1/openid/userinfo"
        return await self.request(
            "GET", destination, path, query=(("access_token", token),), signed=False, most_bytes=MOST_SMALL_BYTES
        )

    def media_download(
        self, destination: ServerName, media_id: str, *, timeout_ms: int = 20_000, most_bytes: int = MOST_BYTES
    ) -> AbstractAsyncContextManager[tuple[Mapping[str, str], AsyncIterator[bytes]]]:
        """GET /media/download/{mediaId}, multipart; see `download`."""
        path = f"{FEDERATION}/v1/media/download/{_quoted(media_id)}"
        return self.download(destination, path, (("timeout_ms", str(timeout_ms)),), most_bytes=most_bytes)

    def old_media_download(
        self, destination: ServerName, media_id: str, *, timeout_ms: int = 20_000, most_bytes: int = MOST_BYTES
    ) -> AbstractAsyncContextManager[tuple[Mapping[str, str], AsyncIterator[bytes]]]:
        """GET /media/v3/download, as servers of before Matrix 1.11 have it; see `download`."""
        path = f"/_matrix/media/v3/download/{_quoted(destination)}/{_quoted(media_id)}"
        query = (("allow_remote", "false"), ("timeout_ms", str(timeout_ms)))
        return self.download(destination, path, query, most_bytes=most_bytes)

    def media_thumbnail(
        self,
        destination: ServerName,
        media_id: str,
        *,
        width: int,
        height: int,
        method: str = "scale",
        animated: bool | None = None,
        timeout_ms: int = 20_000,
        most_bytes: int = MOST_BYTES,
    ) -> AbstractAsyncContextManager[tuple[Mapping[str, str], AsyncIterator[bytes]]]:
        """GET /media/thumbnail/{mediaId}, multipart; see `download`."""
        query = [("width", str(width)), ("height", str(height)), ("method", method), ("timeout_ms", str(timeout_ms))]
        if animated is not None:
            query.append(("animated", "true" if animated else "false"))
        path = f"{FEDERATION}/v1/media/thumbnail/{_quoted(media_id)}"
        return self.download(destination, path, query, most_bytes=most_bytes)

    async def policy_sign(self, destination: ServerName, event: Mapping[str, Any]) -> Json:
        """POST /_matrix/policy/v1/sign: a policy server's signature of an event."""
        return await self.request(
            "POST",
            destination,
            "/_matrix/policy/v1/sign",
            body=event,
            timeout=SHORT_SECONDS,
            most_bytes=MOST_SMALL_BYTES,
            idempotent=True,
        )

    # Devices and keys for end-to-end encryption

    async def user_devices(self, destination: ServerName, user_id: UserID) -> Json:
        """GET /user/devices/{userId}."""
        return await self.request(
            "GET", destination, f"{FEDERATION}/v1/user/devices/{_quoted(user_id)}", most_bytes=MOST_LIST_BYTES
        )

    async def query_user_keys(self, destination: ServerName, body: Mapping[str, Any]) -> Json:
        """POST /user/keys/query."""
        path = f"{FEDERATION}/v1/user/keys/query"
        return await self.request(
            "POST", destination, path, body=body, timeout=SHORT_SECONDS, most_bytes=MOST_LIST_BYTES, idempotent=True
        )

    async def claim_user_keys(self, destination: ServerName, body: Mapping[str, Any]) -> Json:
        """POST /user/keys/claim. Never sent twice, for it uses keys up."""
        path = f"{FEDERATION}/v1/user/keys/claim"
        return await self.request(
            "POST", destination, path, body=body, timeout=SHORT_SECONDS, most_bytes=MOST_LIST_BYTES
        )


def _quoted(value: str) -> str:
    return quote(value, safe="")


def _object(destination: ServerName, answer: object) -> Json:
    if not isinstance(answer, dict):
        raise BadAnswer(f"{destination} gave an answer that is not an object")
    return answer
