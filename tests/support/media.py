"""Files that people send, and how they come back."""

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw
from yarl import URL

from tests.support.world import SERVER_NAME, User, World, ok, q

MEDIA = "/_matrix/client/v1/media"
OLD_MEDIA = "/_matrix/media/v3"


@dataclass(frozen=True)
class Got:
    """An answer with a file."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def image(self) -> Image.Image:
        """The file as an image, decoded."""
        image = Image.open(BytesIO(self.body))
        image.load()
        return image


async def uploads(
    user: User, data: bytes, content_type: str | None = "image/png", *, filename: str | None = None
) -> str:
    """Upload a file; return its media ID."""
    query = {} if filename is None else {"filename": filename}
    headers = {"Content-Type": content_type} if content_type is not None else {}
    answer = await user.world.request(
        "POST", f"{OLD_MEDIA}/upload", raw=data, token=user.token, headers=headers, **query
    )
    return media_id_of(ok(answer)["content_uri"])


def media_id_of(uri: str) -> str:
    """Return the media ID of a content URI of our server."""
    start = f"mxc://{SERVER_NAME}/"
    assert uri.startswith(start)
    return uri.removeprefix(start)


async def reserves(user: User) -> str:
    """Make a content URI to be filled later; return its media ID."""
    return media_id_of(ok(await user.post("/_matrix/media/v1/create"))["content_uri"])


async def fills(user: User, media_id: str, data: bytes, server_name: str = SERVER_NAME) -> tuple[int, Any]:
    """Upload into a content URI; return the answer."""
    return await user.world.request(
        "PUT", f"{OLD_MEDIA}/upload/{q(server_name)}/{media_id}", raw=data, token=user.token,
        headers={"Content-Type": "text/plain"},
    )  # fmt: skip


async def got(
    world: World, path: str, token: str | None, headers: Mapping[str, str] | None = None, **query: Any
) -> Got:
    """GET a path; return status, headers and bytes."""
    sent = dict(headers or {})
    if token is not None:
        sent["Authorization"] = f"Bearer {token}"
    url = URL(world.base + path, encoded=True)
    url = url.update_query({name: str(value) for name, value in query.items()})
    async with world.http.get(url, headers=sent) as response:
        return Got(response.status, response.headers, await response.read())


async def downloads(
    user: User, media_id: str, name: str | None = None, *, headers: Mapping[str, str] | None = None
) -> Got:
    """Download a file, maybe under a name that is percent-encoded already."""
    path = f"{MEDIA}/download/{SERVER_NAME}/{media_id}"
    return await got(user.world, path if name is None else f"{path}/{name}", user.token, headers)


async def thumbnail(user: User, media_id: str, width: Any, height: Any, **query: Any) -> Got:
    """Ask for a thumbnail."""
    path = f"{MEDIA}/thumbnail/{SERVER_NAME}/{media_id}"
    return await got(user.world, path, user.token, width=width, height=height, **query)


def files_of(world: World) -> list[Path]:
    """Return every file below the media directory."""
    return sorted(path for path in Path(world.app.config.media.path).rglob("*") if path.is_file())


# Images


def picture(width: int = 640, height: int = 480, mode: str = "RGB") -> Image.Image:
    """Return a picture whose left upper quarter is red and whose rest is blue."""
    image = Image.new("RGB", (width, height), (0, 0, 255))
    ImageDraw.Draw(image).rectangle((0, 0, width // 2 - 1, height // 2 - 1), fill=(255, 0, 0))
    return image.convert(mode)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """Return the bytes of an image file."""
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def film(kind: str, width: int = 400, height: int = 300, frames: int = 3, **options: Any) -> bytes:
    """Return an animation: frames of different colours."""
    colours = [(number * 80 % 256, 255 - number * 80 % 256, number % 256) for number in range(frames)]
    images = [Image.new("RGB", (width, height), colour) for colour in colours]
    return encoded(images[0], kind, save_all=True, append_images=images[1:], duration=120, loop=0, **options)


def png_that_claims(width: int, height: int, rows: bytes = b"") -> bytes:
    """Return a PNG file whose header claims that size, whatever is in it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
