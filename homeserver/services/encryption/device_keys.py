"""The keys that devices publish: taken in, and given to whoever wants to write to them.

https://spec.matrix.org/v1.19/client-server-api/#key-management-api
"""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection

from federation.core.canonical_json import encode
from federation.core.errors import BadJson as NotCanonical
from federation.core.ids import DeviceID, ServerName, UserID, server_of
from federation.matrix.client import FederationClient
from federation.matrix.errors import FederationError
from homeserver.errors import BadJson, InvalidParam, NotFound, TooLarge
from homeserver.model.accounts import Requester
from homeserver.model.encryption import PublishedDevice, Usage
from homeserver.model.nids import UserNid
from homeserver.services.encryption.device_lists import DeviceLists
from homeserver.services.encryption.key_counts import CountsOfKeys
from homeserver.services.encryption.remote_devices import RemoteDevices
from homeserver.services.live import Live
from homeserver.storage import accounts, cross_signing, device_keys, device_lists, devices
from homeserver.storage.database import Database, Write
from homeserver.storage.names import Names

MOST_USERS = 5_000
"""Users of one query."""
MOST_ONE_TIME_KEYS = 500
"""Keys of one upload; clients keep about fifty of them here."""
MOST_KEPT = 2_000
"""One-time keys of one device."""
LARGEST = 16 * 1024
"""Bytes of one key as JSON."""
LONGEST_WAIT_MS = 20_000

Wanted = Mapping[UserID, Collection[DeviceID]]
"""Users, and those of their devices that are asked for; all of them if none is named."""


@dataclass(frozen=True, slots=True)
class Published:
    """What is published of some users, as JSON values by user ID."""

    device_keys: dict[UserID, dict[str, Any]]
    master_keys: dict[UserID, Any]
    self_signing_keys: dict[UserID, Any]
    user_signing_keys: dict[UserID, Any]


@dataclass(frozen=True, slots=True)
class DeviceKeys:
    """Keeps identity keys and one-time keys."""

    own: ServerName
    db: Database
    names: Names
    live: Live
    counts: CountsOfKeys
    lists: DeviceLists
    remote: RemoteDevices
    client: FederationClient

    async def upload(
        self, who: Requester, identity: Mapping[str, Any] | None, one_time: Mapping[str, Any],
        fallback: Mapping[str, Any],
    ) -> Mapping[str, int]:  # fmt: skip
        """Store the keys of the device that asks; return how many one-time keys of each algorithm it has here.

        Raises `InvalidParam` or `BadJson` for keys that are none, are not of this device, or are there with another
        content; `TooLarge` for too many.
        """
        keys = _identity_of(who, identity) if identity is not None else None
        new = {_name(name): _encoded(name, key) for name, key in one_time.items()}
        spare = {_name(name): _encoded(name, key) for name, key in fallback.items()}
        if len(new) > MOST_ONE_TIME_KEYS:
            raise TooLarge(f"one_time_keys: more than {MOST_ONE_TIME_KEYS} at once")
        if len({algorithm for algorithm, _ in spare}) < len(spare):
            raise InvalidParam("fallback_keys: more than one key of an algorithm")

        def write(tx: Write) -> Mapping[str, int]:
            if keys is not None and device_keys.store(tx, who.device, keys):
                known = devices.find(tx.conn, who.user, who.device_id)
                name = known.display_name if known is not None else None
                self.lists.changed(tx, who.user, [PublishedDevice(who.device_id, keys, name)])
            stored = device_keys.stored(tx.conn, who.device, new)
            for named, key in stored.items():
                if new[named] != key:
                    raise InvalidParam(f"one_time_keys: {':'.join(named)} is here already, and is another key")
            device_keys.add_one_time(tx, who.device, {named: key for named, key in new.items() if named not in stored})
            for (algorithm, key_id), key in spare.items():
                device_keys.put_fallback(tx, who.device, algorithm, key_id, key)
            position = tx.position()
            counts = self.counts.changed(tx, who.device, position)
            if sum(counts.one_time.values()) > MOST_KEPT:
                raise TooLarge(f"one_time_keys: a device has at most {MOST_KEPT}")
            if new or spare:
                tx.after_commit(self.live.ring_users, position, [who.user])
            return counts.one_time

        return await self.db.write(write)

    async def query(self, who: Requester, wanted: Wanted, timeout_ms: int) -> Mapping[str, Any]:
        """Return what is published of users of any server, and the servers that could not be asked.

        Raises `TooLarge` if too many users are asked for.
        """
        if len(wanted) > MOST_USERS:
            raise TooLarge(f"device_keys: more than {MOST_USERS} users at once")
        failures: dict[str, Any] = {}
        elsewhere = [user_id for user_id in wanted if server_of(user_id) != self.own]
        if elsewhere:
            seconds = max(0, min(timeout_ms, LONGEST_WAIT_MS)) / 1000
            failures = await self.remote.make_known(elsewhere, seconds)
        found = await self.db.read(lambda conn: self._published(conn, wanted, who))
        # Of those whose servers no room is shared with nothing is kept.
        strangers = {user_id: wanted[user_id] for user_id in elsewhere if user_id not in found.device_keys}
        passing = await self.remote.ask(strangers, failures)
        return {
            "failures": failures,
            "device_keys": {**found.device_keys, **passing.device_keys},
            "master_keys": {**found.master_keys, **passing.master_keys},
            "self_signing_keys": {**found.self_signing_keys, **passing.self_signing_keys},
            "user_signing_keys": found.user_signing_keys,
        }

    async def for_server(self, wanted: Wanted) -> Mapping[str, Any]:
        """Return what is published of users of this server, for another one."""
        mine = {user_id: wanted[user_id] for user_id in list(wanted)[:MOST_USERS] if server_of(user_id) == self.own}
        found = await self.db.read(lambda conn: self._published(conn, mine, None))
        return {
            "device_keys": found.device_keys,
            "master_keys": found.master_keys,
            "self_signing_keys": found.self_signing_keys,
        }

    async def list_for_server(self, user_id: UserID) -> Mapping[str, Any]:
        """Return the list of a user's devices, and which change it is as of, for another server. Raises `NotFound`."""

        def read(conn: Connection) -> Mapping[str, Any]:
            account = accounts.find(conn, user_id)
            if account is None or account.deactivated_at is not None:
                raise NotFound("There is no such user here")
            published = self._published(conn, {user_id: ()}, None)
            listed = []
            for device_id, keys in published.device_keys.get(user_id, {}).items():
                unsigned = keys.pop("unsigned")
                listed.append({"device_id": device_id, "keys": keys, **unsigned})
            answer: dict[str, Any] = {
                "user_id": user_id,
                "stream_id": device_lists.position_of(conn, account.user),
                "devices": listed,
            }
            if user_id in published.master_keys:
                answer["master_key"] = published.master_keys[user_id]
            if user_id in published.self_signing_keys:
                answer["self_signing_key"] = published.self_signing_keys[user_id]
            return answer

        return await self.db.read(read)

    def _published(self, conn: Connection, wanted: Wanted, who: Requester | None) -> Published:
        users = self.names.user_nids(conn, wanted)
        local = [nid for user_id, nid in users.items() if server_of(user_id) == self.own]
        others = [nid for user_id, nid in users.items() if server_of(user_id) != self.own]
        found = device_keys.of_users(conn, local) if local else {}
        if others:
            found |= self.remote.stored(conn, others)
        signatures: dict[tuple[UserNid, str], dict[str, dict[str, str]]] = {}
        made = cross_signing.signatures(conn, list(users.values()), who.user if who is not None else None)
        signers = self.names.user_ids(conn, {one.signer for one in made})
        for one in made:
            of_signer = signatures.setdefault((one.target, one.key_name), {}).setdefault(signers[one.signer], {})
            of_signer[one.signing_key] = one.signature
        keys = cross_signing.of_users(conn, list(users.values()))
        published = Published({}, {}, {}, {})
        for user_id, nid in users.items():
            names = wanted[user_id]
            if nid in found or server_of(user_id) == self.own:
                published.device_keys[user_id] = {
                    one.device_id: _shown(one, signatures.get((nid, one.device_id), {}))
                    for one in found.get(nid, ())
                    if not names or one.device_id in names
                }
            for usage, key in keys.get(nid, {}).items():
                value = orjson.loads(key)
                if usage is Usage.MASTER:
                    for name in value.get("keys", {}).values():
                        value = _signed(value, signatures.get((nid, name), {}))
                    published.master_keys[user_id] = value
                elif usage is Usage.SELF_SIGNING:
                    published.self_signing_keys[user_id] = value
                elif who is not None and nid == who.user:
                    published.user_signing_keys[user_id] = value
        return published

    # One-time keys

    async def claim(self, wanted: Mapping[UserID, Mapping[DeviceID, str]], timeout_ms: int) -> Mapping[str, Any]:
        """Take one key of each device that is named, by the algorithm named, from whichever server has it.

        Raises `TooLarge` if too many are asked for.
        """
        _check_claim(wanted)
        mine = {user_id: names for user_id, names in wanted.items() if server_of(user_id) == self.own}
        by_server: dict[ServerName, dict[UserID, Mapping[DeviceID, str]]] = {}
        for user_id, names in wanted.items():
            if user_id not in mine:
                by_server.setdefault(server_of(user_id), {})[user_id] = names
        failures: dict[str, Any] = {}
        seconds = max(0, min(timeout_ms, LONGEST_WAIT_MS)) / 1000
        answers = await asyncio.gather(
            self.claim_here(mine),
            *(self._claim_at(server, names, seconds, failures) for server, names in by_server.items()),
        )
        merged: dict[str, Any] = {}
        for answer in answers:
            merged |= answer
        return {"failures": failures, "one_time_keys": merged}

    async def claim_here(self, wanted: Mapping[UserID, Mapping[DeviceID, str]]) -> dict[str, Any]:
        """Take one key of each device of this server that is named. Raises `TooLarge`."""
        _check_claim(wanted)
        if not wanted:
            return {}

        def write(tx: Write) -> dict[str, Any]:
            users = self.names.user_nids(tx.conn, wanted)
            nids = device_keys.nids_of(tx.conn, {nid: wanted[user_id] for user_id, nid in users.items()})
            given: dict[str, Any] = {}
            for user_id, user in users.items():
                for device_id, algorithm in wanted[user_id].items():
                    device = nids.get((user, device_id))
                    key = device_keys.claim(tx, device, algorithm) if device is not None else None
                    if device is not None and key is not None:
                        given.setdefault(user_id, {})[device_id] = {key.name: orjson.loads(key.key)}
                        position = tx.position()
                        self.counts.changed(tx, device, position)
                        tx.after_commit(self.live.ring_users, position, [user])
            return given

        return await self.db.write(write)

    async def _claim_at(
        self, server: ServerName, wanted: Mapping[UserID, Mapping[DeviceID, str]], seconds: float,
        failures: dict[str, Any],
    ) -> dict[str, Any]:  # fmt: skip
        try:
            async with asyncio.timeout(seconds):
                answer = await self.client.claim_user_keys(server, {"one_time_keys": wanted})
        except (FederationError, TimeoutError) as error:
            failures[server] = {"message": str(error) or "too slow", "status": 503}
            return {}
        keys = answer.get("one_time_keys")
        if not isinstance(keys, dict):
            return {}
        # No server speaks for the users of another one.
        return {user_id: keys[user_id] for user_id in wanted if isinstance(keys.get(user_id), dict)}


def _identity_of(who: Requester, keys: Mapping[str, Any]) -> bytes:
    """Return the identity keys of a device as JSON, without what others add. Raises `InvalidParam`."""
    if keys.get("user_id") != who.user_id:
        raise InvalidParam("device_keys.user_id: must be yours")
    if keys.get("device_id") != who.device_id:
        raise InvalidParam("device_keys.device_id: must be that of this device")
    if not isinstance(keys.get("algorithms"), list) or not isinstance(keys.get("keys"), dict):
        raise BadJson("device_keys: algorithms must be a list, and keys an object")
    return _encoded("device_keys", {name: value for name, value in keys.items() if name != "unsigned"})


def _name(name: str) -> tuple[str, str]:
    algorithm, colon, key_id = name.partition(":")
    if not algorithm or not colon or not key_id or len(name) > 255 or "\0" in name:
        raise InvalidParam("A key's name must have the form algorithm:ID")
    return algorithm, key_id


def _encoded(name: str, key: Any) -> bytes:
    if not isinstance(key, dict | str):
        raise BadJson(f"{name}: must be a key")
    try:
        encoded = encode(key)
    except NotCanonical as error:
        raise BadJson(f"{name}: {error}") from error
    if len(encoded) > LARGEST:
        raise TooLarge(f"{name}: more than {LARGEST} bytes")
    return encoded


def _check_claim(wanted: Mapping[UserID, Mapping[DeviceID, str]]) -> None:
    if sum(len(names) for names in wanted.values()) > MOST_USERS:
        raise TooLarge(f"one_time_keys: more than {MOST_USERS} devices at once")


def _shown(device: PublishedDevice, signatures: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    shown = _signed(orjson.loads(device.keys), signatures)
    unsigned = {"device_display_name": device.display_name} if device.display_name is not None else {}
    return {**shown, "unsigned": unsigned}


def _signed(value: Mapping[str, Any], more: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Return a signed object with further signatures."""
    signatures = {signer: dict(of_signer) for signer, of_signer in value.get("signatures", {}).items()}
    for signer, of_signer in more.items():
        signatures.setdefault(signer, {}).update(of_signer)
    return {**value, "signatures": signatures} if signatures else dict(value)
