"""From a name in DNS to an answer of that server, with nothing left out."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from federation.core.ids import ServerName
from federation.matrix.addresses import ByLookups, guarded_connector, is_any, tls_context
from federation.matrix.errors import Unreachable
from federation.matrix.lookups import Lookups
from federation.matrix.requests import Requests
from federation.matrix.resolver import Resolver
from federation.matrix.well_known import WellKnownFiles
from tests.support.certificates import Authority
from tests.support.peer import Peer
from tests.support.zone import Zone

NAME = ServerName("matrix.example")
VERSION = "/_matrix/federation/v1/version"


@pytest.fixture
async def zone() -> AsyncIterator[Zone]:
    async with Zone.serve() as served:
        served.records = {(NAME, "A"): ["60 127.0.0.1"], ("host.example", "A"): ["60 127.0.0.1"]}
        yield served


@pytest.fixture
async def other(authority: Authority) -> AsyncIterator[Peer]:
    """A server whose certificate is for a name without a port."""
    async with Peer.start(authority, certificate=authority.certificate(NAME)) as peer:
        yield peer


@pytest.fixture
async def asking(authority: Authority, zone: Zone, other: Peer, tmp_path: Path) -> AsyncIterator[Requests]:
    lookups = Lookups(lambda: zone.now, hosts=tmp_path / "none", resolver=zone.resolver)
    connector = guarded_connector(ByLookups(lookups), tls_context(str(authority.ca)), is_any)
    files = WellKnownFiles(connector, lambda: zone.now)
    made = Requests(ServerName("us.example"), other.key, Resolver(files, lookups), connector)
    yield made
    await files.close()
    await made.close()
    await lookups.close()


@pytest.mark.parametrize("service", ["_matrix-fed._tcp", "_matrix._tcp"])
async def test_a_server_is_found_by_its_records(asking: Requests, zone: Zone, other: Peer, service: str) -> None:
    zone.records[(f"{service}.{NAME}", "SRV")] = [f"60 0 0 {other.port} host.example."]
    assert await asking.exchange("GET", NAME, VERSION) == {"server": {"name": "peer", "version": "1"}}
    assert other.asked[0].request.headers["Host"] == NAME


async def test_who_has_a_record_for_a_name_needs_the_certificate_too(asking: Requests, zone: Zone, other: Peer) -> None:
    zone.records[("_matrix-fed._tcp.host.example", "SRV")] = [f"60 0 0 {other.port} {NAME}."]
    with pytest.raises(Unreachable, match="certificate"):
        await asking.exchange("GET", ServerName("host.example"), VERSION)
    assert other.asked == []


async def test_the_second_record_is_for_when_the_first_does_not_answer(
    asking: Requests, zone: Zone, other: Peer
) -> None:
    zone.records[(f"_matrix-fed._tcp.{NAME}", "SRV")] = [
        "60 1 0 1 host.example.", "60 2 0 1 nowhere.example.", f"60 3 0 {other.port} host.example.",
    ]  # fmt: skip
    assert await asking.exchange("GET", NAME, VERSION)


async def test_a_second_request_needs_no_second_question(asking: Requests, zone: Zone, other: Peer) -> None:
    zone.records[(f"_matrix-fed._tcp.{NAME}", "SRV")] = [f"60 0 0 {other.port} host.example."]
    await asking.exchange("GET", NAME, VERSION)
    asked = len(zone.asked)
    await asking.exchange("GET", NAME, VERSION)
    assert len(zone.asked) == asked
