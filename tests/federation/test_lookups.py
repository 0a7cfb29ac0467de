"""Names are looked up in the hosts file and in DNS, and remembered for as long as the answers hold."""

from collections.abc import AsyncIterator
from pathlib import Path

import dns.asyncresolver
import pytest

from federation.core.discovery import Place
from federation.matrix.lookups import Lookups, NameNotFound
from federation.matrix.nameservers import FAILURE_SECONDS, LONGEST, MOST_ADDRESSES, SHORTEST
from tests.support.zone import Zone


@pytest.fixture
async def zone() -> AsyncIterator[Zone]:
    async with Zone.serve() as served:
        yield served


@pytest.fixture
async def lookups(zone: Zone, tmp_path: Path) -> AsyncIterator[Lookups]:
    hosts = tmp_path / "hosts"
    hosts.write_text("10.0.0.1 listed Listed.Example # not.this\n::1 listed\nnonsense x\n\n")

    found = Lookups(lambda: zone.now, hosts=hosts, resolver=zone.resolver)
    yield found
    await found.close()


async def test_a_name_has_the_addresses_of_both_kinds(zone: Zone, lookups: Lookups) -> None:
    zone.records = {("a.example", "A"): ["60 1.2.3.4", "60 1.2.3.5"], ("a.example", "AAAA"): ["60 2606::1"]}
    assert await lookups.addresses("A.example.") == ("2606::1", "1.2.3.4", "1.2.3.5")


async def test_an_alias_leads_to_the_addresses_of_its_name(zone: Zone, lookups: Lookups) -> None:
    zone.records[("a.example", "A")] = ["60 1.2.3.4"]
    zone.aliases["www.example"] = "a.example"
    assert await lookups.addresses("www.example") == ("1.2.3.4",)


async def test_localhost_is_this_machine_whatever_others_say(zone: Zone, lookups: Lookups) -> None:
    assert await lookups.addresses("localhost") == ("127.0.0.1", "::1")
    assert await lookups.addresses("x.LOCALHOST.") == ("127.0.0.1", "::1")
    assert zone.asked == []


async def test_the_hosts_file_comes_before_dns(zone: Zone, lookups: Lookups, tmp_path: Path) -> None:
    assert await lookups.addresses("listed") == ("10.0.0.1", "::1")
    assert await lookups.addresses("listed.example") == ("10.0.0.1",)
    assert zone.asked == []

    (tmp_path / "hosts").write_text("10.0.0.22 listed\n")
    assert await lookups.addresses("listed") == ("10.0.0.22",)
    (tmp_path / "hosts").unlink()
    with pytest.raises(NameNotFound):
        await lookups.addresses("listed")


@pytest.mark.parametrize(("ttl", "seconds"), [(600, 600), (1, SHORTEST), (10**6, LONGEST)])
async def test_an_answer_holds_for_its_time_to_live_within_bounds(
    zone: Zone, lookups: Lookups, ttl: int, seconds: float
) -> None:
    zone.records[("a.example", "A")] = [f"{ttl} 1.2.3.4"]
    await lookups.addresses("a.example")
    zone.records[("a.example", "A")] = ["60 5.6.7.8"]

    zone.now = seconds - 1
    assert await lookups.addresses("a.example") == ("1.2.3.4",)
    zone.now = seconds
    assert await lookups.addresses("a.example") == ("5.6.7.8",)


async def test_what_does_not_exist_is_remembered_too(zone: Zone, lookups: Lookups) -> None:
    zone.records[("no.addresses.example", "SRV")] = ["60 0 0 1 x."]
    for name in ("nowhere.example", "no.addresses.example"):
        for _ in range(2):
            with pytest.raises(NameNotFound, match=f"{name} has no address"):
                await lookups.addresses(name)
    assert len(zone.asked) == 4

    zone.now = SHORTEST
    zone.records[("nowhere.example", "A")] = ["60 1.2.3.4"]
    assert await lookups.addresses("nowhere.example") == ("1.2.3.4",)


async def test_a_resolver_that_fails_is_asked_again_soon(zone: Zone, lookups: Lookups) -> None:
    zone.broken.add("a.example")
    with pytest.raises(NameNotFound, match=r"a\.example cannot be looked up: .*SERVFAIL"):
        await lookups.addresses("a.example")

    zone.now = FAILURE_SECONDS
    zone.broken.clear()
    zone.records[("a.example", "A")] = ["60 1.2.3.4"]
    assert await lookups.addresses("a.example") == ("1.2.3.4",)


async def test_only_a_name_of_one_part_is_looked_for_in_our_own_domain(zone: Zone, lookups: Lookups) -> None:
    zone.records[("hs1.lan", "A")] = ["60 10.0.0.1"]
    zone.records[("a.example.lan", "A")] = ["60 10.0.0.2"]
    assert await lookups.addresses("hs1") == ("10.0.0.1",)
    with pytest.raises(NameNotFound):
        await lookups.addresses("a.example")


@pytest.mark.parametrize("name", ["", "..", "a..b", "x" * 64 + ".example", ".".join(["abcdef"] * 40)])
async def test_a_name_that_cannot_be_is_not_found(lookups: Lookups, name: str) -> None:
    with pytest.raises(NameNotFound):
        await lookups.addresses(name)
    assert await lookups.services(f"_matrix-fed._tcp.{name}") is None


async def test_a_name_with_a_thousand_addresses_costs_no_thousand_attempts(zone: Zone, lookups: Lookups) -> None:
    zone.records[("a.example", "A")] = [f"60 1.2.3.{number}" for number in range(25)]
    assert len(await lookups.addresses("a.example")) == MOST_ADDRESSES


async def test_services_come_in_the_order_of_their_priorities(zone: Zone, lookups: Lookups) -> None:
    zone.records[("_matrix-fed._tcp.a.example", "SRV")] = [
        "60 20 0 443 last.example.", "60 10 1 8449 first.example.", "60 15 1 1 second.example.",
    ]  # fmt: skip
    assert await lookups.services("_matrix-fed._tcp.A.example") == (
        Place("first.example", 8449),
        Place("second.example", 1),
        Place("last.example", 443),
    )


async def test_no_record_and_a_record_of_no_service_are_told_apart(zone: Zone, lookups: Lookups) -> None:
    zone.records[("_matrix-fed._tcp.a.example", "SRV")] = ["60 0 0 0 ."]
    zone.records[("_matrix-fed._tcp.b.example", "A")] = ["60 1.2.3.4"]
    zone.broken.add("_matrix-fed._tcp.c.example")
    assert await lookups.services("_matrix-fed._tcp.a.example") == ()
    assert await lookups.services("_matrix-fed._tcp.b.example") is None
    assert await lookups.services("_matrix-fed._tcp.nowhere.example") is None
    # A resolver that cannot tell does not keep us from those who have no record.
    assert await lookups.services("_matrix-fed._tcp.c.example") is None


async def test_services_are_remembered(zone: Zone, lookups: Lookups) -> None:
    zone.records[("_matrix-fed._tcp.a.example", "SRV")] = ["600 0 0 1 x.example."]
    await lookups.services("_matrix-fed._tcp.a.example")
    zone.now = 599
    await lookups.services("_matrix-fed._tcp.a.example")
    assert len(zone.asked) == 1


async def test_a_machine_without_resolvers_still_knows_itself(tmp_path: Path) -> None:
    def none(_: Path) -> dns.asyncresolver.Resolver:
        return dns.asyncresolver.Resolver(configure=False)

    lookups = Lookups(lambda: 0.0, hosts=tmp_path / "nothing", resolver=none)
    assert await lookups.addresses("localhost") == ("127.0.0.1", "::1")
    with pytest.raises(NameNotFound, match="cannot be looked up"):
        await lookups.addresses("a.example")
