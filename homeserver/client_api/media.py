"""Content repository: https://spec.matrix.org/v1.19/client-server-api/#content-repository.

The endpoints under `/_matrix/media/v3` that need no token are frozen: nothing that was uploaded here is old enough for
them. With a token they answer, for clients of before Matrix 1.11. See `docs/decisions/0006-legacy-media.md`.
"""

import msgspec
from aiohttp import web

from federation.core.ids import ServerName
from homeserver.errors import InvalidParam, NotFound
from homeserver.http.files import LONGEST_NAME, FileResponse, content_type_of
from homeserver.http.media_queries import DownloadQuery, ThumbnailQuery
from homeserver.http.packing import is_packed, pieces_of
from homeserver.http.routing import Auth, Call, Json, Routes
from homeserver.model.media import MediaID
from homeserver.services.media.shapes import shape_for
from homeserver.services.media.uploads import Upload

routes = Routes()

THUMBNAIL_NAME = "thumbnail"
EXTENSIONS = {"image/jpeg": "jpg", "image/png": "png", "image/gif": "gif", "image/webp": "webp"}


class UploadQuery(msgspec.Struct):
    """What is said of an upload beside its headers."""

    filename: str | None = None


# Uploading


@routes.post("/_matrix/media/v3/upload", limit="media", raw_body=True)
async def upload(call: Call, query: UploadQuery) -> Json:
    """Store a file under a content URI of its own."""
    media = await call.services.media.uploads.add(call.who, _upload(call, query))
    return {"content_uri": media.uri}


@routes.post("/_matrix/media/v1/create", limit="media")
async def create(call: Call) -> Json:
    """Make a content URI to be filled later."""
    media = await call.services.media.uploads.reserve(call.who)
    return {"content_uri": media.uri, "unused_expires_at": media.expires_at}


@routes.put("/_matrix/media/v3/upload/{server_name}/{media_id}", limit="media", raw_body=True)
async def fill(call: Call, server_name: ServerName, media_id: MediaID, query: UploadQuery) -> Json:
    """Store a file under a content URI that was made before."""
    await call.services.media.uploads.fill(call.who, server_name, media_id, _upload(call, query))
    return {}


def _upload(call: Call, query: UploadQuery) -> Upload:
    request = call.request
    # Bytes that come compressed are decompressed on the way: their number is not known before.
    length = None if is_packed(request) else request.content_length
    name = _name(query.filename, "filename")
    return Upload(pieces_of(request), length, content_type_of(request.headers.get("Content-Type")), name)


def _name(name: str | None, parameter: str) -> str | None:
    if name is not None and len(name) > LONGEST_NAME:
        raise InvalidParam(f"{parameter}: file names have at most {LONGEST_NAME} characters")
    return name or None


# Downloading


@routes.get("/_matrix/client/v1/media/config")
async def config(call: Call) -> Json:
    """Say how large uploads may be."""
    return {"m.upload.size": call.services.config.media.max_upload_bytes}


@routes.get("/_matrix/client/v1/media/download/{server_name}/{media_id}")
async def download(call: Call, server_name: ServerName, media_id: MediaID, query: DownloadQuery) -> web.StreamResponse:
    """Send a file under the name that its uploader gave it."""
    found = await call.services.media.downloads.find(server_name, media_id, query.timeout_ms)
    return FileResponse(call.request, found, found.name)


@routes.get("/_matrix/client/v1/media/download/{server_name}/{media_id}/{file_name}")
async def download_as(
    call: Call, server_name: ServerName, media_id: MediaID, file_name: str, query: DownloadQuery
) -> web.StreamResponse:
    """Send a file under a name that the caller gives it; some clients give an empty one."""
    name = _name(file_name, "fileName")
    found = await call.services.media.downloads.find(server_name, media_id, query.timeout_ms)
    return FileResponse(call.request, found, name or found.name)


@routes.get("/_matrix/client/v1/media/thumbnail/{server_name}/{media_id}")
async def thumbnail(
    call: Call, server_name: ServerName, media_id: MediaID, query: ThumbnailQuery
) -> web.StreamResponse:
    """Send an image made small, at least as large as asked if the image is."""
    shape = shape_for(query.width, query.height, query.method, animated=query.animated)
    found = await call.services.media.downloads.find_thumbnail(server_name, media_id, shape, query.timeout_ms)
    return FileResponse(call.request, found, f"{THUMBNAIL_NAME}.{EXTENSIONS[found.content.content_type]}")


# The frozen endpoints of before Matrix 1.11


@routes.get("/_matrix/media/v3/config")
async def old_config(call: Call) -> Json:
    """Say how large uploads may be."""
    return await config(call)


@routes.get("/_matrix/media/v3/download/{server_name}/{media_id}", auth=Auth.OPTIONAL)
async def old_download(
    call: Call, server_name: ServerName, media_id: MediaID, query: DownloadQuery
) -> web.StreamResponse:
    """Send a file, as `download` does, to whoever has a token."""
    _check_frozen(call, server_name, query.allow_remote)
    return await download(call, server_name, media_id, query)


@routes.get("/_matrix/media/v3/download/{server_name}/{media_id}/{file_name}", auth=Auth.OPTIONAL)
async def old_download_as(
    call: Call, server_name: ServerName, media_id: MediaID, file_name: str, query: DownloadQuery
) -> web.StreamResponse:
    """Send a file under another name, as `download_as` does, to whoever has a token."""
    _check_frozen(call, server_name, query.allow_remote)
    return await download_as(call, server_name, media_id, file_name, query)


@routes.get("/_matrix/media/v3/thumbnail/{server_name}/{media_id}", auth=Auth.OPTIONAL)
async def old_thumbnail(
    call: Call, server_name: ServerName, media_id: MediaID, query: ThumbnailQuery
) -> web.StreamResponse:
    """Send a thumbnail, as `thumbnail` does, to whoever has a token."""
    _check_frozen(call, server_name, query.allow_remote)
    return await thumbnail(call, server_name, media_id, query)


def _check_frozen(call: Call, server_name: ServerName, allow_remote: bool) -> None:
    if call.requester is None:
        raise NotFound("Media is served with an access token only, at /_matrix/client/v1/media")
    if not allow_remote and server_name != call.services.config.server_name:
        raise NotFound("The file is on another server, which is not to be asked")
