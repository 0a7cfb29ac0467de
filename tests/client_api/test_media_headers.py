"""Strangers' files do no harm in a browser, and are fetched in parts and once."""

import re
from urllib.parse import quote

from aiohttp.multipart import content_disposition_filename, parse_content_disposition

from tests.support.media import MEDIA, OLD_MEDIA, downloads, got, uploads
from tests.support.world import SERVER_NAME, User, World, refused

POLICY = (
    "sandbox; default-src 'none'; script-src 'none'; plugin-types application/pdf; style-src 'unsafe-inline'; "
    "object-src 'self';"
)


async def test_whatever_a_file_claims_to_be_a_browser_gets_no_script_from_it(alice: User) -> None:
    for claimed, served, shown in (
        ("text/html", "text/html", "attachment"),
        ("image/svg+xml", "image/svg+xml", "attachment"),
        ("image/png", "image/png", "inline"),
        ("text/javascript", "application/octet-stream", "attachment"),
        ("no type at all", "application/octet-stream", "attachment"),
    ):
        media_id = await uploads(alice, b"<html><script>alert(1)</script>", claimed)
        headers = (await downloads(alice, media_id)).headers
        assert headers["Content-Type"] == served
        assert headers["Content-Disposition"] == shown
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Content-Security-Policy"] == POLICY
        assert headers["Cross-Origin-Resource-Policy"] == "cross-origin"


async def test_scripts_of_other_sites_may_fetch_files(world: World, alice: User) -> None:
    media_id = await uploads(alice, b"x")
    assert (await downloads(alice, media_id)).headers["Access-Control-Allow-Origin"] == "*"
    async with world.http.options(f"{world.base}{OLD_MEDIA}/upload") as response:
        assert response.status == 200
        assert response.headers["Access-Control-Allow-Origin"] == "*"


# Names


async def test_a_name_cannot_break_out_of_its_header(alice: User) -> None:
    name, expected = "../a\r\nSet-Cookie: x=y", 'inline; filename=".._aSet-Cookie: x=y"'
    uploaded = await downloads(alice, await uploads(alice, b"x", "text/plain", filename=name))
    asked = await downloads(alice, await uploads(alice, b"x", "text/plain"), quote(name, safe=""))
    for answer in (uploaded, asked):
        assert answer.headers["Content-Disposition"] == expected
        assert "Set-Cookie" not in answer.headers


async def test_clients_read_back_the_name_that_was_sent(alice: User) -> None:
    for name in ("War and Peace.txt", "semi;colon.txt", 'quo"te.txt', "ünï☕.txt", "100%.txt", "☕" * 512):
        answer = await downloads(alice, await uploads(alice, b"x", "text/plain", filename=name))
        _, parameters = parse_content_disposition(answer.headers["Content-Disposition"])
        assert content_disposition_filename(parameters) == name


async def test_a_name_has_an_end(world: World, alice: User) -> None:
    answer = await world.request("POST", f"{OLD_MEDIA}/upload", raw=b"x", token=alice.token, filename="n" * 513)
    assert "filename" in refused(answer, 400, "M_INVALID_PARAM")["error"]


# Parts and caching

DATA = bytes(range(256)) * 4000


async def test_a_part_of_a_file_can_be_fetched(alice: User) -> None:
    media_id = await uploads(alice, DATA, "video/mp4")
    for asked, first, last in (
        ("bytes=0-0", 0, 0),
        ("bytes=0-", 0, len(DATA) - 1),
        ("bytes=100-299999", 100, 299_999),
        ("bytes=1000000-9999999", 1_000_000, len(DATA) - 1),
        ("bytes=-300", len(DATA) - 300, len(DATA) - 1),
        (f"bytes=-{len(DATA) + 5}", 0, len(DATA) - 1),
    ):
        answer = await downloads(alice, media_id, headers={"Range": asked})
        assert answer.status == 206
        assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{len(DATA)}"
        assert answer.headers["Content-Length"] == str(last - first + 1)
        assert answer.body == DATA[first : last + 1]


async def test_a_part_beyond_the_end_is_refused(alice: User) -> None:
    media_id = await uploads(alice, DATA, "video/mp4")
    for asked in (f"bytes={len(DATA)}-", "bytes=99999999-", "bytes=-0"):
        answer = await downloads(alice, media_id, headers={"Range": asked})
        assert answer.status == 416
        assert answer.headers["Content-Range"] == f"bytes */{len(DATA)}"
        assert answer.body == b""


async def test_nonsense_instead_of_a_part_gets_the_whole(alice: User) -> None:
    media_id = await uploads(alice, DATA, "video/mp4")
    for asked in ("bytes=5-2", "bytes=0-1,4-5", "lines=1-2", "bytes=-", "bytes=a-b", "bytes=1-" + "9" * 30):
        answer = await downloads(alice, media_id, headers={"Range": asked})
        assert (answer.status, answer.body) == (200, DATA)


async def test_a_part_of_another_version_is_of_no_use(alice: User) -> None:
    media_id = await uploads(alice, DATA, "video/mp4")
    etag = (await downloads(alice, media_id)).headers["ETag"]
    same = await downloads(alice, media_id, headers={"Range": "bytes=0-9", "If-Range": etag})
    other = await downloads(alice, media_id, headers={"Range": "bytes=0-9", "If-Range": '"other"'})
    assert (same.status, same.body) == (206, DATA[:10])
    assert (other.status, other.body) == (200, DATA)


async def test_a_file_that_a_client_has_is_not_sent_again(alice: User) -> None:
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
