"""A DNS server on loopback."""

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


@dataclass
class Zone(asyncio.DatagramProtocol):
    """Answers from the records that a test writes down."""

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
        """Start one."""
        loop = asyncio.get_running_loop()
        transport, zone = await loop.create_datagram_endpoint(cls, local_addr=("127.0.0.1", 0))
        zone._transport = transport
        zone.port = transport.get_extra_info("sockname")[1]
        try:
            yield zone
        finally:
            transport.close()

    def resolver(self, _: Path) -> dns.asyncresolver.Resolver:
        """Return what asks here, and takes `lan` for our own domain; the file that names resolvers does not matter."""
        made = dns.asyncresolver.Resolver(configure=False)
        made.nameservers = [dns.nameserver.Do53Nameserver("127.0.0.1", self.port)]
        made.domain = dns.name.from_text("lan.")
        return made

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer a question."""
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
