"""What XMPP clients see of us in TLS: the operator's certificate, or one made here where there is none.

A login can be bound to it (`tls-server-end-point`): https://www.rfc-editor.org/rfc/rfc5929#section-4.1
"""

import ssl
from dataclasses import dataclass
from pathlib import Path

import structlog

from homeserver.clock import Clock
from homeserver.http.tls import ShownCertificate
from homeserver.xmpp.addresses import Addresses

log = structlog.get_logger()

ALPN = "xmpp-client"
"""https://xmpp.org/extensions/xep-0368.html"""


@dataclass(slots=True)
class Certificate:
    """The certificate that is shown, renewed without a restart, and what logins over it are bound to."""

    shown: ShownCertificate
    _bound: bytes | None = None
    _version: object = None

    @property
    def context(self) -> ssl.SSLContext:
        """What a new connection takes."""
        return self.shown.context

    def end_point(self) -> bytes | None:
        """Return what a login over a connection that begins now is bound to; None if there is no such thing."""
        # What the files hold is shown from now on; else a client would be bound to what it is not shown yet.
        self.shown.reload()
        try:
            if self._version != self.shown.version and self.shown.is_current():
                # Here and not above: until somebody logs in the server does without eight megabytes of a library.
                from homeserver.xmpp.x509 import end_point_of

                self._bound = end_point_of(Path(self.shown.certificate).read_bytes())
                self._version = self.shown.version
        except (OSError, ValueError):
            # The files are being renewed; the old certificate is shown until they can be used.
            return self._bound
        return self._bound

    async def watch(self, clock: Clock) -> None:
        """Look now and then, until cancelled, whether the files have changed."""
        await self.shown.watch(clock)


def open_certificate(certificate: str, key: str, directory: Path, addresses: Addresses, clock: Clock) -> Certificate:
    """Return what to show: the configured files, or a self-signed certificate kept in `directory`. Raises OSError."""
    if not certificate:
        made, made_key = directory / "xmpp-self-signed.pem", directory / "xmpp-self-signed.key"
        if not (made.exists() and made_key.exists()):
            from homeserver.xmpp.x509 import make

            make(made, made_key, [addresses.domain, addresses.rooms, addresses.gateway, addresses.uploads], clock)
            log.warning("xmpp_certificate_self_signed", certificate=str(made), hint="set xmpp.tls_certificate")
        certificate, key = str(made), str(made_key)
    shown = ShownCertificate(certificate, key, (ALPN,))
    # Clients of XMPP stay connected; what would let them resume TLS costs memory as long as they do.
    shown.context.num_tickets = 0
    shown.context.options |= ssl.OP_NO_TICKET
    return Certificate(shown)
