"""What the endpoints that read in pages have in common: tokens, limits, filters, lists of ready events.

Source: https://spec.matrix.org/v1.19/client-server-api/#pagination
"""

from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec
import orjson

from homeserver.errors import BadJson, InvalidParam, MissingParam, NotJson
from homeserver.http.bodies import convert, parse_object
from homeserver.model.filters import RoomEventFilter
from homeserver.model.positions import PageToken, parse_place

LARGEST_PAGE = 1000
Direction = Literal["b", "f"]
Limit = Annotated[int, msgspec.Meta(ge=0)]


def place(name: str, token: str | None) -> int | None:
    """Return the position of a token, None if there is none. Raises `InvalidParam`, naming the parameter."""
    if token is None:
        return None
    try:
        return parse_place(token)
    except ValueError as error:
        raise InvalidParam(f"{name}: not a token of this server") from error


def room_filter(text: str | None) -> RoomEventFilter:
    """Return the `RoomEventFilter` that stands as JSON in a query. Raises `InvalidParam`."""
    if not text:
        return RoomEventFilter()
    try:
        return convert(parse_object(text.encode()), RoomEventFilter)
    except (NotJson, BadJson, MissingParam) as error:
        raise InvalidParam(f"filter: {error.message}") from error


def listed(items: Iterable[bytes]) -> bytes:
    """Return a JSON list of ready items."""
    return b"[" + b",".join(items) + b"]"


def answer(**members: bytes | str | int | None) -> bytes:
    """Return a JSON object; bytes are JSON already, and what is None is left out."""
    return (
        b"{"
        + b",".join(
            b'"%b":%b' % (name.encode(), value if isinstance(value, bytes) else orjson.dumps(value))
            for name, value in members.items()
            if value is not None
        )
        + b"}"
    )


def token(position: int | None) -> str | None:
    """Return the token for a place, None for none."""
    return str(PageToken(position)) if position is not None else None
