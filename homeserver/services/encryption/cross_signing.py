"""Cross-signing: keys by which users vouch for their devices and for each other.

https://spec.matrix.org/v1.19/client-server-api/#cross-signing
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from federation.core import unpadded_base64
from federation.core.canonical_json import encode
from federation.core.errors import BadJson as NotCanonical
from federation.core.errors import BadSignature
from federation.core.ids import DeviceID, ServerName, UserID
from federation.core.signing import verify_json
from homeserver.errors import BadJson, Forbidden, InvalidParam, InvalidSignature, MatrixError, MissingParam, NotFound
from homeserver.model.accounts import Requester
from homeserver.model.encryption import PublishedDevice, Usage
from homeserver.model.nids import UserNid
from homeserver.services.encryption.device_lists import DeviceLists
from homeserver.services.encryption.remote_devices import RemoteDevices
from homeserver.services.interactive_auth import PASSWORD, Demand, InteractiveAuth, Passed
from homeserver.services.live import Live
from homeserver.storage import cross_signing, device_keys, devices
from homeserver.storage.cross_signing import KeySignature
from homeserver.storage.database import Database, Write
from homeserver.storage.names import Names

MOST_SIGNATURES = 1_000
"""Signatures of one upload."""

Uploaded = Mapping[Usage, Mapping[str, Any]]
Failures = dict[UserID, dict[str, Any]]


def demand_of(who: Requester) -> Demand:
    """Return what a user must prove to replace their keys."""
    return Demand("replace cross-signing keys", ((PASSWORD,),), who)


@dataclass(frozen=True, slots=True)
class CrossSigning:
    """Keeps cross-signing keys and signatures."""

    own: ServerName
    db: Database
    names: Names
    live: Live
    lists: DeviceLists
    remote: RemoteDevices
    interactive_auth: InteractiveAuth

    async def needs_proof(self, who: Requester, keys: Uploaded) -> bool:
        """Return whether these keys would replace others, for which the user must prove who they are."""
        stored = await self.db.read(lambda conn: cross_signing.of_users(conn, [who.user]).get(who.user, {}))
        if Usage.MASTER not in stored:
            return False
        return any(stored.get(usage) != _encoded(usage, key) for usage, key in keys.items())

    async def upload(self, who: Requester, keys: Uploaded, passed: Passed | None) -> None:
        """Store cross-signing keys of the user.

        Raises `InvalidParam` or `BadJson` for keys that are none, `MissingParam` without a master key,
        `InvalidSignature` for keys that the master key has not signed, `Forbidden` for one named like a device, or
        if the keys would replace others and that was not `passed`.
        """
        names = {usage: _public_key(who.user_id, usage, key) for usage, key in keys.items()}
        encoded = {usage: _encoded(usage, key) for usage, key in keys.items()}

        def write(tx: Write) -> None:
            stored = cross_signing.of_users(tx.conn, [who.user]).get(who.user, {})
            master = orjson.loads(stored[Usage.MASTER]) if Usage.MASTER in stored else None
            changed = {usage: key for usage, key in encoded.items() if stored.get(usage) != key}
            if not changed:
                return
            if passed is not None:
                self.interactive_auth.use_up(tx, passed)
            elif master is not None:
                raise Forbidden("Other keys are here already")
            master = keys.get(Usage.MASTER, master)
            if master is None:
                raise MissingParam("master_key: there is none to sign the others")
            for usage in (Usage.SELF_SIGNING, Usage.USER_SIGNING):
                if usage in keys:
                    _check_signed(who.user_id, keys[usage], master)
            if any(devices.find(tx.conn, who.user, DeviceID(name)) is not None for name in names.values()):
                raise Forbidden("A key has the name of one of your devices")
            old = [name for usage in changed if usage in stored for name in _names_in(stored[usage])]
            if old:
                cross_signing.forget_signatures(tx, who.user, old)
            cross_signing.store(tx, who.user, changed)
            self.lists.cross_signing_changed(tx, who.user)

        await self.db.write(write)

    async def sign(self, who: Requester, signed: Mapping[UserID, Mapping[str, Any]]) -> Failures:
        """Store the user's signatures under their own devices and keys, and under other users' master keys.

        Return what failed, by user and key. Raises `InvalidParam` for too many.
        """
        if sum(len(objects) for objects in signed.values()) > MOST_SIGNATURES:
            raise InvalidParam(f"more than {MOST_SIGNATURES} signatures at once")
        await self.remote.make_known([user_id for user_id in signed if user_id != who.user_id], 10.0)

        def write(tx: Write) -> Failures:
            users = self.names.user_nids(tx.conn, [who.user_id, *signed])
            keys = cross_signing.of_users(tx.conn, list(users.values()))
            own_keys = {usage: orjson.loads(key) for usage, key in keys.get(who.user, {}).items()}
            own_devices = {one.device_id: one for one in device_keys.of_users(tx.conn, [who.user]).get(who.user, ())}
            failures: Failures = {}
            new: list[KeySignature] = []
            for user_id, objects in signed.items():
                for name, value in objects.items():
                    try:
                        if user_id == who.user_id:
                            found = _own_signatures(who, name, value, own_keys, own_devices)
                        else:
                            master = keys.get(users.get(user_id, UserNid(0)), {}).get(Usage.MASTER)
                            found = [_signature_of_other(who, name, value, own_keys, master)]
                        new += [replace(one, signer=who.user, target=users[user_id]) for one in found]
                    except MatrixError as error:
                        failures.setdefault(user_id, {})[name] = error.body()
            if new:
                self._store(tx, who, new, own_devices)
            return failures

        return await self.db.write(write)

    def _store(
        self, tx: Write, who: Requester, new: list[KeySignature], own_devices: Mapping[DeviceID, PublishedDevice]
    ) -> None:
        position = tx.position()
        cross_signing.add_signatures(tx, new, position)
        own = {one.key_name for one in new if one.target == who.user}
        signed = [_with(one, new) for device_id, one in own_devices.items() if device_id in own]
        if signed:
            self.lists.changed(tx, who.user, signed)
        if own - own_devices.keys():
            self.lists.cross_signing_changed(tx, who.user)
        if any(one.target != who.user for one in new):
            # Only the signer sees such a signature.
            tx.after_commit(self.live.ring_users, position, [who.user])


def _with(device: PublishedDevice, signatures: list[KeySignature]) -> PublishedDevice:
    """Return a device with what other servers must get of the signatures."""
    keys = orjson.loads(device.keys)
    of_user = keys.setdefault("signatures", {}).setdefault(keys["user_id"], {})
    of_user.update({one.signing_key: one.signature for one in signatures if one.key_name == device.device_id})
    return replace(device, keys=orjson.dumps(keys))


def _own_signatures(
    who: Requester, name: str, value: Any, keys: Mapping[Usage, Any], own_devices: Mapping[DeviceID, PublishedDevice]
) -> list[KeySignature]:
    """Return the signatures under a device of the user by their self-signing key, or under their master key."""
    device = own_devices.get(DeviceID(name))
    if device is not None:
        _check_same(value, orjson.loads(device.keys))
        signing = keys.get(Usage.SELF_SIGNING)
        if signing is None:
            raise NotFound("You have no self-signing key")
        return [_checked(who.user_id, name, value, *_key_in(signing))]
    master = keys.get(Usage.MASTER)
    if master is None or name not in master["keys"].values():
        raise NotFound("You have no such device or key")
    _check_same(value, master)
    # A device vouches for the master key: https://spec.matrix.org/v1.19/client-server-api/#cross-signing
    found = []
    for signing_key in _signatures(value).get(who.user_id, {}):
        signer = own_devices.get(DeviceID(signing_key.partition(":")[2]))
        if signer is not None:
            public = orjson.loads(signer.keys)["keys"].get(signing_key)
            found.append(_checked(who.user_id, name, value, signing_key, str(public)))
    if not found:
        raise InvalidSignature("None of your devices has signed the key")
    return found


def _signature_of_other(
    who: Requester, name: str, value: Any, keys: Mapping[Usage, Any], master: bytes | None
) -> KeySignature:
    """Return the signature under another user's master key by the user's user-signing key."""
    theirs = orjson.loads(master) if master is not None else None
    if theirs is None or name not in theirs["keys"].values():
        raise NotFound("The user has no such master key")
    _check_same(value, theirs)
    signing = keys.get(Usage.USER_SIGNING)
    if signing is None:
        raise NotFound("You have no user-signing key")
    return _checked(who.user_id, name, value, *_key_in(signing))


def _checked(user_id: UserID, name: str, value: Any, signing_key: str, public: str) -> KeySignature:
    """Return a signature that is good. Raises `InvalidSignature`."""
    signature = _signatures(value).get(user_id, {}).get(signing_key)
    if not isinstance(signature, str):
        raise InvalidSignature(f"There is no signature by {signing_key}")
    try:
        verify_json(value, ServerName(user_id), signing_key, unpadded_base64.decode(public))
    except (BadSignature, NotCanonical) as error:
        raise InvalidSignature(f"The signature by {signing_key} is wrong") from error
    return KeySignature(UserNid(0), UserNid(0), name, signing_key, signature)


def _check_same(value: Any, stored: Mapping[str, Any]) -> None:
    """Raise `InvalidParam` unless the signed object is the stored one, signatures apart."""
    if not isinstance(value, dict):
        raise BadJson("A signed key must be an object")
    passing = ("signatures", "unsigned")
    one, other = ({name: each for name, each in key.items() if name not in passing} for key in (value, stored))
    if one != other:
        raise InvalidParam("The key is not the one that is here")


def _signatures(value: Any) -> Mapping[str, Mapping[str, Any]]:
    signatures = value.get("signatures") if isinstance(value, dict) else None
    return {
        signer: of_signer
        for signer, of_signer in (signatures if isinstance(signatures, dict) else {}).items()
        if isinstance(of_signer, dict)
    }


def _key_in(key: Mapping[str, Any]) -> tuple[str, str]:
    """Return the ID and the public part of a cross-signing key that was checked when it was taken in."""
    signing_key, public = next(iter(key["keys"].items()))
    return str(signing_key), str(public)


def _names_in(key: bytes) -> list[str]:
    return list(orjson.loads(key)["keys"].values())


def _public_key(user_id: UserID, usage: Usage, key: Mapping[str, Any]) -> str:
    """Return the public part of a cross-signing key. Raises `InvalidParam` or `BadJson`."""
    field = f"{usage}_key"
    if key.get("user_id") != user_id:
        raise InvalidParam(f"{field}.user_id: must be yours")
    usages, keys = key.get("usage"), key.get("keys")
    if not isinstance(usages, list) or str(usage) not in usages:
        raise InvalidParam(f"{field}.usage: must have {usage}")
    if not isinstance(keys, dict) or len(keys) != 1:
        raise BadJson(f"{field}.keys: must be an object with one key")
    name, public = next(iter(keys.items()))
    if not isinstance(public, str) or name != f"ed25519:{public}" or len(name) > 255 or "\0" in name:
        raise InvalidParam(f"{field}.keys: must be an ed25519 key under its own name")
    return public


def _check_signed(user_id: UserID, key: Mapping[str, Any], master: Mapping[str, Any]) -> None:
    signing_key, public = _key_in(master)
    try:
        verify_json(key, ServerName(user_id), signing_key, unpadded_base64.decode(public))
    except (BadSignature, NotCanonical) as error:
        raise InvalidSignature("The master key has not signed the key") from error


def _encoded(usage: Usage, key: Mapping[str, Any]) -> bytes:
    try:
        return encode(key)
    except NotCanonical as error:
        raise BadJson(f"{usage}_key: {error}") from error
