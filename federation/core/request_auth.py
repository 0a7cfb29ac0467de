"""Requests between servers carry the signature of the one that asks: the `X-Matrix` scheme.

https://spec.matrix.org/v1.19/server-server-api/#request-authentication

What is signed is the canonical JSON of the request: method, URI (path and query, as they go over the wire), origin,
destination, and the body if there is one. A server signs with each of its keys in a header of its own; one good
signature is enough.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import orjson

from federation.core import unpadded_base64
from federation.core.errors import BadJson, BadSignature, InvalidIdentifier
from federation.core.ids import ServerName, parse_server_name
from federation.core.signing import SigningKey, verify_bytes

SCHEME = "X-Matrix"
MOST_SIGNATURES = 10
"""Signatures of one request that are looked at; more are refused."""

# RFC 9110, sections 5.6.2, 5.6.4 and 11.4.
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - a grammar
# COMPAT: a colon stands for itself, for older servers do not quote names and key IDs.
_credentials = re.compile(rf"({_TOKEN})(?: +(?:,[ \t]*)*|\Z)").match
_parameter = re.compile(
    rf'({_TOKEN})[ \t]*=[ \t]*(?:((?:{_TOKEN}|:)+)|"((?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[^\x00-\x08\x0a-\x1f\x7f])*)")'
).match
_comma = re.compile(r"[ \t]*(?:,[ \t]*)+").match
_end = re.compile(r"[ \t]*(?:,[ \t]*)*\Z").match
_escaped = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class RequestAuth:
    """What the `Authorization` headers of a request claim. Nothing of it is true before `verify`."""

    origin: ServerName
    """The server that says it asks."""
    destination: ServerName | None
    """The server that it means to ask; None if it does not say, as servers before Matrix 1.3."""
    signatures: Mapping[str, bytes]
    """A signature by each key ID."""


def make(
    key: SigningKey, origin: ServerName, destination: ServerName, method: str, uri: str, content: bytes | None
) -> str:
    """Return the `Authorization` header of a request; `content` is the canonical JSON of its body, if it has one."""
    signature = unpadded_base64.encode(key.sign_bytes(_message(origin, destination, method, uri, content)))
    return f'{SCHEME} origin="{origin}",destination="{destination}",key="{key.key_id}",sig="{signature}"'


def parse(headers: Iterable[str]) -> RequestAuth | None:
    """Return what the `Authorization` headers of a request claim, or None if none is of our scheme.

    Raises `BadSignature` if one cannot be read, or if they differ about who asks whom.
    """
    found = [parameters for header in headers for parameters in _parse(header)]
    if not found:
        return None
    if len(found) > MOST_SIGNATURES:
        raise BadSignature("the request has too many signatures")
    first, signatures = found[0], {}
    for parameters in found:
        if any(parameters.get(name) != first.get(name) for name in ("origin", "destination")):
            raise BadSignature("the Authorization headers name different servers")
        key_id, signature = _signature(parameters)
        signatures[key_id] = signature
    destination = _server(first, "destination") if "destination" in first else None
    return RequestAuth(_server(first, "origin"), destination, signatures)


def verify(
    auth: RequestAuth,
    key_id: str,
    public_key: bytes,
    *,
    destination: ServerName,
    method: str,
    uri: str,
    content: bytes | None,
) -> None:
    """Raise `BadSignature` unless `auth` was made for this request, and signed with a key that `auth.origin` has.

    `destination` is the server that was asked; `content` the canonical JSON of the body (`encode_lenient` of what
    was parsed, not the bytes that came), None if there was no body.
    """
    if auth.destination is not None and auth.destination != destination:
        raise BadSignature(f"the request is meant for {auth.destination}")
    if key_id not in auth.signatures:
        raise BadSignature(f"the request is not signed with {key_id}")
    verify_bytes(_message(auth.origin, destination, method, uri, content), auth.signatures[key_id], public_key)


def _message(origin: str, destination: str, method: str, uri: str, content: bytes | None) -> bytes:
    # In the order of canonical JSON. A body may be of megabytes: it is put in as it is, not written again.
    request = {"destination": destination, "method": method, "origin": origin, "uri": uri}
    try:
        if content is not None:
            return orjson.dumps({"content": orjson.Fragment(content), **request})
        return orjson.dumps(request)
    except TypeError as error:  # what came over the wire is not UTF-8
        raise BadSignature("the request line is not text") from error


def _parse(header: str) -> list[dict[str, str]]:
    """Return the parameters of each X-Matrix credentials in a header; proxies join headers with commas."""
    found: list[dict[str, str]] = []
    start = _credentials(header)
    if start is None or not _is_ours(start[1]):
        return found  # another scheme, whose grammar is not known here
    while start is not None:
        parameters, at = _parameters(header, start.end())
        if _is_ours(start[1]):
            found.append(parameters)
        if _end(header, at) is not None:
            return found
        separator = _comma(header, at)
        start = separator and _credentials(header, separator.end())
    raise BadSignature("the Authorization header cannot be read")


def _is_ours(scheme: str) -> bool:
    return scheme.lower() == SCHEME.lower()


def _parameters(header: str, at: int) -> tuple[dict[str, str], int]:
    """Return the parameters from `at` on, and where they end."""
    found: dict[str, str] = {}
    while (parameter := _parameter(header, at)) is not None:
        name, plain, quoted = parameter.groups()
        if name.lower() in found:
            raise BadSignature(f"the Authorization header has {name} twice")
        found[name.lower()] = plain if plain is not None else _escaped.sub(r"\1", quoted)
        at = parameter.end()
        separator = _comma(header, at)
        if separator is None or _parameter(header, separator.end()) is None:
            break
        at = separator.end()
    return found, at


def _server(parameters: Mapping[str, str], name: str) -> ServerName:
    try:
        return parse_server_name(parameters[name])
    except KeyError as error:
        raise BadSignature(f"the Authorization header has no {name}") from error
    except InvalidIdentifier as error:
        raise BadSignature(f"{name} of the Authorization header is {error}") from error


def _signature(parameters: Mapping[str, str]) -> tuple[str, bytes]:
    # The specification lists the parameter as `signature` and shows it as `sig`, which is what servers send.
    signature = parameters.get("sig", parameters.get("signature"))
    if "key" not in parameters or signature is None:
        raise BadSignature("the Authorization header has no key or no sig")
    try:
        return parameters["key"], unpadded_base64.decode(signature)
    except BadJson as error:
        raise BadSignature("sig of the Authorization header is not Base64") from error
