"""Files are taken in and given out: https://spec.matrix.org/v1.19/client-server-api/#content-repository."""

import asyncio
import gzip
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from homeserver.model.media import MediaID
from homeserver.services.media import uploads as limits
from tests.support.media import (
    MEDIA,
    OLD_MEDIA,
    downloads,
    files_of,
    fills,
    got,
    media_id_of,
    reserves,
    uploads,
)
from tests.support.waiting import until
from tests.support.world import SERVER_NAME, User, World, ok, refused

# Uploading and downloading


async def test_what_is_uploaded_comes_back(alice: User, bob: User) -> None:
    data = os.urandom(1_000_000)
    media_id = await uploads(alice, data, "application/pdf", filename="War and Peace.pdf")

    answer = await downloads(bob, media_id)

    assert answer.status == 200
    assert answer.body == data
    assert answer.headers["Content-Type"] == "application/pdf"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="War and Peace.pdf"'
    assert answer.headers["Content-Length"] == "1000000"


async def test_an_empty_file_is_a_file(alice: User) -> None:
    answer = await downloads(alice, await uploads(alice, b"", "text/plain"))
    assert (answer.status, answer.body) == (200, b"")


async def test_a_file_without_a_type_is_mere_bytes(alice: User) -> None:
    media_id = await uploads(alice, b"?", None)
    assert (await downloads(alice, media_id)).headers["Content-Type"] == "application/octet-stream"


async def test_the_downloader_may_choose_the_name(alice: User) -> None:
    media_id = await uploads(alice, b"x", "text/plain", filename="one.txt")

    chosen = await downloads(alice, media_id, "two.txt")
    empty = await downloads(alice, media_id, "")

    assert chosen.headers["Content-Disposition"] == 'inline; filename="two.txt"'
    assert empty.headers["Content-Disposition"] == 'inline; filename="one.txt"'


async def test_equal_content_is_stored_once(world: World, alice: User, bob: User) -> None:
    one = await uploads(alice, b"the same", "text/plain")
    other = await uploads(bob, b"the same", "text/css")

    assert one != other
    name = hashlib.sha256(b"the same").hexdigest()
    assert [path.relative_to(world.app.config.media.path).as_posix() for path in files_of(world)] == [
        f"{name[:2]}/{name[2:4]}/{name}"
    ]
    assert (await downloads(alice, one)).headers["Content-Type"] == "text/plain"
    assert (await downloads(alice, other)).headers["Content-Type"] == "text/css"


async def test_an_upload_that_comes_compressed_is_stored_as_it_was(world: World, alice: User) -> None:
    packed = gzip.compress(b"text " * 1000)
    answer = await world.request(
        "POST", f"{OLD_MEDIA}/upload", raw=packed, token=alice.token,
        headers={"Content-Encoding": "gzip", "Content-Type": "text/plain"},
    )  # fmt: skip
    assert (await downloads(alice, media_id_of(ok(answer)["content_uri"]))).body == b"text " * 1000


async def test_clients_are_told_how_large_files_may_be(world: World, alice: User) -> None:
    expected = {"m.upload.size": world.app.config.media.max_upload_bytes}
    assert ok(await alice.get(f"{MEDIA}/config")) == expected
    assert ok(await alice.get(f"{OLD_MEDIA}/config")) == expected
    refused(await world.request("GET", f"{OLD_MEDIA}/config"), 401, "M_MISSING_TOKEN")


async def test_uploading_wants_a_token(world: World) -> None:
    refused(await world.request("POST", f"{OLD_MEDIA}/upload", raw=b"x"), 401, "M_MISSING_TOKEN")
    refused(await world.request("POST", "/_matrix/media/v1/create"), 401, "M_MISSING_TOKEN")
    refused(await world.request("PUT", f"{OLD_MEDIA}/upload/hs1/abc", raw=b"x"), 401, "M_MISSING_TOKEN")


async def test_downloading_wants_a_token(world: World, alice: User) -> None:
    media_id = await uploads(alice, b"secret", "text/plain")
    refused(await world.request("GET", f"{MEDIA}/download/{SERVER_NAME}/{media_id}"), 401, "M_MISSING_TOKEN")


async def test_the_old_endpoints_give_nothing_without_a_token(world: World, alice: User) -> None:
    media_id = await uploads(alice, b"secret", "text/plain")
    for path in ("download/{}", "download/{}/name.txt", "thumbnail/{}?width=32&height=32"):
        path = f"{OLD_MEDIA}/{path.format(f'{SERVER_NAME}/{media_id}')}"
        refused(await world.request("GET", path), 404, "M_NOT_FOUND")


async def test_the_old_endpoints_still_serve_old_clients_that_say_who_they_are(world: World, alice: User) -> None:
    media_id = await uploads(alice, b"hello", "text/plain")
    for version in ("r0", "v1", "v3"):
        path = f"/_matrix/media/{version}/download/{SERVER_NAME}/{media_id}"
        assert (await got(world, path, alice.token)).body == b"hello"
        assert (await got(world, path + "/a.txt", alice.token)).body == b"hello"
        assert (await got(world, path, None, access_token=alice.token)).body == b"hello"


# What is not there


async def test_unknown_media_is_not_found(alice: User) -> None:
    refused(await alice.get(f"{MEDIA}/download/{SERVER_NAME}/nothing"), 404, "M_NOT_FOUND")


async def test_media_are_not_to_be_had_from_a_server_that_is_not_there(alice: User) -> None:
    media_id = await uploads(alice, b"x")
    for path in (
        f"download/elsewhere.invalid/{media_id}",
        f"thumbnail/elsewhere.invalid/{media_id}?width=32&height=32",
    ):
        refused(await alice.get(f"{MEDIA}/{path}"), 502, "M_UNKNOWN")


async def test_whoever_says_so_gets_no_file_of_another_server(alice: User) -> None:
    for path in (
        "download/elsewhere.invalid/x?allow_remote=false",
        "thumbnail/elsewhere.invalid/x?width=9&height=9&allow_remote=false",
    ):
        refused(await alice.get(f"/_matrix/media/v3/{path}"), 404, "M_NOT_FOUND")


PATHS = (
    "127.0.0.1/..%2F..%2Fetc%2Fpasswd", "hs1/..%2F..%2Fsigning.key", "hs1/%2e%2e", "hs1/a%00b", "hs1/a.b", "hs1/%C3%A9",
    "hs1/" + "a" * 300, "-not..a_name-/abc", "..%2F..%2Fetc/abc", "hs1%0d%0a/abc",
)  # fmt: skip


async def test_no_path_leads_out_of_the_store(alice: User) -> None:
    for path in PATHS:
        refused(await alice.get(f"{MEDIA}/download/{path}"), 400, "M_INVALID_PARAM")


async def test_previews_are_not_known(alice: User) -> None:
    refused(await alice.get(f"{MEDIA}/preview_url", url="https://example.org"), 404, "M_UNRECOGNIZED")


async def test_a_file_that_was_lost_is_not_found(world: World, alice: User) -> None:
    media_id = await uploads(alice, b"soon gone", "text/plain")
    files_of(world)[0].unlink()
    refused(await alice.get(f"{MEDIA}/download/{SERVER_NAME}/{media_id}"), 404, "M_NOT_FOUND")
    # Sent again it is there again, under both.
    await uploads(alice, b"soon gone", "text/plain")
    assert (await downloads(alice, media_id)).body == b"soon gone"


# Limits


async def test_files_are_limited_in_size(database_url: str, tmp_path: Path) -> None:
    async def piecemeal(size: int) -> AsyncIterator[bytes]:
        for _ in range(size):
            yield b"x"

    async with World.start(database_url, tmp_path, MEDIA__MAX_UPLOAD_BYTES="1000") as world:
        alice = await world.user("alice")
        await uploads(alice, b"x" * 1000)
        answer = await world.request("POST", f"{OLD_MEDIA}/upload", raw=b"x" * 1001, token=alice.token)
        refused(answer, 413, "M_TOO_LARGE")
        for size, status in ((1000, 200), (1001, 413)):
            async with world.http.post(
                f"{world.base}{OLD_MEDIA}/upload",
                data=piecemeal(size),
                headers={"Authorization": f"Bearer {alice.token}"},
            ) as response:
                assert response.status == status
                assert status == 200 or (await response.json())["errcode"] == "M_TOO_LARGE"
        bomb = gzip.compress(b"0" * 10_000_000)
        answer = await world.request(
            "POST", f"{OLD_MEDIA}/upload", raw=bomb[:900], token=alice.token, headers={"Content-Encoding": "gzip"}
        )
        refused(answer, 413, "M_TOO_LARGE")
        await until(lambda: len(files_of(world)) == 1)


async def test_an_upload_that_stops_half_way_leaves_nothing(world: World, alice: User) -> None:
    host, _, port = world.base.removeprefix("http://").partition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"POST {OLD_MEDIA}/upload HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {alice.token}\r\n"
        f"Content-Length: 1000000\r\n\r\n".encode()
        + b"x" * 400_000
    )
    await writer.drain()
    await until(lambda: any(path.stat().st_size for path in files_of(world)))
    writer.close()
    await writer.wait_closed()
    await until(lambda: not files_of(world))


async def test_a_body_that_is_no_http_is_refused(world: World, alice: User) -> None:
    host, _, port = world.base.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"POST {OLD_MEDIA}/upload HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {alice.token}\r\n"
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nnot a length\r\n".encode()
    )
    await writer.drain()
    answer = await reader.readline()
    assert b" 400 " in answer
    writer.close()
    await writer.wait_closed()
    assert not any(path.stat().st_size for path in files_of(world))


async def test_an_upload_that_falls_silent_is_given_up(
    world: World, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SILENT_SECONDS", 0.05)
    never = asyncio.Event()

    async def stopping() -> AsyncIterator[bytes]:
        yield b"one piece"
        await never.wait()

    async with world.http.post(
        f"{world.base}{OLD_MEDIA}/upload", data=stopping(), headers={"Authorization": f"Bearer {alice.token}"}
    ) as response:
        assert response.status == 408
    never.set()
    await until(lambda: not files_of(world))


async def test_an_upload_that_trickles_is_given_up(world: World, alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FREE_SECONDS", 0.0)
    monkeypatch.setattr(limits, "SLOWEST_BYTES_A_SECOND", 1e12)
    refused(await world.request("POST", f"{OLD_MEDIA}/upload", raw=b"x" * 1000, token=alice.token), 408, "M_UNKNOWN")


async def test_a_user_uploads_only_so_many_files_at_once(
    world: World, alice: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MOST_AT_ONCE", 1)
    go_on = asyncio.Event()

    async def waiting() -> AsyncIterator[bytes]:
        yield b"one piece"
        await go_on.wait()

    async def slow() -> int:
        headers = {"Authorization": f"Bearer {alice.token}"}
        async with world.http.post(f"{world.base}{OLD_MEDIA}/upload", data=waiting(), headers=headers) as response:
            return response.status

    first = asyncio.create_task(slow())
    await until(lambda: files_of(world))

    refused(await world.request("POST", f"{OLD_MEDIA}/upload", raw=b"x", token=alice.token), 429, "M_LIMIT_EXCEEDED")
    await uploads(bob, b"x")
    go_on.set()
    assert await first == 200
    await uploads(alice, b"x")


# Asynchronous uploads


async def test_a_content_uri_is_made_first_and_filled_later(world: World, alice: User, bob: User) -> None:
    answer = ok(await alice.post("/_matrix/media/v1/create"))
    lifetime = answer["unused_expires_at"] - world.app.services.clock.now_ms()
    assert 86_300_000 < lifetime <= 86_400_000
    media_id = media_id_of(answer["content_uri"])

    assert ok(await fills(alice, media_id, b"later")) == {}
    assert (await downloads(bob, media_id)).body == b"later"


async def test_a_content_uri_is_filled_once(alice: User) -> None:
    media_id = await reserves(alice)
    ok(await fills(alice, media_id, b"first"))
    refused(await fills(alice, media_id, b"second"), 409, "M_CANNOT_OVERWRITE_MEDIA")
    refused(await fills(alice, await uploads(alice, b"x"), b"second"), 409, "M_CANNOT_OVERWRITE_MEDIA")
    assert (await downloads(alice, media_id)).body == b"first"


async def test_of_two_uploads_into_one_content_uri_one_wins(alice: User) -> None:
    media_id = await reserves(alice)
    answers = await asyncio.gather(fills(alice, media_id, b"a" * 500_000), fills(alice, media_id, b"b" * 500_000))
    assert sorted(status for status, _ in answers) == [200, 409]
    winner = b"a" if answers[0][0] == 200 else b"b"
    assert (await downloads(alice, media_id)).body == winner * 500_000


async def test_only_who_made_a_content_uri_fills_it(alice: User, bob: User) -> None:
    media_id = await reserves(alice)
    refused(await fills(bob, media_id, b"mine"), 403, "M_FORBIDDEN")
    refused(await fills(bob, await uploads(alice, b"x"), b"mine"), 403, "M_FORBIDDEN")


async def test_only_made_content_uris_are_filled(alice: User) -> None:
    media_id = await reserves(alice)
    refused(await fills(alice, "madeup", b"x"), 404, "M_NOT_FOUND")
    refused(await fills(alice, media_id, b"x", "elsewhere.org"), 404, "M_NOT_FOUND")
    refused(await fills(alice, "..%2Fx", b"x"), 400, "M_INVALID_PARAM")


async def test_a_download_waits_for_the_upload_and_wakes_at_once(world: World, alice: User, bob: User) -> None:
    media_id = await reserves(alice)
    waiting = [asyncio.create_task(downloads(bob, media_id)) for _ in range(3)]
    downloading = world.app.services.media.downloads
    await until(lambda: len(downloading._waiting.get(MediaID(media_id), ())) == 3)

    ok(await fills(alice, media_id, b"at last"))

    async with asyncio.timeout(2):
        assert [(await each).body for each in waiting] == [b"at last"] * 3
    assert downloading._waiting == {}


async def test_a_download_of_what_is_not_uploaded_in_time_fails(world: World, alice: User) -> None:
    media_id = await reserves(alice)
    for path, query in (("download", {}), ("thumbnail", {"width": 32, "height": 32})):
        for timeout in (0, 20, -5):
            answer = await alice.get(f"{MEDIA}/{path}/{SERVER_NAME}/{media_id}", timeout_ms=timeout, **query)
            refused(answer, 504, "M_NOT_YET_UPLOADED")
    assert world.app.services.media.downloads._waiting == {}


async def test_a_download_that_is_given_up_stops_waiting(world: World, alice: User) -> None:
    media_id = await reserves(alice)
    waiting = asyncio.create_task(downloads(alice, media_id))
    downloading = world.app.services.media.downloads
    await until(lambda: media_id in downloading._waiting)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await until(lambda: not downloading._waiting)


async def test_a_content_uri_that_is_never_filled_expires(
    world: World, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    media_id = await reserves(alice)
    clock = world.app.services.clock
    later = clock.now_ms() + 86_400_001
    monkeypatch.setattr(type(clock), "now_ms", lambda self: later)
    refused(await fills(alice, media_id, b"too late"), 404, "M_NOT_FOUND")
    refused(await alice.get(f"{MEDIA}/download/{SERVER_NAME}/{media_id}", timeout_ms=0), 404, "M_NOT_FOUND")


async def test_a_user_has_only_so_many_content_uris_to_fill(
    world: World, alice: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MOST_PENDING", 2)
    one, _ = await reserves(alice), await reserves(alice)
    error = refused(await alice.post("/_matrix/media/v1/create"), 429, "M_LIMIT_EXCEEDED")
    assert error["retry_after_ms"] > 0
    await reserves(bob)
    ok(await fills(alice, one, b"x"))
    await reserves(alice)
    refused(await alice.post("/_matrix/media/v1/create"), 429, "M_LIMIT_EXCEEDED")


async def test_files_outlive_the_server(database_url: str, tmp_path: Path) -> None:
    async with World.start(database_url, tmp_path) as world:
        alice = await world.user("alice")
        media_id = await uploads(alice, b"durable", "text/plain")
    async with World.start(database_url, tmp_path) as world:
        assert (await downloads(User(world, alice.user_id, alice.token, alice.device_id), media_id)).body == b"durable"
