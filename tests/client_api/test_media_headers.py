"""Strangers' files do no harm in a browser, and are fetched in parts and once."""

import re
from urllib.parse import quote

import aiohttp
import pytest

from tests.support.media import MEDIA, OLD_MEDIA, downloads, got, uploads
from tests.support.world import SERVER_NAME, User, World, refused


@pytest.mark.parametrize(
    ("content_type", "disposition"),
    [
        ("image/png", "inline"),
        ("IMAGE/PNG", "inline"),
        ("text/plain; charset=utf-8", "inline"),
        ("audio/ogg;codecs=opus", "inline"),
        ("video/mp4", "inline"),
        ("text/html", "attachment"),
        ("text/html; image/png", "attachment"),
        ("image/svg+xml", "attachment"),
        ("application/xhtml+xml", "attachment"),
        ("application/pdf", "attachment"),
        ("application/octet-stream", "attachment"),
    ],
)
async def test_a_browser_shows_only_what_is_harmless(alice: User, content_type: str, disposition: str) -> None:
    media_id = await uploads(alice, b"<svg onload=alert(1)>", content_type)
    assert (await downloads(alice, media_id)).headers["Content-Disposition"] == disposition


@pytest.mark.parametrize("content_type", ["text/html", "image/svg+xml", "image/png"])
async def test_whatever_a_file_claims_to_be_a_browser_gets_no_script_from_it(alice: User, content_type: str) -> None:
    media_id = await uploads(alice, b"<html><script>alert(1)</script>", content_type)
    headers = (await downloads(alice, media_id)).headers
    assert headers["Content-Type"] == content_type
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"] == (
        "sandbox; default-src 'none'; script-src 'none'; plugin-types application/pdf; style-src 'unsafe-inline'; "
        "object-src 'self';"
    )
    assert headers["Cross-Origin-Resource-Policy"] == "cross-origin"


@pytest.mark.parametrize(
    "content_type", ["text/javascript", "Application/JavaScript; charset=utf-8", "application/wasm"]
)
async def test_no_page_can_load_a_file_as_its_script(alice: User, content_type: str) -> None:
    headers = (await downloads(alice, await uploads(alice, b"alert(1)", content_type))).headers
    assert headers["Content-Type"] == "application/octet-stream"
    assert headers["Content-Disposition"] == "attachment"


@pytest.mark.parametrize(
    "content_type", ["nonsense", "text/", "/plain", "text/plain, text/html", "a b/c", "x/" + "y" * 300]
)
async def test_a_malformed_type_is_that_of_mere_bytes(alice: User, content_type: str) -> None:
    headers = (await downloads(alice, await uploads(alice, b"x", content_type))).headers
    assert headers["Content-Type"] == "application/octet-stream"


async def test_scripts_of_other_sites_may_fetch_files(world: World, alice: User) -> None:
    media_id = await uploads(alice, b"x")
    assert (await downloads(alice, media_id)).headers["Access-Control-Allow-Origin"] == "*"
    async with world.http.options(f"{world.base}{OLD_MEDIA}/upload") as response:
        assert response.status == 200
        assert response.headers["Access-Control-Allow-Origin"] == "*"


# Names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("plain.txt", 'inline; filename="plain.txt"'),
        ("with space.txt", 'inline; filename="with space.txt"'),
        ("semi;colon=.txt", 'inline; filename="semi;colon=.txt"'),
        ('quo"te.txt', 'inline; filename="quo\\"te.txt"'),
        ("ünï☕.txt", "inline; filename*=UTF-8''%C3%BCn%C3%AF%E2%98%95.txt"),
        ("../../etc/passwd", 'inline; filename=".._.._etc_passwd"'),
        ("..\\..\\boot.ini", 'inline; filename=".._.._boot.ini"'),
        ("a\r\nSet-Cookie: x=y", 'inline; filename="aSet-Cookie: x=y"'),
        ("nul\0l.txt", 'inline; filename="null.txt"'),
        ("ü\r\nX: y", "inline; filename*=UTF-8''%C3%BCX%3A%20y"),
        ("..", "inline"),
        ("\r\n", "inline"),
        ("", "inline"),
    ],
)
async def test_a_name_is_a_name_and_nothing_else(alice: User, name: str, expected: str) -> None:
    uploaded = await downloads(alice, await uploads(alice, b"x", "text/plain", filename=name))
    assert uploaded.headers["Content-Disposition"] == expected
    assert "Set-Cookie" not in uploaded.headers

    asked = await downloads(alice, await uploads(alice, b"x", "text/plain"), quote(name, safe=""))
    assert asked.headers["Content-Disposition"] == expected


@pytest.mark.parametrize("name", ["War and Peace.txt", "semi;colon.txt", 'quo"te.txt', "ünï☕.txt", "100%.txt"])
async def test_clients_read_back_the_name_that_was_sent(alice: User, name: str) -> None:
    answer = await downloads(alice, await uploads(alice, b"x", "text/plain", filename=name))
    _, parameters = aiohttp.multipart.parse_content_disposition(answer.headers["Content-Disposition"])
    assert aiohttp.multipart.content_disposition_filename(parameters) == name


async def test_a_name_has_an_end(world: World, alice: User) -> None:
    answer = await world.request("POST", f"{OLD_MEDIA}/upload", raw=b"x", token=alice.token, filename="n" * 513)
    assert "filename" in refused(answer, 400, "M_INVALID_PARAM")["error"]
    longest = "☕" * 512
    media_id = await uploads(alice, b"x", "text/plain", filename=longest)
    assert quote(longest) in (await downloads(alice, media_id)).headers["Content-Disposition"]


# Parts and caching

DATA = bytes(range(256)) * 4000


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=0-", 0, len(DATA) - 1),
        ("bytes=100-299999", 100, 299_999),
        ("bytes=1000000-9999999", 1_000_000, len(DATA) - 1),
        ("bytes=-300", len(DATA) - 300, len(DATA) - 1),
        (f"bytes=-{len(DATA) + 5}", 0, len(DATA) - 1),
    ],
)
async def test_a_part_of_a_file_can_be_fetched(alice: User, asked: str, first: int, last: int) -> None:
    media_id = await uploads(alice, DATA, "video/mp4")
    answer = await downloads(alice, media_id, headers={"Range": asked})
    assert answer.status == 206
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{len(DATA)}"
    assert answer.body == DATA[first : last + 1]


@pytest.mark.parametrize("asked", [f"bytes={len(DATA)}-", "bytes=99999999-", "bytes=-0"])
async def test_a_part_beyond_the_end_is_refused(alice: User, asked: str) -> None:
    media_id = await uploads(alice, DATA, "video/mp4")
    answer = await downloads(alice, media_id, headers={"Range": asked})
    assert answer.status == 416
    assert answer.headers["Content-Range"] == f"bytes */{len(DATA)}"
    assert answer.body == b""


@pytest.mark.parametrize(
    "asked", ["bytes=5-2", "bytes=0-1,4-5", "lines=1-2", "bytes=-", "bytes=a-b", "bytes=1-" + "9" * 30]
)
async def test_nonsense_instead_of_a_part_gets_the_whole(alice: User, asked: str) -> None:
    media_id = await uploads(alice, DATA, "video/mp4")
    answer = await downloads(alice, media_id, headers={"Range": asked})
    assert answer.status == 200
    assert answer.body == DATA


async def test_a_part_of_another_version_is_of_no_use(alice: User) -> None:
    media_id = await uploads(alice, DATA, "video/mp4")
    etag = (await downloads(alice, media_id)).headers["ETag"]
    same = await downloads(alice, media_id, headers={"Range": "bytes=0-9", "If-Range": etag})
    other = await downloads(alice, media_id, headers={"Range": "bytes=0-9", "If-Range": '"other"'})
    assert (same.status, same.body) == (206, DATA[:10])
    assert (other.status, other.body) == (200, DATA)


async def test_a_file_that_a_client_has_is_not_sent_again(world: World, alice: User) -> None:
    media_id = await uploads(alice, DATA, "image/png")
    first = await downloads(alice, media_id)
    assert re.fullmatch('"[0-9a-f]{64}"', first.headers["ETag"])
    assert "immutable" in first.headers["Cache-Control"]
    assert "private" in first.headers["Cache-Control"]

    for known in (first.headers["ETag"], f'"x", W/{first.headers["ETag"]}', "*"):
        again = await downloads(alice, media_id, headers={"If-None-Match": known})
        assert (again.status, again.body) == (304, b"")
        assert again.headers["ETag"] == first.headers["ETag"]
        assert again.headers["Access-Control-Allow-Origin"] == "*"
    assert (await downloads(alice, media_id, headers={"If-None-Match": '"x"'})).status == 200


async def test_knowing_a_file_is_not_having_it(world: World, alice: User) -> None:
    media_id = await uploads(alice, DATA, "image/png")
    etag = (await downloads(alice, media_id)).headers["ETag"]
    path = f"{MEDIA}/download/{SERVER_NAME}/{media_id}"
    assert (await got(world, path, None, {"If-None-Match": etag})).status == 401
