"""Connections go to public addresses, unless the operator says otherwise."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from federation.matrix.addresses import ByLookups, guarded_connector, is_any, is_public, tls_context
from federation.matrix.lookups import Lookups
from tests.support.certificates import Authority
from tests.support.peer import serving


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1", "2002:101:101::", "64:ff9b::1.1.1.1"],
)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254", "172.16.0.1",
        "192.0.2.1", "192.168.1.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
        "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "fc00::1", "fd12::1", "fe80::1",
        "fe80::1%eth0", "fec0::1", "ff02::1", "2001:db8::1", "2002:7f00:1::", "2002:a00:1::",
        "64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b:1::1.1.1.1", "2001:0:0:0:0:0:80ff:fffe", "100::1",
    ],
)  # fmt: skip
def test_every_other_address_is_not(address: str) -> None:
    assert not is_public(address)


class Table(AbstractResolver):
    """Knows a few names; a name with several answers gives one after the other."""

    def __init__(self, **answers: list[str]) -> None:
        self.answers = answers

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        known = self.answers[host]
        address = known.pop(0) if len(known) > 1 else known[0]
        return [
            ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0)
        ]  # fmt: skip

    async def close(self) -> None:
        pass


@asynccontextmanager
async def listening(authority: Authority) -> AsyncIterator[int]:
    """A server on every address of loopback; the port."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text="here", headers={"Connection": "close"})

    place = socket.create_server(("", 0))
    async with serving(answer, place, authority.certificate("name", "127.0.0.1", "127.0.0.2")):
        yield place.getsockname()[1]


async def test_the_address_that_is_connected_to_is_the_one_that_is_checked(authority: Authority) -> None:
    # At first the name means an address that is allowed, later one that is not: as with DNS rebinding.
    table = Table(name=["127.0.0.1", "127.0.0.2"])
    connector = guarded_connector(table, tls_context(str(authority.ca)), lambda address: address == "127.0.0.1")
    async with listening(authority) as port, aiohttp.ClientSession(connector=connector) as http:
        async with http.get(f"https://name:{port}/") as response:
            assert await response.text() == "here"
        with pytest.raises(aiohttp.ClientConnectorError, match=r"127\.0\.0\.2 is not an address to connect to"):
            await http.get(f"https://name:{port}/")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "[::ffff:127.0.0.1]"])
async def test_no_way_to_write_loopback_leads_there(authority: Authority, host: str) -> None:
    lookups = Lookups(lambda: 0.0)
    connector = guarded_connector(ByLookups(lookups), tls_context(str(authority.ca)), is_public)
    async with listening(authority) as port, aiohttp.ClientSession(connector=connector) as http:
        with pytest.raises(aiohttp.ClientConnectorError, match="is not an address to connect to"):
            await http.get(f"https://{host}:{port}/")


async def test_closed_networks_are_reached_if_the_operator_says_so(authority: Authority) -> None:
    connector = guarded_connector(ByLookups(Lookups(lambda: 0.0)), tls_context(str(authority.ca)), is_any)
    async with (
        listening(authority) as port,
        aiohttp.ClientSession(connector=connector) as http,
        http.get(f"https://localhost:{port}/", server_hostname="name") as response,
    ):
        assert await response.text() == "here"


def test_a_file_of_authorities_that_cannot_be_used_is_an_error_at_once(authority: Authority) -> None:
    with pytest.raises(FileNotFoundError):
        tls_context(str(authority.directory / "nothing.pem"))
