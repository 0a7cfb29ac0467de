"""Every error that a client can be told, and its public face.

    MatrixError
    ├── BadJson, NotJson, InvalidParam, MissingParam            400: the request itself
    ├── TooLarge                                                413
    ├── MissingToken, UnknownToken, Unauthorized                401: who are you
    ├── Forbidden (and its relations)                           403: you may not
    ├── NotFound, Unrecognized                                  404, 405
    ├── LimitExceeded                                           429
    ├── InteractiveAuthRequired                                 401 with flows: user-interactive authentication
    ├── OtherServerFailed                                       502: a server that had to be asked
    └── Unavailable                                             503

The text of an error is public; what must not be told goes into the cause (`raise ... from`).
Source: https://spec.matrix.org/v1.19/client-server-api/#standard-error-response
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


class MatrixError(Exception):
    """An error with an HTTP status, a Matrix error code and a text for the client's developer."""

    status: ClassVar[int] = 400
    errcode: ClassVar[str] = "M_UNKNOWN"

    def __init__(self, message: str = "", /, **fields: Any) -> None:
        """Take the public `message` and further fields of the answer's body."""
        super().__init__(message or type(self).__name__)
        self.message = message or type(self).__doc__ or ""
        self.fields: Mapping[str, Any] = fields

    def body(self) -> dict[str, Any]:
        """Return the JSON body of the answer."""
        return {"errcode": self.errcode, "error": self.message, **self.fields}


class BadJson(MatrixError):
    """The JSON is not of the expected form."""

    errcode = "M_BAD_JSON"


class NotJson(MatrixError):
    """The request's body is not JSON."""

    errcode = "M_NOT_JSON"


class BadEncoding(NotJson):
    """The body is not encoded as its headers say."""


class InvalidParam(MatrixError):
    """A parameter has a wrong value."""

    errcode = "M_INVALID_PARAM"


class InvalidSignature(MatrixError):
    """Something that had to be signed is not, or not as it should."""

    errcode = "M_INVALID_SIGNATURE"


class MissingParam(MatrixError):
    """A required parameter is missing."""

    errcode = "M_MISSING_PARAM"


class TooLarge(MatrixError):
    """The request or the event is too large."""

    status = 413
    errcode = "M_TOO_LARGE"


class MissingToken(MatrixError):
    """No access token was given."""

    status = 401
    errcode = "M_MISSING_TOKEN"


class UnknownToken(MatrixError):
    """The access token is not known; `soft_logout` says whether the device still exists."""

    status = 401
    errcode = "M_UNKNOWN_TOKEN"


class Unauthorized(MatrixError):
    """The request is not signed by the server that it claims to come from."""

    status = 401
    errcode = "M_UNAUTHORIZED"


class Forbidden(MatrixError):
    """You may not do this."""

    status = 403
    errcode = "M_FORBIDDEN"


class GuestAccessForbidden(Forbidden):
    """Guests have no access here."""

    errcode = "M_GUEST_ACCESS_FORBIDDEN"


class UserDeactivated(Forbidden):
    """The account has been deactivated."""

    errcode = "M_USER_DEACTIVATED"


class UserLocked(MatrixError):
    """The account is locked."""

    status = 401
    errcode = "M_USER_LOCKED"


class UserSuspended(Forbidden):
    """The account is suspended."""

    errcode = "M_USER_SUSPENDED"


class PolicyRefused(MatrixError):
    """This server, asked as a policy server, does not recommend the event."""

    errcode = "M_FORBIDDEN"


class InviteBlocked(Forbidden):
    """The user does not take invites."""

    errcode = "M_INVITE_BLOCKED"


class UnableToAuthoriseJoin(MatrixError):
    """No server that can vouch for the join was found."""

    errcode = "M_UNABLE_TO_AUTHORISE_JOIN"


class UnableToGrantJoin(MatrixError):
    """The user may join, but nobody of this server can let them in; another server may."""

    errcode = "M_UNABLE_TO_GRANT_JOIN"


class IncompatibleRoomVersion(MatrixError):
    """The room is of a version that one of the two servers does not speak."""

    errcode = "M_INCOMPATIBLE_ROOM_VERSION"

    def __init__(self, room_version: str) -> None:
        """Take the version of the room; it goes into the body."""
        super().__init__(f"The room is of version {room_version}", room_version=room_version)


class UserInUse(MatrixError):
    """The user ID is taken."""

    errcode = "M_USER_IN_USE"


class InvalidUsername(MatrixError):
    """The user ID is not valid."""

    errcode = "M_INVALID_USERNAME"


class WeakPassword(MatrixError):
    """The password is too weak."""

    errcode = "M_WEAK_PASSWORD"


class RoomInUse(MatrixError):
    """The room alias is taken."""

    errcode = "M_ROOM_IN_USE"


class InvalidRoomState(MatrixError):
    """The initial state of the room is not valid."""

    errcode = "M_INVALID_ROOM_STATE"


class UnsupportedRoomVersion(MatrixError):
    """The room version is not known here."""

    errcode = "M_UNSUPPORTED_ROOM_VERSION"


class AliasTaken(MatrixError):
    """The room alias exists already."""

    status = 409


class ServerNotTrusted(MatrixError):
    """The third-party server is not trusted here."""

    status = 403
    errcode = "M_SERVER_NOT_TRUSTED"


class ThreepidMediumNotSupported(MatrixError):
    """The server takes no third-party identifiers of this kind."""

    errcode = "M_THREEPID_MEDIUM_NOT_SUPPORTED"


class BadAlias(MatrixError):
    """The alias does not point to the room."""

    errcode = "M_BAD_ALIAS"


class BadState(MatrixError):
    """The state of things does not allow it."""

    errcode = "M_BAD_STATE"


class ProfileTooLarge(MatrixError):
    """The profile would be too large."""

    errcode = "M_PROFILE_TOO_LARGE"


class KeyTooLarge(MatrixError):
    """The name of the profile field is too long."""

    errcode = "M_KEY_TOO_LARGE"


class ServerControlled(BadJson):
    """The server itself keeps this; clients cannot set it."""

    status = 405


class DuplicateAnnotation(MatrixError):
    """The same reaction stands there already."""

    errcode = "M_DUPLICATE_ANNOTATION"


class NotFound(MatrixError):
    """Not found."""

    status = 404
    errcode = "M_NOT_FOUND"


class NotYetUploaded(MatrixError):
    """The media has not been uploaded yet."""

    status = 504
    errcode = "M_NOT_YET_UPLOADED"


class CannotOverwriteMedia(MatrixError):
    """The media exists already."""

    status = 409
    errcode = "M_CANNOT_OVERWRITE_MEDIA"


class CannotThumbnail(MatrixError):
    """No thumbnail can be made of the content."""


class TooSlow(MatrixError):
    """The request's body comes too slowly."""

    status = 408


class Unrecognized(MatrixError):
    """The server does not know this endpoint."""

    status = 404
    errcode = "M_UNRECOGNIZED"


class MethodNotAllowed(Unrecognized):
    """The endpoint exists, but not with this method."""

    status = 405

    def __init__(self, message: str, allowed: Sequence[str] = ()) -> None:
        """Take the public message and the methods that the endpoint has."""
        super().__init__(message)
        self.allowed = allowed


class LimitExceeded(MatrixError):
    """Too many requests."""

    status = 429
    errcode = "M_LIMIT_EXCEEDED"

    def __init__(self, retry_after_ms: int) -> None:
        """Take how long to wait, in milliseconds; it goes into the body and into `Retry-After`."""
        super().__init__("Too many requests", retry_after_ms=retry_after_ms)
        self.retry_after_ms = retry_after_ms


class InteractiveAuthRequired(MatrixError):
    """Further authentication is needed: the body names flows, session and what is completed."""

    status = 401
    errcode = "M_FORBIDDEN"

    def __init__(self, body: Mapping[str, Any]) -> None:
        """Take the whole body of the answer."""
        super().__init__("Further authentication is needed")
        self._body = dict(body)

    def body(self) -> dict[str, Any]:
        """Return the flows, the session and what is completed; no error code unless a stage failed."""
        return self._body


class Unavailable(MatrixError):
    """The server cannot answer at the moment."""

    status = 503
    errcode = "M_UNKNOWN"


class OtherServerFailed(MatrixError):
    """Another server, which had to be asked, could not be reached or gave no answer that makes sense."""

    status = 502
