"""What a client is told where another server had to be asked and said no, or nothing that makes sense."""

from collections.abc import Iterator
from contextlib import contextmanager

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
