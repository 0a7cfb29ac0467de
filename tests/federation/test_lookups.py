"""Names are looked up in the hosts file and in DNS, and remembered for as long as the answers hold."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import dns.asyncresolver
import dns.flags
import dns.message
import dns.name
import dns.nameserver
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from federation.core.discovery import Place
from federation.matrix.lookups import FAILURE_SECONDS, LONGEST, MOST_ADDRESSES, SHORTEST, Lookups, NameNotFound


@dataclass
class Zone(asyncio.DatagramProtocol):
    """A DNS server on loopback."""

    records: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    """Records by name and type, each with its time to live before it: `60 1.2.3.4`."""
    aliases: dict[str, str] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    asked: list[tuple[str, str]] = field(default_factory=list)
    now: float = 0.0
    port: int = 0
    _transport: asyncio.DatagramTransport | None = None

    @classmethod
    @asynccontextmanager
    async def serve(cls) -> AsyncIterator["Zone"]:
        loop = asyncio.get_running_loop()
        transport, zone = await loop.create_datagram_endpoint(cls, local_addr=("127.0.0.1", 0))
        zone._transport = transport
        zone.port = transport.get_extra_info("sockname")[1]
        try:
            yield zone
        finally:
            transport.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        if name in self.broken:
            response.set_rcode(dns.rcode.SERVFAIL)
        elif name in self.aliases:
            name, alias = self.aliases[name], name
            response.answer.append(dns.rrset.from_text(f"{alias}.", 60, "IN", "CNAME", f"{name}."))
        elif not any(name == known for known, _ in self.records):
            response.set_rcode(dns.rcode.NXDOMAIN)
        for record in self.records.get((name, kind), []):
            seconds, _, text = record.partition(" ")
            response.answer.append(dns.rrset.from_text(f"{name}.", int(seconds), "IN", kind, text))
        assert self._transport is not None
        self._transport.sendto(response.to_wire(), addr)


@pytest.fixture
async def zone() -> AsyncIterator[Zone]:
    async with Zone.serve() as served:
        yield served


@pytest.fixture
async def lookups(zone: Zone, tmp_path: Path) -> AsyncIterator[Lookups]:
    hosts = tmp_path / "hosts"
    hosts.write_text("10.0.0.1 listed Listed.Example # not.this\n::1 listed\nnonsense x\n\n")

    def resolver(_: Path) -> dns.asyncresolver.Resolver:
        made = dns.asyncresolver.Resolver(configure=False)
        made.nameservers = [dns.nameserver.Do53Nameserver("127.0.0.1", zone.port)]
        made.domain = dns.name.from_text("lan.")
        return made

    found = Lookups(lambda: zone.now, hosts=hosts, resolver=resolver)
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
