"""Decodes and scales images that strangers sent, alone in a process of its own.

The server starts this file as a script and knows it by its pipes: a line of JSON in is a job, a line of JSON out with
the bytes behind it is its result. Nothing of the server is imported and none of its secrets are here; memory and
processor time are limited, and a process that does not answer in time is killed. A decoder that crashes takes nothing
with it.

What is made has no metadata: no EXIF, no comments, no colour profile, no text.
"""

import contextlib
import json
import os
import resource
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image, ImageCms

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "AVIF")
"""What is decoded at all, by Pillow's names."""
TYPES = {
    "JPEG": "image/jpeg", "MPO": "image/jpeg", "PNG": "image/png", "GIF": "image/gif", "WEBP": "image/webp",
    "AVIF": "image/avif",
}  # fmt: skip
"""MPO is what Pillow makes of a JPEG with more pictures behind it, as telephones write them."""
AS_IT_IS = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
"""Types that an original may have to be its own thumbnail; the specification allows no others."""

MOST_FRAMES = 300
MOST_ANIMATED_PIXELS = 32_000_000
"""Pixels of all frames of an animated thumbnail; one that would have more stands still."""
DECODING = 1 / 3
"""The part of a job's time that may go into reading the frames; the rest is left for writing them."""
SPARE_MEMORY = 512 * 1024 * 1024
BYTES_A_PIXEL = 16
"""Memory that decoding and scaling may take beyond that."""

ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
"""What brings an image with that EXIF orientation upright."""


class TooManyPixels(Exception):
    """The image is larger than the limit."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be made of which file; a box of 0 by 0 means the original's size."""

    path: str
    width: int
    height: int
    crop: bool
    animated: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """A part of the stored image and the size that it is scaled to, both before it is brought upright."""

    part: tuple[float, float, float, float]
    size: tuple[int, int]


def main() -> None:
    """Do jobs from standard input until it ends. Arguments: most pixels of an image, processor seconds of a job."""
    most_pixels, seconds = int(sys.argv[1]), int(sys.argv[2])
    jobs = sys.stdin.buffer
    # A library that prints must not write into our results.
    with os.fdopen(os.dup(1), "wb") as results:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        _limit(most_pixels)
        for line in jobs:
            _allow_time(seconds)
            answer, data = do(Job(**json.loads(line)), most_pixels, seconds)
            results.write(json.dumps({**answer, "size": len(data)}).encode() + b"\n" + data)
            results.flush()


def _limit(most_pixels: int) -> None:
    os.nice(10)
    Image.init()  # reads the decoders' modules, while files may be opened
    # Pillow warns at its limit and refuses at twice the limit; the exact check is ours.
    Image.MAX_IMAGE_PIXELS = most_pixels
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    for what, most in (
        (resource.RLIMIT_AS, SPARE_MEMORY + BYTES_A_PIXEL * most_pixels),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 32),
        (resource.RLIMIT_CORE, 0),
    ):
        # Not every system knows every limit.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(what, (most, most))


def _allow_time(seconds: int) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + seconds + 1, hard))


def do(job: Job, most_pixels: int, seconds: float) -> tuple[Mapping[str, Any], bytes]:
    """Do one job; return its result and the bytes that go with it."""
    try:
        with Path(job.path).open("rb") as file:
            return _render(file, job, most_pixels, seconds)
    except (TooManyPixels, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return {"outcome": "too_large"}, b""
    except Exception as error:
        # Decoders of hostile files raise whatever they like, and it all means the same.
        return {"outcome": "unreadable", "why": type(error).__name__}, b""


def _render(file: BinaryIO, job: Job, most_pixels: int, seconds: float) -> tuple[Mapping[str, Any], bytes]:
    with Image.open(file, formats=FORMATS) as image:
        if image.width * image.height > most_pixels:
            raise TooManyPixels
        content_type = TYPES[image.format or ""]
        moves = image.format != "MPO" and bool(getattr(image, "is_animated", False))
        orientation = _orientation(image)
        width, height = (image.height, image.width) if orientation >= 5 else (image.width, image.height)
        fits = job.width == 0 or (width <= job.width and height <= job.height)
        if fits and content_type in AS_IT_IS and (job.animated or not moves):
            image.load()  # to see whether it is an image at all
            return {"outcome": "original", "content_type": content_type}, b""

        plan = _plan(width, height, job, turned=orientation >= 5)
        if job.animated and moves:
            made = _animated(image, plan, orientation, time.process_time() + seconds * DECODING)
            if made is not None:
                return {"outcome": "image", "content_type": "image/webp"}, made
            image.seek(0)
        content_type, made = _still(image, plan, orientation)
        return {"outcome": "image", "content_type": content_type}, made


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:
        # Broken metadata does not make a broken image.
        return 1
    return value if value in UPRIGHT else 1


def _plan(width: int, height: int, job: Job, *, turned: bool) -> Plan:
    """Return what to cut out of an upright image of that size, and how large to make it; it is never made larger."""
    part_width, part_height = float(width), float(height)
    box_width, box_height = job.width or width, job.height or height
    if job.crop:
        # Of the form of the box and as large as possible, from the middle.
        part_width = min(part_width, height * box_width / box_height)
        part_height = min(part_height, width * box_height / box_width)
    # No side is smaller than asked, if the image has so many pixels.
    factor = min(1.0, max(box_width / part_width, box_height / part_height))
    size = (max(1, round(part_width * factor)), max(1, round(part_height * factor)))
    left, top = (width - part_width) / 2, (height - part_height) / 2
    part = (left, top, left + part_width, top + part_height)
    if turned:
        # The part is in the middle, so to turn it is to swap its sides.
        return Plan((part[1], part[0], part[3], part[2]), (size[1], size[0]))
    return Plan(part, size)


def _still(image: Image.Image, plan: Plan, orientation: int) -> tuple[str, bytes]:
    """Return the type and bytes of a thumbnail that does not move."""
    original = image.size
    image.draft(image.mode, _whole(original, plan))  # lets JPEG skip what nobody will see
    image.load()
    part = plan.part
    if image.size != original:
        across, down = image.width / original[0], image.height / original[1]
        part = (part[0] * across, part[1] * down, part[2] * across, part[3] * down)
    made = _scaled(image, part, plan.size, orientation)
    out = BytesIO()
    if made.mode == "RGBA":
        made.save(out, "PNG")
        return "image/png", out.getvalue()
    made.save(out, "JPEG", quality=82, progressive=True)
    return "image/jpeg", out.getvalue()


def _whole(original: tuple[int, int], plan: Plan) -> tuple[int, int]:
    """Return how large the whole image should be decoded: twice as large as needed, for a good look."""
    left, top, right, bottom = plan.part
    return (
        max(1, round(2 * plan.size[0] * original[0] / (right - left))),
        max(1, round(2 * plan.size[1] * original[1] / (bottom - top))),
    )


def _animated(image: Image.Image, plan: Plan, orientation: int, deadline: float) -> bytes | None:
    """Return an animated WebP, or None if the image has too many frames for that, or takes too long."""
    most = min(MOST_FRAMES, MOST_ANIMATED_PIXELS // (plan.size[0] * plan.size[1]))
    frames: list[Image.Image] = []
    durations: list[int] = []
    for frame in _frames(image):
        if len(frames) == most or time.process_time() > deadline:
            return None
        frame.load()
        frames.append(_scaled(frame, plan.part, plan.size, orientation))
        durations.append(max(0, min(int(frame.info.get("duration", 100)), 60_000)))
    # A GIF that does not say how often it repeats plays once; in WebP 0 is for ever.
    loop = max(0, min(int(image.info.get("loop", 1)), 65535))
    out = BytesIO()
    frames[0].save(
        out, "WEBP", save_all=True, append_images=frames[1:], duration=durations, loop=loop, quality=75, method=2
    )
    return out.getvalue()


def _frames(image: Image.Image) -> Iterator[Image.Image]:
    number = 0
    while True:
        try:
            image.seek(number)
        except EOFError:
            return
        yield image
        number += 1


def _scaled(
    image: Image.Image, part: tuple[float, float, float, float], size: tuple[int, int], orientation: int
) -> Image.Image:
    """Return a part of a loaded image, scaled and upright, in RGB or RGBA."""
    profile = image.info.get("icc_profile") if image.mode == "RGB" else None
    made = _coloured(image).resize(size, Image.Resampling.LANCZOS, box=part, reducing_gap=3.0)
    if profile:
        # Without its profile a picture of a wide gamut looks pale, so it is converted to the usual one.
        with contextlib.suppress(ImageCms.PyCMSError, OSError, ValueError):
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            ImageCms.profileToProfile(made, source, ImageCms.createProfile("sRGB"), inPlace=True)
    if orientation in UPRIGHT:
        made = made.transpose(UPRIGHT[orientation])
    made.info = {}
    return made


def _coloured(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # 16 bits of grey; a plain conversion would cut off instead of scaling.
        return image.convert("I").point(lambda value: value * (1 / 256)).convert("L").convert("RGB")
    wanted = "RGBA" if image.has_transparency_data else "RGB"
    return image if image.mode == wanted else image.convert(wanted)


if __name__ == "__main__":
    main()
