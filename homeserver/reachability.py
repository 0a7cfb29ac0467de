"""What `isthmus check` finds when it looks at this server as others do: where it is, what it shows, what it says.

https://spec.matrix.org/v1.19/server-server-api/#server-discovery
"""

import asyncio
import ssl
from email.utils import parsedate_to_datetime
from pathlib import Path

from federation.core.discovery import Place, Target
from federation.core.errors import ProtocolError
from federation.core.ids import ServerName, parse_server_name, split_server_name
from federation.core.server_keys import read
from federation.core.signing import SigningKey
from federation.matrix.addresses import tls_context
from federation.matrix.client import FederationClient
from federation.matrix.errors import FederationError
from homeserver.checks import Finding
from homeserver.clock import Clock, SystemClock
from homeserver.config import Config, ConfigError, signing_keys

DISCOVERY, CERTIFICATE, KEYS, CLOCK = (f"federation, {what}" for what in ("discovery", "certificate", "keys", "clock"))
PATIENCE_SECONDS = 10.0
LAST_PART = 0.1
"""A certificate should have been renewed before this part of its life is all that is left."""
MOST_SKEW_SECONDS = 30
_WE = ServerName("check.invalid")
"""In whose name we ask: a server does not ask itself, and nothing that we ask for has to be signed."""


def findings(config: Config, against: str | None = None, clock: Clock | None = None) -> list[Finding]:
    """Look at this server from outside; compare its clock with that of a server `against` which it is held.

    A name without a dot is one of a closed network: it is looked at only if the server listens for others there.
    """
    name = parse_server_name(config.server_name)
    is_looked_at = "." in split_server_name(name)[0] or bool(config.federation.listen)
    if not config.federation.enabled or not (is_looked_at or against):
        return []
    return asyncio.run(_look(config, name if is_looked_at else None, against, clock or SystemClock()))


async def _look(config: Config, name: ServerName | None, against: str | None, clock: Clock) -> list[Finding]:
    found: list[Finding] = []
    client = FederationClient.open(
        _WE, SigningKey.generate("check"), clock, extra_ca=config.outgoing.extra_ca, allow_private=True
    )
    try:
        if name is not None:
            found += await _reach(config, name, client, clock)
        if against:
            found.append(await _clock(against, client, clock))
    finally:
        await client.close()
    return found


async def _reach(config: Config, name: ServerName, client: FederationClient, clock: Clock) -> list[Finding]:
    try:
        target = await client.resolver.resolve(name)
    except FederationError as error:
        return [_lost(name, str(error))]
    if not target.places:
        return [_lost(name, "DNS says that it is not to be reached")]
    found = [_discovery(config, name, target)]
    try:
        found.append(await _certificate(config, target, clock))
    except _Unusable as unusable:
        return [*found, unusable.finding]
    return [*found, await _keys(config, name, client, clock)]


class _Unusable(Exception):
    """There is no connection over which anything else could be asked."""

    def __init__(self, text: str, mend: str) -> None:
        super().__init__(text)
        self.finding = Finding(CERTIFICATE, False, text, mend)


def _lost(name: ServerName, why: str) -> Finding:
    mend = f"let {name} have an address in DNS, or a file /.well-known/matrix/server that names another host"
    return Finding(DISCOVERY, False, f"other servers do not find {name}: {why}", mend)


def _discovery(config: Config, name: ServerName, target: Target) -> Finding:
    told, where = config.federation.well_known, ", ".join(map(_written, target.places))
    if told and told != target.host_header:
        return Finding(
            DISCOVERY,
            False,
            f"federation.well_known is {told}, but other servers look for {name} at {where}",
            f"let the web server of https://{name} pass /.well-known/matrix/server on to this server",
        )
    return Finding(DISCOVERY, True, f"other servers look for {name} at {where} (step {target.step} of discovery)")


async def _certificate(config: Config, target: Target, clock: Clock) -> Finding:
    place, name = target.places[0], target.tls_name
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            _, writer = await asyncio.open_connection(
                place.host, place.port, ssl=tls_context(config.outgoing.extra_ca), server_hostname=name
            )
    except ssl.SSLCertVerificationError as error:
        text = f"{_written(place)} shows a certificate that is not valid for {name}: {error.verify_message}"
        raise _Unusable(text, f"get a certificate for {name} from a public authority, with its chain") from error
    except (OSError, TimeoutError) as error:
        text = f"{_written(place)} does not answer with TLS: {str(error) or 'it takes too long'}"
        raise _Unusable(text, "start the server and its proxy, and let the firewall pass that port") from error
    shown = writer.get_extra_info("peercert")
    writer.close()
    begin, end = (ssl.cert_time_to_seconds(shown[when]) for when in ("notBefore", "notAfter"))
    left = end - clock.now_ms() / 1000
    text = f"{_written(place)} shows a certificate for {name} that is valid for {int(left // 86400)} more days"
    return Finding(CERTIFICATE, left > LAST_PART * (end - begin), text, "see why it is not renewed by itself")


async def _keys(config: Config, name: ServerName, client: FederationClient, clock: Clock) -> Finding:
    try:
        own = signing_keys.read(Path(config.keys.signing_key))[0]
        document = read(await client.server_keys(name), name, clock.now_ms())
    except ConfigError as error:
        return Finding(KEYS, False, str(error), "restore the key from a backup")
    except FederationError as error:
        mend = "let the reverse proxy pass /_matrix on to this server, with the path as it comes"
        return Finding(KEYS, False, f"the keys cannot be fetched: {error}", mend)
    except ProtocolError as error:
        mend = f"see which server answers at {name}, and whether its clock is right"
        return Finding(KEYS, False, f"the keys that are published cannot be used: {error}", mend)
    key = document.keys.get(own.key_id)
    if key is None or key.public_key != own.public_key or not key.current:
        mend = "start the server again if the key was changed; else see which server answers in its place"
        return Finding(KEYS, False, f"{own.key_id}, the key in the file, is not published", mend)
    if document.valid_until_ts < clock.now_ms():
        return Finding(KEYS, False, "the document with the keys has run out", "set the clock of this machine")
    return Finding(KEYS, True, f"{own.key_id} is published and has signed the document")


async def _clock(against: str, client: FederationClient, clock: Clock) -> Finding:
    try:
        before = clock.now_ms()
        async with client.download(parse_server_name(against), "/_matrix/federation/v1/version") as (headers, pieces):
            # The answer was made between these moments.
            after = clock.now_ms()
            async for _ in pieces:
                pass
        theirs = parsedate_to_datetime(headers["Date"]).timestamp() * 1000
    except (FederationError, ProtocolError, KeyError, ValueError) as error:
        return Finding(CLOCK, False, f"{against} does not tell the time: {error}", "name another server with --against")
    skew = int(max(before - 1000 - theirs, theirs - after, 0)) // 1000
    text = f"the clock of this machine and that of {against} differ by {skew} s"
    return Finding(CLOCK, skew <= MOST_SKEW_SECONDS, text, "let both synchronise their clocks, as chrony does")


def _written(place: Place) -> str:
    return f"[{place.host}]:{place.port}" if ":" in place.host else f"{place.host}:{place.port}"
