"""What clients and servers ask of files, in the same words."""

from typing import Annotated

import msgspec

from homeserver.model.media import Method

Pixels = Annotated[int, msgspec.Meta(ge=1, le=2**31)]


class DownloadQuery(msgspec.Struct):
    """How long to wait for what is not uploaded yet."""

    timeout_ms: int = 20_000
    allow_remote: bool = True
    """Of the frozen endpoints: whether another server may be asked for the file."""


class ThumbnailQuery(msgspec.Struct):
    """Which thumbnail is wanted."""

    width: Pixels
    height: Pixels
    method: Method = Method.SCALE
    animated: bool = False
    timeout_ms: int = 20_000
    allow_remote: bool = True
    """As of a download."""
