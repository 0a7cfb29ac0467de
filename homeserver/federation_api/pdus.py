"""Events in answers: bytes that are ready, put in their place as they are."""

from collections.abc import Iterable

import orjson

from homeserver.http.routing import Answer, Call


def listed(pdus: Iterable[bytes]) -> orjson.Fragment:
    """Return events as a JSON list, to be a value of what `orjson.dumps` writes."""
    return orjson.Fragment(b"[" + b",".join(pdus) + b"]")


def transaction(call: Call, pdus: Iterable[bytes]) -> Answer:
    """Return events in the form of a transaction: https://spec.matrix.org/v1.19/server-server-api/#transactions."""
    services = call.services
    fields = {
        "origin": services.config.server_name,
        "origin_server_ts": services.clock.now_ms(),
        "pdus": listed(pdus),
    }
    return Answer(orjson.dumps(fields))
