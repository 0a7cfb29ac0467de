"""Connections: what is wrong before there is a request is answered like any other error, and not waited for endlessly.

aiohttp answers such with a text for people, and writes a traceback with the request's line into the log. Anybody on the
Internet can cause that, and the line may hold an access token.
"""

import asyncio
from typing import Any

import structlog
from aiohttp import web
from aiohttp.http_exceptions import BadHttpMethod, LineTooLong

from homeserver.errors import MatrixError, MethodNotAllowed, TooLarge
from homeserver.http.door import error_response, fault_response

log = structlog.get_logger()

SLOWEST_HEAD_SECONDS = 60.0
"""How long a new connection may take until its first request is there, its body apart."""


class Connection(web.RequestHandler):
    """One client's connection."""

    __slots__ = ("_deadline",)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._deadline = self._loop.call_later(SLOWEST_HEAD_SECONDS, self._close_if_silent)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Wait no longer."""
        self._deadline.cancel()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - for people
    ) -> web.StreamResponse:
        """Return the answer to what could not be read as a request, or not be answered; the connection ends with it."""
        if request.writer.output_size > 0:
            raise ConnectionError("Part of another answer has been sent already")
        if status < 500:
            response = error_response(_error(exc))
        else:
            log.error("request_failed", exc_info=exc)
            response = fault_response()
        response.force_close()
        return response

    def log_exception(self, *_args: Any, exc_info: BaseException | None = None, **_more: Any) -> None:
        """Log what failed outside of an answer, but for bodies that cannot be read: their senders are told."""
        if not isinstance(exc_info, web.RequestPayloadError):
            log.error("connection_failed", exc_info=exc_info)

    def _close_if_silent(self) -> None:
        if self._request_count == 0:
            self.force_close()


class Listener(web.Server):
    """Makes the connections of a listening socket."""

    def __call__(self) -> Connection:
        """Return what answers a new connection."""
        return Connection(self, loop=self._loop, auto_decompress=False, **self._kwargs)


def _error(exc: BaseException | None) -> MatrixError:
    match exc:
        case BadHttpMethod():
            return MethodNotAllowed("The server does not know that method")
        case LineTooLong():
            return TooLarge("The request's line, or a header, is too long")
        case _:
            return MatrixError("The request is not valid HTTP")
