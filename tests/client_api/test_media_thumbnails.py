"""Images are made small: https://spec.matrix.org/v1.19/client-server-api/#thumbnails."""

import asyncio
import json
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image, ImageCms, PngImagePlugin

from tests.support.media import (
    MEDIA,
    OLD_MEDIA,
    encoded,
    fills,
    film,
    got,
    picture,
    png_that_claims,
    reserves,
    thumbnail,
    uploads,
)
from tests.support.world import SERVER_NAME, User, World, ok, refused


def is_red(pixel: object) -> bool:
    """Whether a pixel is of the red quarter of our picture."""
    assert isinstance(pixel, tuple)
    return bool(pixel[0] > 200 and pixel[2] < 60)


async def no_thumbnail(user: User, media_id: str, status: int, errcode: str) -> None:
    """Ask for a thumbnail that there cannot be."""
    path = f"{MEDIA}/thumbnail/{SERVER_NAME}/{media_id}"
    refused(await user.get(path, width=96, height=96), status, errcode)


@pytest.mark.parametrize(
    ("asked", "method", "size"),
    [
        ((320, 240), "scale", (320, 240)),
        ((640, 480), "scale", (640, 480)),
        ((800, 600), "scale", (800, 600)),
        ((300, 200), "scale", (320, 240)),
        ((321, 1), "scale", (640, 480)),
        ((32, 32), "crop", (32, 32)),
        ((96, 96), "crop", (96, 96)),
        ((50, 50), "crop", (96, 96)),
        ((640, 360), "crop", (640, 360)),
        ((100, 200), "crop", (160, 320)),
    ],
)
async def test_a_thumbnail_is_at_least_as_large_as_asked(
    alice: User, asked: tuple[int, int], method: str, size: tuple[int, int]
) -> None:
    media_id = await uploads(alice, encoded(picture(1600, 1200), "JPEG"), "image/jpeg")
    answer = await thumbnail(alice, media_id, *asked, method=method)
    assert answer.status == 200
    assert answer.image.size == size
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert answer.headers["Content-Disposition"] == 'inline; filename="thumbnail.jpg"'
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert is_red(answer.image.getpixel((3, 3)))
    assert not is_red(answer.image.getpixel((size[0] - 3, size[1] - 3)))


async def test_no_side_of_a_scaled_image_is_smaller_than_asked(alice: User) -> None:
    media_id = await uploads(alice, encoded(picture(3000, 500)))
    assert (await thumbnail(alice, media_id, 320, 240)).image.size == (1440, 240)


async def test_scaling_is_what_is_done_when_nothing_is_said(alice: User) -> None:
    media_id = await uploads(alice, encoded(picture(800, 400)))
    assert (await thumbnail(alice, media_id, 96, 96)).image.size == (192, 96)


async def test_an_image_smaller_than_asked_is_returned_as_it_is(alice: User) -> None:
    data = encoded(picture(60, 50))
    media_id = await uploads(alice, data)
    for method in ("scale", "crop"):
        answer = await thumbnail(alice, media_id, 96, 96, method=method)
        assert answer.body == data
        assert answer.headers["Content-Type"] == "image/png"
    # Only as much as is there, in the form that was asked.
    wide = await uploads(alice, encoded(picture(1000, 50)))
    assert (await thumbnail(alice, wide, 96, 96, method="crop")).image.size == (50, 50)
    assert (await thumbnail(alice, wide, 320, 240, method="scale")).image.size == (1000, 50)


async def test_asking_for_more_than_we_make_gets_the_original(alice: User) -> None:
    data = encoded(picture(2000, 1500), "JPEG")
    media_id = await uploads(alice, data, "image/jpeg")
    for method in ("scale", "crop"):
        assert (await thumbnail(alice, media_id, 1900, 100_000, method=method)).body == data


async def test_the_bytes_decide_what_an_image_is(alice: User) -> None:
    media_id = await uploads(alice, encoded(picture(20, 20), "GIF"), "application/octet-stream")
    answer = await thumbnail(alice, media_id, 96, 96)
    assert answer.headers["Content-Type"] == "image/gif"
    assert answer.headers["Content-Disposition"] == 'inline; filename="thumbnail.gif"'


@pytest.mark.parametrize(
    ("kind", "mode", "made"),
    [
        ("PNG", "RGBA", "image/png"),
        ("PNG", "LA", "image/png"),
        ("PNG", "L", "image/jpeg"),
        ("PNG", "1", "image/jpeg"),
        ("PNG", "P", "image/jpeg"),
        ("PNG", "I;16", "image/jpeg"),
        ("JPEG", "CMYK", "image/jpeg"),
        ("JPEG", "L", "image/jpeg"),
        ("GIF", "P", "image/jpeg"),
        ("WEBP", "RGBA", "image/jpeg"),
        ("AVIF", "RGB", "image/jpeg"),
    ],
)
async def test_every_usual_kind_of_image_is_made_small(alice: User, kind: str, mode: str, made: str) -> None:
    media_id = await uploads(alice, encoded(picture(640, 480, mode), kind))
    answer = await thumbnail(alice, media_id, 32, 32, method="crop")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == made
    assert answer.image.size == (32, 32)


async def test_grey_of_16_bits_keeps_its_shades(alice: User) -> None:
    image = Image.new("I;16", (400, 400), 0x4000)
    media_id = await uploads(alice, encoded(image))
    pixel = (await thumbnail(alice, media_id, 96, 96)).image.getpixel((5, 5))
    assert isinstance(pixel, tuple)
    assert all(abs(value - 0x40) < 3 for value in pixel)


async def test_what_is_transparent_stays_so(alice: User) -> None:
    image = Image.new("RGBA", (400, 400), (255, 0, 0, 0))
    media_id = await uploads(alice, encoded(image))
    pixel = (await thumbnail(alice, media_id, 96, 96)).image.getpixel((5, 5))
    assert isinstance(pixel, tuple)
    assert pixel[3] == 0


@pytest.mark.parametrize("orientation", range(1, 9))
async def test_a_photograph_stands_upright(alice: User, orientation: int) -> None:
    upright = picture(400, 800)
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    stored = upright.transpose(turns[orientation]) if orientation in turns else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    media_id = await uploads(alice, encoded(stored, "JPEG", exif=exif), "image/jpeg")

    scaled = (await thumbnail(alice, media_id, 96, 96)).image
    cropped = (await thumbnail(alice, media_id, 160, 320, method="crop")).image

    assert scaled.size == (96, 192)
    assert cropped.size == (160, 320)
    for image in (scaled, cropped):
        assert is_red(image.getpixel((5, 5)))
        assert not is_red(image.getpixel((image.width - 5, 5)))
        assert not is_red(image.getpixel((5, image.height - 5)))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
async def test_a_thumbnail_tells_nothing_of_where_it_was_taken(alice: User, kind: str) -> None:
    exif = Image.Exif()
    exif[0x010F] = "SECRET camera"
    exif.get_ifd(0x8825)[1] = "N"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    options: dict[str, object] = {"exif": exif, "icc_profile": profile}
    if kind == "PNG":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_text("Author", "SECRET name")  # type: ignore[attr-defined]
    if kind == "JPEG":
        options["comment"] = b"SECRET comment"
    mode = "RGBA" if kind != "JPEG" else "RGB"
    data = encoded(picture(400, 400, mode), kind, **options)
    assert b"SECRET" in data

    answer = await thumbnail(alice, await uploads(alice, data), 96, 96)

    assert b"SECRET" not in answer.body
    assert not answer.image.getexif()
    assert "icc_profile" not in answer.image.info


# Animations


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
async def test_an_animation_moves_only_when_asked(alice: User, kind: str) -> None:
    media_id = await uploads(alice, film(kind))
    for query, moves in (({"animated": "true"}, True), ({"animated": "false"}, False), ({}, False)):
        answer = await thumbnail(alice, media_id, 96, 96, **query)
        assert answer.status == 200
        assert getattr(answer.image, "is_animated", False) is moves
        assert answer.image.size == (128, 96)
        if moves:
            assert answer.headers["Content-Type"] == "image/webp"
            assert answer.image.n_frames == 3
            assert answer.image.info["duration"] == 120
            assert answer.image.info["loop"] == 0


async def test_a_small_animation_is_returned_as_it_is_or_stands_still(alice: User) -> None:
    data = film("GIF", 30, 20)
    media_id = await uploads(alice, data, "image/gif")
    moving = await thumbnail(alice, media_id, 96, 96, animated="true")
    still = await thumbnail(alice, media_id, 96, 96)
    assert moving.body == data
    assert not getattr(still.image, "is_animated", False)
    assert still.image.size == (30, 20)


async def test_what_cannot_move_is_made_as_if_not_asked(alice: User) -> None:
    media_id = await uploads(alice, encoded(picture(), "JPEG"), "image/jpeg")
    answer = await thumbnail(alice, media_id, 96, 96, animated="true")
    assert answer.headers["Content-Type"] == "image/jpeg"


async def test_an_endless_animation_stands_still(alice: User) -> None:
    media_id = await uploads(alice, film("GIF", 100, 100, frames=320))
    answer = await thumbnail(alice, media_id, 32, 32, animated="true")
    assert answer.status == 200
    assert not getattr(answer.image, "is_animated", False)


# Made once


async def test_a_thumbnail_is_made_once_and_kept(world: World, alice: User, bob: User) -> None:
    data = encoded(picture())
    one, other = await uploads(alice, data), await uploads(bob, data)
    imager = world.app.services.media.imager

    answers = await asyncio.gather(*(thumbnail(alice, one, 96, 96) for _ in range(5)))
    answers += [await thumbnail(bob, other, 90 - number, 96) for number in range(5)]

    assert len({answer.body for answer in answers}) == 1
    assert imager._done == 1


async def test_a_hostile_client_gets_few_thumbnails_made(world: World, alice: User) -> None:
    media_id = await uploads(alice, encoded(picture(100, 100)))
    root = Path(world.app.config.media.path)
    for width in range(1, 120, 7):
        for method in ("scale", "crop"):
            await thumbnail(alice, media_id, width, 3 * width % 50 + 1, method=method)
    assert len([path for path in root.rglob("*") if path.is_file()]) < 15


async def test_a_thumbnail_that_was_lost_is_made_again(world: World, alice: User) -> None:
    media_id = await uploads(alice, encoded(picture()))
    first = await thumbnail(alice, media_id, 96, 96)
    for path in Path(world.app.config.media.path).rglob("*"):
        if path.is_file() and path.stat().st_size == len(first.body):
            path.unlink()
    assert (await thumbnail(alice, media_id, 96, 96)).body == first.body


async def test_a_thumbnail_waits_for_the_upload(alice: User) -> None:
    media_id = await reserves(alice)
    waiting = asyncio.create_task(thumbnail(alice, media_id, 96, 96))
    await asyncio.sleep(0)
    ok(await fills(alice, media_id, encoded(picture())))
    assert (await waiting).status == 200


async def test_old_clients_get_thumbnails_where_they_look_for_them(world: World, alice: User) -> None:
    media_id = await uploads(alice, encoded(picture()))
    path = f"{OLD_MEDIA}/thumbnail/{SERVER_NAME}/{media_id}"
    assert (await got(world, path, alice.token, width=96, height=96)).image.size == (128, 96)


# Bad input


@pytest.mark.parametrize(
    "query",
    [
        {"width": "x", "height": 1}, {"width": 0, "height": 1}, {"width": 1, "height": -1}, {"width": 1.5, "height": 1},
        {"width": 1, "height": 1, "method": "stretch"}, {"width": 1, "height": 1, "animated": "maybe"},
        {"width": 10**30, "height": 1}, {"width": 1, "height": 1, "timeout_ms": "soon"},
    ],
)  # fmt: skip
async def test_nonsense_is_refused_by_name(world: World, alice: User, query: dict[str, object]) -> None:
    media_id = await uploads(alice, encoded(picture()))
    answer = await got(world, f"{MEDIA}/thumbnail/{SERVER_NAME}/{media_id}", alice.token, **query)
    error = refused((answer.status, json.loads(answer.body)), 400, "M_INVALID_PARAM")["error"]
    assert any(name in error for name in query)


async def test_a_size_is_needed(alice: User) -> None:
    answer = await alice.get(f"{MEDIA}/thumbnail/{SERVER_NAME}/abc", width=1)
    assert "height" in refused(answer, 400, "M_MISSING_PARAM")["error"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"just text",
        b"%PDF-1.7 ...",
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        b"<html><script>alert(1)</script>",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a" + b"\xff" * 50,
        b"\xff\xd8\xff\xe0" + b"\0" * 100,
        b"RIFF\x10\x00\x00\x00WEBPVP8 \x00\x00\x00\x00",
        encoded(picture(300, 300), "BMP"),
        encoded(picture(300, 300), "TIFF"),
        encoded(picture(1000, 1000), "JPEG")[:3000],
        encoded(picture(50, 50), "JPEG")[:500],
        encoded(picture(1000, 1000), "PNG")[:-40],
        png_that_claims(1000, 1000, b"\0" * 100),
    ],
    ids=lambda data: repr(data[:12]),
)
async def test_of_what_is_no_whole_image_there_is_no_thumbnail(alice: User, data: bytes) -> None:
    media_id = await uploads(alice, data, "image/svg+xml")
    await no_thumbnail(alice, media_id, 400, "M_UNKNOWN")
    # And once more, from memory.
    await no_thumbnail(alice, media_id, 400, "M_UNKNOWN")


async def test_a_hostile_file_does_not_spoil_the_next(alice: User) -> None:
    broken = await uploads(alice, encoded(picture(), "JPEG")[:2000])
    whole = await uploads(alice, encoded(picture()))
    for _ in range(3):
        await no_thumbnail(alice, broken, 400, "M_UNKNOWN")
        assert (await thumbnail(alice, whole, 96, 96)).status == 200


@pytest.mark.parametrize(
    "data",
    [
        png_that_claims(2**31 - 1, 2**31 - 1),
        png_that_claims(100_000, 100_000),
        png_that_claims(7072, 7072),
        b"GIF89a\xff\xff\xff\xff\x00\x00\x00" + b"\x2c\x00\x00\x00\x00\xff\xff\xff\xff\x00\x02\x02\x4c\x01\x00\x3b",
    ],
    ids=["int-max", "huge", "a bit too large", "gif"],
)
async def test_an_image_of_too_many_pixels_is_not_decoded(alice: User, data: bytes) -> None:
    await no_thumbnail(alice, await uploads(alice, data), 413, "M_TOO_LARGE")


async def test_a_small_file_with_many_pixels_is_too_large(world: World, alice: User) -> None:
    bomb = png_that_claims(20_000, 20_000, bytes(60_001 * 200))
    assert len(bomb) < 100_000
    await no_thumbnail(alice, await uploads(alice, bomb), 413, "M_TOO_LARGE")


async def test_the_most_pixels_that_are_allowed_are_decoded(alice: User) -> None:
    image = Image.new("1", (7071, 7071), 1)
    answer = await thumbnail(alice, await uploads(alice, encoded(image)), 96, 96)
    assert answer.image.size == (96, 96)


async def test_a_wide_gamut_is_brought_to_the_usual_one(alice: User) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    sane = await uploads(alice, encoded(picture(), "JPEG", icc_profile=profile))
    broken = await uploads(alice, encoded(picture(), "JPEG", icc_profile=b"nonsense" * 20))
    for media_id in (sane, broken):
        answer = await thumbnail(alice, media_id, 96, 96)
        assert answer.status == 200
        assert "icc_profile" not in Image.open(BytesIO(answer.body)).info
