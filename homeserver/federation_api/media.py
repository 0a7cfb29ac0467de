"""Files for other servers: https://spec.matrix.org/v1.19/server-server-api/#content-repository."""

from aiohttp import web

from homeserver.http.file_parts import FileInParts
from homeserver.http.media_queries import DownloadQuery, ThumbnailQuery
from homeserver.http.routing import Auth, Call, Routes
from homeserver.model.media import MediaID
from homeserver.services.media.shapes import shape_for

routes = Routes()


@routes.get("/_matrix/federation/v1/media/download/{media_id}", auth=Auth.SERVER)
async def download(call: Call, media_id: MediaID, query: DownloadQuery) -> web.StreamResponse:
    """Send a file that a user of this server has uploaded."""
    downloads = call.services.media.downloads
    found = await downloads.find(downloads.server_name, media_id, query.timeout_ms)
    return FileInParts(found, call.services.ids.letters(32))


@routes.get("/_matrix/federation/v1/media/thumbnail/{media_id}", auth=Auth.SERVER)
async def thumbnail(call: Call, media_id: MediaID, query: ThumbnailQuery) -> web.StreamResponse:
    """Send an image of a user of this server made small."""
    downloads = call.services.media.downloads
    shape = shape_for(query.width, query.height, query.method, animated=query.animated)
    found = await downloads.find_thumbnail(downloads.server_name, media_id, shape, query.timeout_ms)
    return FileInParts(found, call.services.ids.letters(32))
