"""What a client is told when another server, which had to be asked for it, did not give it.

An error of the other server that is about the user is passed on; one that is about what we sent, or about the other
server itself, is not the client's fault and becomes 502.
"""

from collections.abc import Sequence

from federation.matrix.errors import FederationError, RemoteError
from homeserver.errors import (
    Forbidden,
    IncompatibleRoomVersion,
    InviteBlocked,
    MatrixError,
    NotFound,
    OtherServerFailed,
    UnableToAuthoriseJoin,
    UnableToGrantJoin,
)

LONGEST_TEXT = 500


def public(error: FederationError, server: str) -> MatrixError:
    """Return the error for the client."""
    if not isinstance(error, RemoteError):
        return OtherServerFailed(f"{server} could not be asked")
    text = error.error[:LONGEST_TEXT] or f"{server} answered {error.errcode}"
    if error.errcode == IncompatibleRoomVersion.errcode:
        version = error.body.get("room_version")
        return IncompatibleRoomVersion(version if isinstance(version, str) else "unknown")
    for kind in (InviteBlocked, UnableToAuthoriseJoin, UnableToGrantJoin):
        if error.errcode == kind.errcode:
            return kind(text)
    if error.status == Forbidden.status and error.errcode == Forbidden.errcode:
        return Forbidden(text)
    if error.status == NotFound.status and error.errcode == NotFound.errcode:
        return NotFound(text)
    return OtherServerFailed(f"{server} answered {error.status} {error.errcode}: {text}")


_TELLING = (IncompatibleRoomVersion, Forbidden, UnableToAuthoriseJoin, UnableToGrantJoin, NotFound, OtherServerFailed)


def most_telling(errors: Sequence[MatrixError]) -> MatrixError:
    """Return the error, of those that several servers gave for the same, that says most."""
    for kind in _TELLING:
        for error in errors:
            if isinstance(error, kind):
                return error
    return errors[0]
