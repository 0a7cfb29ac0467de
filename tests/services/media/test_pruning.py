"""What nobody can reach any more goes away, and nothing else does."""

import os
from functools import partial
from pathlib import Path

import pytest

from homeserver.storage.database import Write
from homeserver.storage.schema.media import media
from tests.support.media import downloads, encoded, files_of, fills, picture, reserves, thumbnail, uploads
from tests.support.world import User, World, ok

DAY = 86_400


def age(world: World, seconds: float) -> None:
    """Make every file look as old as that."""
    then = world.app.services.clock.now_ms() / 1000 - seconds
    for path in files_of(world):
        os.utime(path, (then, then))


def delete(media_id: str, tx: Write) -> None:
    """Delete a content URI, as an operator does."""
    tx.conn.execute(media.delete().where(media.c.media_id == media_id))


async def test_files_of_users_stay_for_ever(world: World, alice: User) -> None:
    media_id = await uploads(alice, encoded(picture()))
    await thumbnail(alice, media_id, 96, 96)
    age(world, 1000 * DAY)
    await world.app.services.media.pruner.tidy()
    assert len(files_of(world)) == 2
    assert (await downloads(alice, media_id)).status == 200


async def test_a_file_without_a_row_goes_after_a_day(world: World) -> None:
    files = world.app.services.media
    sha256 = files.store.put(b"stored just before the crash")
    age(world, DAY - 60)
    await files.pruner.tidy()
    assert len(files_of(world)) == 1
    age(world, DAY + 60)
    await files.pruner.tidy()
    assert files_of(world) == []
    assert files.store.size(sha256) is None


async def test_an_old_file_that_is_uploaded_again_is_young_again(world: World, alice: User) -> None:
    store = world.app.services.media.store
    before = world.app.services.clock.now_ms() / 1000 - DAY
    sha256 = store.put(b"content")
    age(world, 2 * DAY)
    store.put(b"content")
    assert not store.remove(sha256, before)
    assert store.size(sha256) == 7


async def test_a_file_that_a_crash_cut_short_is_mended_by_the_next_upload(world: World) -> None:
    store = world.app.services.media.store
    sha256 = store.put(b"content")
    store.path(sha256).write_bytes(b"con")
    assert store.put(b"content") == sha256
    assert store.path(sha256).read_bytes() == b"content"


async def test_what_was_on_its_way_when_the_server_died_is_removed_at_the_start(
    database_url: str, tmp_path: Path
) -> None:
    incoming = tmp_path / "media" / "incoming"
    incoming.mkdir(parents=True)
    left = incoming / "tmpabc"
    left.write_bytes(b"half")
    os.utime(left, (1, 1))
    fresh = incoming / "tmpdef"
    fresh.write_bytes(b"another process is writing this")
    async with World.start(database_url, tmp_path) as world:
        await world.app.services.media.pruner.tidy()
        assert not left.exists()
        assert fresh.exists()


async def test_content_uris_that_were_never_filled_go_a_day_after_they_expired(
    world: World, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = world.app.services
    unfilled, filled = await reserves(alice), await reserves(alice)
    ok(await fills(alice, filled, b"x"))
    now = services.clock.now_ms()
    count = "SELECT count(*) FROM media"
    for days, left in ((1, 2), (3, 1)):
        monkeypatch.setattr(type(services.clock), "now_ms", lambda self, days=days: now + days * DAY * 1000)
        await services.media.pruner.tidy()
        assert await services.db.read(lambda conn: conn.exec_driver_sql(count).scalar_one()) == left
    monkeypatch.undo()
    assert (await downloads(alice, filled)).body == b"x"
    assert (await downloads(alice, unfilled)).status == 404


async def test_thumbnails_go_with_the_last_file_of_that_content(world: World, alice: User) -> None:
    services = world.app.services
    data = encoded(picture())
    one, other = await uploads(alice, data), await uploads(alice, data)
    await thumbnail(alice, one, 96, 96)
    for media_id, left in ((one, 2), (other, 0)):
        await services.db.write(partial(delete, media_id))
        age(world, 2 * DAY)
        await services.media.pruner.tidy()
        assert len(files_of(world)) == left
