"""Policy servers: a server to which a room gives a say over what is sent in it, and its signature of events.

https://spec.matrix.org/v1.19/server-server-api/#policy-servers

The room names the server and the key with which it recommends events, apart from the keys with which it speaks as a
server. Whether an event is recommended says nothing about whether the rules allow it.
"""

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any

from federation.core import unpadded_base64
from federation.core.errors import BadJson, BadSignature
from federation.core.events.pdu import Pdu
from federation.core.ids import ServerName
from federation.core.signing import SigningKey, sign_event, signature_of, verify_event

POLICY = ("m.room.policy", "")
"""The slot in which a room names its policy server."""
KEY_NAME = "policy_server"
KEY_ID = f"ed25519:{KEY_NAME}"
"""What the key is always called; it is none of those that the server publishes."""


@dataclass(frozen=True, slots=True)
class PolicyServer:
    """Whom a room asks about events, and the key by which its word is known."""

    name: ServerName
    public_key: bytes
    """No key at all if what the room has for it is no Base64: then no event is recommended."""


def policy_server_of(content: Mapping[str, Any], servers: Container[ServerName]) -> PolicyServer | None:
    """Return the policy server that a room uses by the content of its `m.room.policy`; None if it uses none.

    `servers` are those with a user joined to the room: nobody is made a policy server without a part in it.

    https://spec.matrix.org/v1.19/server-server-api/#determining-if-a-policy-server-is-enabled-in-a-room
    """
    via, keys = content.get("via"), content.get("public_keys")
    text = keys.get("ed25519") if isinstance(keys, dict) else None
    if not isinstance(via, str) or not isinstance(text, str) or ServerName(via) not in servers:
        return None
    try:
        return PolicyServer(ServerName(via), unpadded_base64.decode(text))
    except BadJson:
        return PolicyServer(ServerName(via), b"")


def is_exempt(event: Pdu) -> bool:
    """Return whether an event needs no recommendation: that with which a room can always change its policy server."""
    return (event.type, event.state_key) == POLICY


def is_recommended(event: Pdu, policy: PolicyServer) -> bool:
    """Return whether an event carries the valid signature of a policy server.

    https://spec.matrix.org/v1.19/server-server-api/#validating-policy-server-signatures
    """
    try:
        verify_event(event.fields, event.version, policy.name, KEY_ID, policy.public_key)
    except BadSignature:
        return False
    return True


def recommended(event: Pdu, policy: PolicyServer, answer: Mapping[str, Any]) -> Pdu:
    """Return an event with the signature that a policy server has answered with, beside those that it has.

    Nothing else of the answer counts. Raises `BadSignature` if that is not in it or is wrong, `BadEvent` if the event
    is too large with it.
    """
    signature = unpadded_base64.encode(signature_of({"signatures": answer}, policy.name, KEY_ID))
    signatures = dict(event.fields["signatures"])
    signatures[policy.name] = {**signatures.get(policy.name, {}), KEY_ID: signature}
    fields = {**event.fields, "signatures": signatures}
    verify_event(fields, event.version, policy.name, KEY_ID, policy.public_key)
    return Pdu.from_wire(fields, event.version)


def recommend(event: Pdu, name: ServerName, key: SigningKey) -> dict[str, dict[str, str]]:
    """Return what a policy server answers to recommend an event: its signature, and no other.

    https://spec.matrix.org/v1.19/server-server-api/#post_matrixpolicyv1sign
    """
    signed = sign_event(event.fields, event.version, name, key)
    return {name: {key.key_id: signed["signatures"][name][key.key_id]}}
