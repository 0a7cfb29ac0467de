"""What can go wrong when another server is asked.

    FederationError
    ├── Unreachable     no connection that can be trusted, or no answer in time
    ├── BadAnswer       an answer that cannot be used: not JSON, too large, too slow
    └── RemoteError     the other server said no

The text is a sentence for logs. It names the other server, and holds no secrets.
"""

from collections.abc import Mapping
from typing import Any

UNKNOWN = "M_UNKNOWN"


class FederationError(Exception):
    """Another server could not be asked, or did not give what it was asked for."""


class Unreachable(FederationError):
    """No trusted connection, or no answer in time: DNS, TLS, connecting, a refused address, a timeout."""


class BadAnswer(FederationError):
    """The other server answered with what is not JSON, too large, too slow or of another shape."""


class RemoteError(FederationError):
    """The other server answered with an error."""

    def __init__(self, destination: str, status: int, body: Mapping[str, Any] | None = None) -> None:
        """Take the error from the JSON of the answer, if it was JSON."""
        self.status = status
        self.body: dict[str, Any] = dict(body or {})
        self.errcode = _text(self.body.get("errcode")) or UNKNOWN
        self.error = _text(self.body.get("error"))
        super().__init__(f"{destination} answered {status} {self.errcode}: {self.error[:300]}")

    @property
    def retry_after_ms(self) -> int | None:
        """How long the other server asks to be left alone, if it says so."""
        value = self.body.get("retry_after_ms")
        return value if type(value) is int and value >= 0 else None

    @property
    def unrecognized(self) -> bool:
        """Whether the other server does not know the endpoint.

        https://spec.matrix.org/v1.19/server-server-api/#unsupported-endpoints
        """
        # COMPAT: older servers answer 400, and proxies before them 404 without any JSON.
        if self.errcode == "M_UNRECOGNIZED":
            return self.status in (400, 404, 405)
        return self.status in (404, 405) and not self.body


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
