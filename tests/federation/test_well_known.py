"""Well-known files of other servers are fetched within bounds, and remembered.

https://spec.matrix.org/v1.19/server-server-api/#getwell-knownmatrixserver
"""

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from federation.matrix import well_known
from federation.matrix.well_known import FIRST_PAUSE, LONGEST, LONGEST_PAUSE, MOST_BYTES, SHORTEST, WellKnownFiles
from tests.support.certificates import Authority
from tests.support.elsewhere import Elsewhere
from tests.support.peer import serving

Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
FILE = b'{"m.server": "delegate.example:443"}'
DELEGATE = "delegate.example:443"


class Site:
    """A web server that has every host of these tests, and the files that we know of it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.elsewhere = Elsewhere()
        self.asked: list[str] = []
        self.answers: dict[str, Answer] = {}
        self.files: WellKnownFiles

    def says(self, url: str, body: bytes = FILE, status: int = 200, **headers: str) -> None:
        """Answer at a URL; header names are written `Cache_Control`."""

        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return web.Response(body=body, status=status, headers=named)

        self.answers[url] = answer

    def redirects(self, url: str, location: str, status: int = 302) -> None:
        self.says(url, b"", status, Location=location)

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        url = f"{request.headers['Host']}{request.raw_path}"
        self.asked.append(url)
        answer = self.answers.get(url.removesuffix("/.well-known/matrix/server"))
        return web.Response(status=404) if answer is None else await answer(request)


HOSTS = ("a.example", "b.example", "c.example", "1.2.3.4")


@pytest.fixture
async def site(authority: Authority) -> AsyncIterator[Site]:
    made = Site()
    place = socket.create_server(("127.0.0.1", 0))
    made.elsewhere.places = {host: place.getsockname() for host in HOSTS}
    connector = made.elsewhere.connector(authority)
    made.files = WellKnownFiles(connector, lambda: made.now)
    async with serving(made, place, authority.certificate(*HOSTS, "127.0.0.1")):
        yield made
        await made.files.close()
        await connector.close()


async def test_a_file_is_read_whatever_its_type(site: Site) -> None:
    site.says("a.example", Content_Type="text/html")
    assert await site.files.delegate("A.example") == DELEGATE
    assert site.asked == ["a.example/.well-known/matrix/server"]


async def test_redirects_are_followed(site: Site) -> None:
    site.redirects("a.example", "https://b.example/here")
    site.redirects("b.example/here", "/there", 308)
    site.redirects("b.example/there", "//c.example/.well-known/matrix/server", 307)
    site.says("c.example")
    assert await site.files.delegate("a.example") == DELEGATE


@pytest.mark.parametrize(
    "location",
    [
        "https://a.example/.well-known/matrix/server",
        "http://b.example/.well-known/matrix/server",
        "https://127.0.0.2/.well-known/matrix/server",
        "https://10.0.0.1/",
        "https://[::1]/",
        "https://localhost/",
        "https://nowhere.example/",
        "file:///etc/passwd",
        "https://",
        "https://[",
        "https://a b/",
        "",
    ],
)
async def test_a_redirect_that_leads_nowhere_good_is_not_followed(site: Site, location: str) -> None:
    site.redirects("a.example", location)
    site.says("b.example")
    assert await site.files.delegate("a.example") is None
    assert "b.example/.well-known/matrix/server" not in site.asked


async def test_redirects_come_to_an_end(site: Site) -> None:
    for number in range(100):
        site.redirects(f"a.example/{number}", f"/{number + 1}")
    site.redirects("a.example", "/0")
    assert await site.files.delegate("a.example") is None
    assert len(site.asked) == well_known.MOST_REDIRECTS + 1


@pytest.mark.parametrize("status", [201, 204, 304, 400, 403, 404, 429, 500, 503])
async def test_only_the_status_200_counts(site: Site, status: int) -> None:
    site.says("a.example", status=status)
    assert await site.files.delegate("a.example") is None


async def test_a_file_has_a_largest_size(site: Site) -> None:
    site.says("a.example", FILE + b" " * (MOST_BYTES - len(FILE)))
    site.says("b.example", FILE + b" " * MOST_BYTES)
    site.says("c.example", gzip.compress(FILE + b" " * MOST_BYTES), Content_Encoding="gzip")
    assert await site.files.delegate("a.example") == DELEGATE
    assert await site.files.delegate("b.example") is None
    assert await site.files.delegate("c.example") is None


async def test_a_file_that_never_ends_is_not_read_for_long(site: Site) -> None:
    async def never_end(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" " * 4096)

    site.answers["a.example"] = never_end
    assert await site.files.delegate("a.example") is None


async def test_a_host_that_says_nothing_is_not_waited_for_long(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async def drip(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.02)

    monkeypatch.setattr(well_known, "PATIENCE_SECONDS", 0.2)
    site.answers["a.example"] = drip
    assert await site.files.delegate("a.example") is None


async def test_a_host_without_address_or_certificate_has_no_file(site: Site) -> None:
    site.elsewhere.places["d.example"] = site.elsewhere.places["a.example"]
    site.says("d.example")
    assert await site.files.delegate("nowhere.example") is None
    assert await site.files.delegate("d.example") is None
    assert site.asked == []


@pytest.mark.parametrize(
    ("cache_control", "seconds"),
    [("max-age=7200", 7200), ("max-age=1", SHORTEST), ("no-store", SHORTEST), ("max-age=99999999", LONGEST)],
)
async def test_a_file_holds_for_as_long_as_it_says_within_bounds(
    site: Site, cache_control: str, seconds: float
) -> None:
    site.says("a.example", Cache_Control=cache_control)
    await site.files.delegate("a.example")
    site.says("a.example", b'{"m.server": "other.example"}')

    site.now += seconds - 1
    assert await site.files.delegate("a.example") == DELEGATE
    site.now += 1
    assert await site.files.delegate("a.example") == "other.example"
    assert len(site.asked) == 2


async def test_a_host_without_a_file_is_asked_less_and_less_often(site: Site) -> None:
    pauses = []
    for _ in range(9):
        asked_at, before = site.now, len(site.asked)
        await site.files.delegate("a.example")
        assert len(site.asked) == before + 1
        while len(site.asked) == before + 1:
            site.now += FIRST_PAUSE
            await site.files.delegate("a.example")
        pauses.append(site.now - asked_at)
        site.now += LONGEST_PAUSE  # the attempt that ended the pause failed as well
    assert pauses[0] == FIRST_PAUSE
    assert pauses[1] > 2 * FIRST_PAUSE
    assert pauses[-1] == LONGEST_PAUSE


async def test_a_fault_of_a_host_does_not_undo_what_its_file_said(site: Site) -> None:
    site.says("a.example", Cache_Control="max-age=3600")
    await site.files.delegate("a.example")

    site.says("a.example", status=503)
    site.now += 3600
    assert await site.files.delegate("a.example") == DELEGATE
    del site.elsewhere.places["a.example"]
    site.now += LONGEST_PAUSE
    assert await site.files.delegate("a.example") == DELEGATE
    # ... but not for ever,
    site.now += LONGEST
    assert await site.files.delegate("a.example") is None


async def test_a_file_that_was_taken_away_holds_no_more(site: Site) -> None:
    site.says("a.example", Cache_Control="max-age=3600")
    await site.files.delegate("a.example")
    del site.answers["a.example"]
    site.now += 3600
    assert await site.files.delegate("a.example") is None


async def test_a_file_that_comes_later_is_found(site: Site) -> None:
    assert await site.files.delegate("a.example") is None
    site.says("a.example")
    site.now += FIRST_PAUSE
    assert await site.files.delegate("a.example") == DELEGATE
