"""What is made of which image: the worker's jobs, done in this process."""

from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageCms, PngImagePlugin

from homeserver.services.media.worker import Job, do
from tests.support.media import encoded, film, picture, png_that_claims

MOST_PIXELS = 50_000_000


class Worker:
    """Makes thumbnails of bytes."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "image"

    def outcome(
        self, data: bytes, width: int, height: int, *, crop: bool = False, animated: bool = False, seconds: float = 99
    ) -> Any:
        """Return the whole result of a job."""
        self._path.write_bytes(data)
        answer, made = do(Job(str(self._path), width, height, crop, animated), MOST_PIXELS, seconds)
        return {**answer, "data": made}

    def image(self, data: bytes, width: int, height: int, **options: Any) -> Image.Image:
        """Return the image that a job makes."""
        outcome = self.outcome(data, width, height, **options)
        assert outcome["outcome"] == "image", outcome
        image = Image.open(BytesIO(outcome["data"]))
        image.load()
        return image


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    """One that works here."""
    return Worker(tmp_path)


def is_red(pixel: object) -> bool:
    """Whether a pixel is of the red quarter of our picture."""
    assert isinstance(pixel, tuple)
    return bool(pixel[0] > 200 and pixel[2] < 60)


# stored, box, cropped?, made
@pytest.mark.parametrize(
    ("stored", "box", "crop", "made"),
    [
        ((1600, 1200), (320, 240), False, (320, 240)),
        ((1600, 1200), (640, 480), False, (640, 480)),
        ((1600, 1200), (32, 32), True, (32, 32)),
        ((1600, 1200), (640, 360), True, (640, 360)),
        ((1600, 1200), (160, 320), True, (160, 320)),
        # No side is smaller than asked.
        ((3000, 500), (320, 240), False, (1440, 240)),
        ((500, 3000), (320, 240), False, (320, 1920)),
        # Never larger than the original: what there is, in the form that was asked.
        ((1000, 50), (96, 96), True, (50, 50)),
        ((1000, 50), (320, 240), False, (1000, 50)),
        ((3000, 2), (32, 32), True, (2, 2)),
    ],
)
def test_a_thumbnail_is_as_large_as_asked(
    worker: Worker, stored: tuple[int, int], box: tuple[int, int], crop: bool, made: tuple[int, int]
) -> None:
    for kind in ("JPEG", "PNG"):
        image = worker.image(encoded(picture(*stored), kind), *box, crop=crop)
        assert image.size == made
        if min(made) > 10:
            assert is_red(image.getpixel((3, 3)))
            assert not is_red(image.getpixel((made[0] - 3, made[1] - 3)))


@pytest.mark.parametrize(
    ("kind", "mode", "made"),
    [
        ("PNG", "RGBA", "PNG"),
        ("PNG", "LA", "PNG"),
        ("PNG", "L", "JPEG"),
        ("PNG", "1", "JPEG"),
        ("PNG", "P", "JPEG"),
        ("PNG", "I;16", "JPEG"),
        ("JPEG", "CMYK", "JPEG"),
        ("JPEG", "L", "JPEG"),
        ("GIF", "P", "JPEG"),
        ("WEBP", "RGB", "JPEG"),
        ("AVIF", "RGB", "JPEG"),
    ],
)
def test_every_usual_kind_of_image_is_made_small(worker: Worker, kind: str, mode: str, made: str) -> None:
    image = worker.image(encoded(picture(640, 480, mode), kind), 32, 32, crop=True)
    assert (image.format, image.size) == (made, (32, 32))


def test_a_photograph_with_a_second_picture_behind_it_is_one_image(worker: Worker) -> None:
    second = picture(64, 64)
    data = encoded(picture(), "MPO", save_all=True, append_images=[second])
    assert worker.image(data, 96, 96, animated=True).format == "JPEG"
    assert worker.outcome(data, 640, 480, animated=False)["outcome"] == "original"


def test_grey_of_16_bits_keeps_its_shades(worker: Worker) -> None:
    pixel = worker.image(encoded(Image.new("I;16", (400, 400), 0x4000)), 96, 96).getpixel((5, 5))
    assert isinstance(pixel, tuple)
    assert all(abs(value - 0x40) < 3 for value in pixel)


def test_what_is_transparent_stays_so(worker: Worker) -> None:
    pixel = worker.image(encoded(Image.new("RGBA", (400, 400), (255, 0, 0, 0))), 96, 96).getpixel((5, 5))
    assert isinstance(pixel, tuple)
    assert pixel[3] == 0


TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}  # fmt: skip


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_stands_upright(worker: Worker, orientation: int) -> None:
    upright = picture(400, 800)
    stored = upright.transpose(TURNS[orientation]) if orientation in TURNS else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(stored, "JPEG", exif=exif)

    scaled, cropped = worker.image(data, 96, 96), worker.image(data, 160, 320, crop=True)

    assert scaled.size == (96, 192)
    assert cropped.size == (160, 320)
    for image in (scaled, cropped):
        assert is_red(image.getpixel((5, 5)))
        assert not is_red(image.getpixel((image.width - 5, 5)))
        assert not is_red(image.getpixel((5, image.height - 5)))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_thumbnail_tells_nothing_of_where_it_was_taken(worker: Worker, kind: str) -> None:
    exif = Image.Exif()
    exif[0x010F] = "SECRET camera"
    exif.get_ifd(0x8825)[1] = "N"
    options: dict[str, Any] = {"exif": exif, "icc_profile": profile()}
    if kind == "PNG":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_text("Author", "SECRET name")
    if kind == "JPEG":
        options["comment"] = b"SECRET comment"
    data = encoded(picture(400, 400, "RGB" if kind == "JPEG" else "RGBA"), kind, **options)
    assert b"SECRET" in data

    outcome = worker.outcome(data, 96, 96)

    assert b"SECRET" not in outcome["data"]
    image = Image.open(BytesIO(outcome["data"]))
    assert not image.getexif()
    assert "icc_profile" not in image.info


def profile() -> bytes:
    """Return a colour profile."""
    made: bytes = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()  # type: ignore[no-untyped-call]
    return made


@pytest.mark.parametrize("broken", [b"nonsense" * 20, profile()[:200], b""])
def test_a_broken_profile_does_not_break_the_image(worker: Worker, broken: bytes) -> None:
    assert worker.image(encoded(picture(), "JPEG", icc_profile=broken), 96, 96).size == (128, 96)


# The original as its own thumbnail


def test_an_image_that_is_small_already_is_left_as_it_is(worker: Worker) -> None:
    for kind, content_type in (
        ("PNG", "image/png"),
        ("JPEG", "image/jpeg"),
        ("GIF", "image/gif"),
        ("WEBP", "image/webp"),
    ):
        outcome = worker.outcome(encoded(picture(60, 50), kind), 96, 96)
        assert outcome == {"outcome": "original", "content_type": content_type, "data": b""}
    assert worker.outcome(encoded(picture(2000, 1500)), 0, 0)["outcome"] == "original"


def test_a_small_image_of_another_kind_is_made_anew(worker: Worker) -> None:
    assert worker.image(encoded(picture(60, 50), "AVIF"), 96, 96).size == (60, 50)
    assert worker.image(encoded(picture(60, 50), "AVIF"), 0, 0).size == (60, 50)


# Animations


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_an_animation_moves_only_when_asked(worker: Worker, kind: str) -> None:
    moving, still = worker.image(film(kind), 96, 96, animated=True), worker.image(film(kind), 96, 96)
    assert moving.format == "WEBP"
    assert (moving.n_frames, moving.info["duration"], moving.info["loop"]) == (3, 120, 0)
    assert moving.size == still.size == (128, 96)
    assert not getattr(still, "is_animated", False)


def test_a_small_animation_is_left_as_it_is_or_stands_still(worker: Worker) -> None:
    data = film("GIF", 30, 20)
    assert worker.outcome(data, 96, 96, animated=True)["outcome"] == "original"
    still = worker.image(data, 96, 96)
    assert (still.format, still.size) == ("JPEG", (30, 20))


def test_an_animation_that_is_too_much_stands_still(worker: Worker) -> None:
    assert worker.image(film("GIF", 100, 100, frames=320), 32, 32, animated=True).format == "JPEG"
    assert worker.image(film("GIF"), 96, 96, animated=True, seconds=0).format == "JPEG"


# Bad input


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
        png_that_claims(0, 0),
    ],
    ids=lambda data: repr(data[:12]),
)
def test_what_is_no_whole_image_is_unreadable(worker: Worker, data: bytes) -> None:
    for animated in (False, True):
        assert worker.outcome(data, 96, 96, animated=animated)["outcome"] == "unreadable"


@pytest.mark.parametrize(
    "data",
    [
        png_that_claims(2**31 - 1, 2**31 - 1),
        png_that_claims(100_000, 100_000),
        png_that_claims(7072, 7072),
        png_that_claims(20_000, 20_000, bytes(60_001 * 200)),
        b"GIF89a\xff\xff\xff\xff\x00\x00\x00" + b"\x2c\x00\x00\x00\x00\xff\xff\xff\xff\x00\x02\x02\x4c\x01\x00\x3b",
    ],
    ids=["int-max", "huge", "a bit too large", "bomb", "gif"],
)
def test_an_image_of_too_many_pixels_is_not_decoded(worker: Worker, data: bytes) -> None:
    assert len(data) < 100_000
    assert worker.outcome(data, 96, 96)["outcome"] == "too_large"
