"""A stored file as servers hand it to each other: the second part of a `multipart/mixed` body.

Source: https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1mediadownloadmediaid
"""

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from homeserver.http.files import disposition, opened, send
from homeserver.services.media.downloads import Download


class FileInParts(web.StreamResponse):
    """Metadata, of which there are none yet, and the file."""

    def __init__(self, download: Download, boundary: str) -> None:
        """Take the file, and a text that is not in it."""
        super().__init__()
        self._path = download.path
        self._count = download.content.size
        self._before = "\r\n".join(
            (
                f"--{boundary}",
                "Content-Type: application/json",
                "",
                "{}",
                f"--{boundary}",
                f"Content-Type: {download.content.content_type}",
                f"Content-Disposition: {disposition('attachment', download.name)}",
                "",
                "",
            )
        ).encode("utf-8", "replace")
        self._after = f"\r\n--{boundary}--\r\n".encode()
        self.headers["Content-Type"] = f"multipart/mixed; boundary={boundary}"
        self.content_length = len(self._before) + self._count + len(self._after)

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the headers and the parts. Raises ConnectionResetError if whoever asked has gone."""
        if self.prepared:
            return await super().prepare(request)
        async with opened(self._path) as file:
            writer = await super().prepare(request)
            await self.write(self._before)
            await send(self, file, self._count)
            await self.write(self._after)
        return writer
