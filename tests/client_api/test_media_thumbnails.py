"""Images are made small: https://spec.matrix.org/v1.19/client-server-api/#thumbnails.

What is made of which image: tests/services/media/test_worker.py.
"""

import asyncio
import json

import pytest
from PIL import Image

from tests.support.media import (
    MEDIA,
    OLD_MEDIA,
    encoded,
    files_of,
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


async def no_thumbnail(user: User, media_id: str, status: int, errcode: str) -> None:
    """Ask for a thumbnail that there cannot be."""
    path = f"{MEDIA}/thumbnail/{SERVER_NAME}/{media_id}"
    refused(await user.get(path, width=96, height=96), status, errcode)


async def test_a_thumbnail_is_at_least_as_large_as_asked(alice: User) -> None:
    media_id = await uploads(alice, encoded(picture(1600, 1200), "JPEG"), "image/jpeg")
    for asked, method, size in (
        ((320, 240), "scale", (320, 240)),
        ((300, 200), "scale", (320, 240)),
        ((321, 1), "scale", (640, 480)),
        ((32, 32), "crop", (32, 32)),
        ((50, 50), "crop", (96, 96)),
        ((100, 200), "crop", (160, 320)),
    ):
        answer = await thumbnail(alice, media_id, *asked, method=method)
        assert answer.status == 200
        assert answer.image.size == size
        assert answer.headers["Content-Type"] == "image/jpeg"
        assert answer.headers["Content-Disposition"] == 'inline; filename="thumbnail.jpg"'
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in answer.headers["Content-Security-Policy"]


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


async def test_asking_for_more_than_we_make_gets_the_original(alice: User) -> None:
    data = encoded(picture(2000, 1500), "JPEG")
    media_id = await uploads(alice, data, "image/jpeg")
    for method in ("scale", "crop"):
        assert (await thumbnail(alice, media_id, 1900, 100_000, method=method)).body == data


async def test_the_bytes_decide_what_an_image_is(alice: User) -> None:
    media_id = await uploads(alice, encoded(picture(20, 20), "GIF"), "text/html")
    answer = await thumbnail(alice, media_id, 96, 96)
    assert answer.headers["Content-Type"] == "image/gif"
    assert answer.headers["Content-Disposition"] == 'inline; filename="thumbnail.gif"'


async def test_an_animation_moves_only_when_asked(alice: User) -> None:
    moving, fixed = await uploads(alice, film("GIF")), await uploads(alice, encoded(picture(), "JPEG"))
    for query, moves in (({"animated": "true"}, True), ({"animated": "false"}, False), ({}, False)):
        answer = await thumbnail(alice, moving, 96, 96, **query)
        assert getattr(answer.image, "is_animated", False) is moves
        assert answer.headers["Content-Type"] == ("image/webp" if moves else "image/jpeg")
        # What cannot move is made as if it were not asked.
        assert (await thumbnail(alice, fixed, 96, 96, **query)).headers["Content-Type"] == "image/jpeg"


# Made once


async def test_a_thumbnail_is_made_once_and_kept(world: World, alice: User, bob: User) -> None:
    data = encoded(picture())
    one, other = await uploads(alice, data), await uploads(bob, data)

    answers = await asyncio.gather(*(thumbnail(alice, one, 96, 96) for _ in range(5)))
    answers += [await thumbnail(bob, other, 90 - number, 96) for number in range(5)]

    assert len({answer.body for answer in answers}) == 1
    assert world.app.services.media.imager._done == 1


async def test_a_hostile_client_gets_few_thumbnails_made(world: World, alice: User) -> None:
    media_id = await uploads(alice, encoded(picture(100, 100)))
    for width in range(1, 120, 7):
        for method in ("scale", "crop"):
            await thumbnail(alice, media_id, width, 3 * width % 50 + 1, method=method)
    assert len(files_of(world)) < 15


async def test_a_thumbnail_that_was_lost_is_made_again(world: World, alice: User) -> None:
    media_id = await uploads(alice, encoded(picture()))
    first = await thumbnail(alice, media_id, 96, 96)
    for path in files_of(world):
        if path.stat().st_size == len(first.body):
            path.unlink()
    assert (await thumbnail(alice, media_id, 96, 96)).body == first.body


async def test_a_thumbnail_waits_for_the_upload(alice: User) -> None:
    media_id = await reserves(alice)
    waiting = asyncio.create_task(thumbnail(alice, media_id, 96, 96))
    ok(await fills(alice, media_id, encoded(picture())))
    assert (await waiting).status == 200


async def test_old_clients_get_thumbnails_where_they_look_for_them(world: World, alice: User) -> None:
    media_id = await uploads(alice, encoded(picture()))
    path = f"{OLD_MEDIA}/thumbnail/{SERVER_NAME}/{media_id}"
    assert (await got(world, path, alice.token, width=96, height=96)).image.size == (128, 96)


# Bad input

NONSENSE: tuple[dict[str, object], ...] = (
    {"width": "x", "height": 1}, {"width": 0, "height": 1}, {"width": 1, "height": -1}, {"width": 1.5, "height": 1},
    {"width": 1, "height": 1, "method": "stretch"}, {"width": 1, "height": 1, "animated": "maybe"},
    {"width": 10**30, "height": 1}, {"width": 1, "height": 1, "timeout_ms": "soon"},
)  # fmt: skip


async def test_nonsense_is_refused_by_name(world: World, alice: User) -> None:
    media_id = await uploads(alice, encoded(picture()))
    for query in NONSENSE:
        answer = await got(world, f"{MEDIA}/thumbnail/{SERVER_NAME}/{media_id}", alice.token, None, **query)
        error = refused((answer.status, json.loads(answer.body)), 400, "M_INVALID_PARAM")["error"]
        assert any(name in error for name in query)
    answer = await got(world, f"{MEDIA}/thumbnail/{SERVER_NAME}/{media_id}", alice.token, width=1)
    assert "height" in refused((answer.status, json.loads(answer.body)), 400, "M_MISSING_PARAM")["error"]


async def test_of_what_is_no_image_there_is_no_thumbnail(alice: User) -> None:
    for data in (b"", b"%PDF-1.7", b"<svg onload='alert(1)'/>", encoded(picture(1000, 1000), "JPEG")[:3000]):
        media_id = await uploads(alice, data, "image/svg+xml")
        await no_thumbnail(alice, media_id, 400, "M_UNKNOWN")
        # And once more, from memory.
        await no_thumbnail(alice, media_id, 400, "M_UNKNOWN")


async def test_an_image_of_too_many_pixels_is_not_decoded(alice: User) -> None:
    for data in (png_that_claims(7072, 7072), png_that_claims(20_000, 20_000, bytes(60_001 * 200))):
        media_id = await uploads(alice, data)
        await no_thumbnail(alice, media_id, 413, "M_TOO_LARGE")
        await no_thumbnail(alice, media_id, 413, "M_TOO_LARGE")


async def test_the_most_pixels_that_are_allowed_are_decoded(alice: User) -> None:
    answer = await thumbnail(alice, await uploads(alice, encoded(Image.new("1", (7071, 7071), 1))), 96, 96)
    assert answer.image.size == (96, 96)


async def test_a_hostile_file_does_not_spoil_the_next(alice: User) -> None:
    broken = await uploads(alice, encoded(picture(), "JPEG")[:2000])
    whole = await uploads(alice, encoded(picture()))
    for side in (32, 96):
        await no_thumbnail(alice, broken, 400, "M_UNKNOWN")
        assert (await thumbnail(alice, whole, side, side)).status == 200


async def test_what_could_not_be_read_is_tried_again_some_time(
    world: World, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    media_id = await uploads(alice, b"no image")
    imager, clock = world.app.services.media.imager, world.app.services.clock
    await no_thumbnail(alice, media_id, 400, "M_UNKNOWN")
    await no_thumbnail(alice, media_id, 400, "M_UNKNOWN")
    assert imager._done == 1
    later = clock.monotonic() + 601
    monkeypatch.setattr(type(clock), "monotonic", lambda self: later)
    await no_thumbnail(alice, media_id, 400, "M_UNKNOWN")
    assert imager._done == 2
