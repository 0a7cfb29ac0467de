"""What `isthmus check` finds when it looks at the server as others see it."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from homeserver import reachability
from homeserver.checks import Finding
from homeserver.clock import SystemIds
from homeserver.config import Config, signing_keys
from homeserver.reachability import CERTIFICATE, CLOCK, DISCOVERY, KEYS
from tests.support.certificates import Authority
from tests.support.clock import MovableClock
from tests.support.pair import federating, free_port
from tests.support.peer import Peer
from tests.support.world import World


async def look(config: Config, against: str | None = None, clock: MovableClock | None = None) -> dict[str, Finding]:
    found = await asyncio.to_thread(reachability.findings, config, against, clock)
    return {finding.subject: finding for finding in found}


async def test_all_is_well_with_a_server_that_others_reach(ours: World, peer: Peer) -> None:
    found = await look(ours.app.config, peer.name)
    assert [subject for subject, finding in found.items() if finding.good] == [DISCOVERY, CERTIFICATE, KEYS, CLOCK]
    assert ours.app.config.server_name in found[DISCOVERY].text


async def test_a_server_that_is_not_there_is_missed(ours: World) -> None:
    config = replace(ours.app.config, server_name=f"localhost:{free_port()}")
    found = await look(config)
    assert list(found) == [DISCOVERY, CERTIFICATE]
    assert not found[CERTIFICATE].good
    assert "does not answer" in found[CERTIFICATE].text


async def test_a_name_that_nobody_knows_is_missed(ours: World) -> None:
    found = await look(replace(ours.app.config, server_name="isthmus.invalid"))
    assert "isthmus.invalid:8448" in found[DISCOVERY].text
    assert not found[CERTIFICATE].good


@pytest.mark.parametrize(
    ("names", "expired", "says"),
    [(("other.example",), False, "not valid for localhost"), (("localhost",), True, "expired")],
)
async def test_a_certificate_that_others_do_not_trust_is_bad(
    ours: World, authority: Authority, names: tuple[str, ...], expired: bool, says: str
) -> None:
    shown = authority.certificate(*names, expired=expired)
    async with Peer.start(authority, certificate=shown) as wrong:
        found = await look(replace(ours.app.config, server_name=wrong.name))
    assert not found[CERTIFICATE].good
    assert says in found[CERTIFICATE].text
    assert KEYS not in found


async def test_a_certificate_that_runs_out_soon_is_bad(ours: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reachability, "LAST_PART", 0.5)
    found = await look(ours.app.config)
    assert not found[CERTIFICATE].good
    assert found[KEYS].good


async def test_another_server_in_our_place_is_found_out(ours: World, peer: Peer) -> None:
    found = await look(replace(ours.app.config, server_name=peer.name))
    assert found[CERTIFICATE].good
    assert not found[KEYS].good
    assert "is not published" in found[KEYS].text

    peer.abilities.discard("keys")
    assert "cannot be fetched" in (await look(replace(ours.app.config, server_name=peer.name)))[KEYS].text


async def test_a_key_that_waits_for_a_restart_is_told(authority: Authority, tmp_path: Path) -> None:
    async with federating(authority, tmp_path) as world:
        signing_keys.rotate(tmp_path / "signing.key", SystemIds())
        finding = (await look(world.app.config))[KEYS]
        assert not finding.good
        assert "start the server again" in finding.mend


async def test_a_well_known_file_that_others_do_not_see_is_told(ours: World) -> None:
    federation = replace(ours.app.config.federation, well_known="elsewhere.example:443")
    finding = (await look(replace(ours.app.config, federation=federation)))[DISCOVERY]
    assert not finding.good
    assert "elsewhere.example:443" in finding.text


async def test_a_clock_that_is_wrong_is_told(ours: World, peer: Peer) -> None:
    clock = MovableClock()
    assert (await look(ours.app.config, peer.name, clock))[CLOCK].good
    clock.advance(100)
    finding = (await look(ours.app.config, peer.name, clock))[CLOCK]
    assert not finding.good
    assert "differ by 100 s" in finding.text or "differ by 99 s" in finding.text


async def test_a_clock_is_compared_with_servers_only(ours: World) -> None:
    for against in ("not a name", f"localhost:{free_port()}"):
        assert not (await look(ours.app.config, against))[CLOCK].good


async def test_a_server_of_a_closed_network_is_not_looked_at(ours: World, peer: Peer) -> None:
    config = ours.app.config
    alone = replace(config, server_name="hs1", federation=replace(config.federation, listen=()))
    assert await look(alone) == {}
    assert list(await look(alone, peer.name)) == [CLOCK]
    off = replace(config, federation=replace(config.federation, enabled=False))
    assert await look(off, peer.name) == {}
