"""What a client is told where another server had to be asked: of what it says, of its no, of its silence."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from federation.core.ids import ServerName
from federation.matrix.errors import FederationError, RemoteError
from homeserver.errors import Forbidden, NotFound, OtherServerFailed


@contextmanager
def asking(server: ServerName) -> Iterator[None]:
    """Turn what goes wrong while another server is asked into what a client is told.

    Raises `NotFound` and `Forbidden` where that server says so, `OtherServerFailed` for everything else.
    """
    try:
        yield
    except RemoteError as error:
        if error.status == 404:
            raise NotFound(error.error or f"{server} does not know it") from error
        if error.status == 403:
            raise Forbidden(error.error or f"{server} does not allow it") from error
        raise OtherServerFailed(f"{server} answered with an error: {error.errcode}") from error
    except FederationError as error:
        raise OtherServerFailed(f"{server} cannot be asked now") from error


def room_told(room: object, texts: Collection[str]) -> dict[str, Any] | None:
    """Return what clients may be told of a room that another server describes: fields that must be there, and `texts`.

    Each is of the type that the specification gives it. None for what has no room ID.
    """
    if not isinstance(room, dict) or not isinstance(room.get("room_id"), str):
        return None
    members = room.get("num_joined_members")
    return {
        "room_id": room["room_id"],
        "num_joined_members": members if isinstance(members, int) and members >= 0 else 0,
        "world_readable": room.get("world_readable") is True,
        "guest_can_join": room.get("guest_can_join") is True,
        **{name: room[name] for name in texts if isinstance(room.get(name), str)},
    }
