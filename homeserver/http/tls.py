"""TLS for listeners of our own: the certificate that the files hold now, also after it was renewed."""

import os
import ssl
from dataclasses import dataclass, field

import structlog

from homeserver.clock import Clock

log = structlog.get_logger()

LOOK_EVERY_SECONDS = 60.0

_Stamp = tuple[tuple[int, int], ...]


@dataclass(slots=True)
class ShownCertificate:
    """A certificate chain and its key, in PEM files that another program renews."""

    certificate: str
    key: str
    protocols: tuple[str, ...] = ("http/1.1",)
    """What is spoken over it, as clients may ask before they speak."""
    context: ssl.SSLContext = field(init=False)
    """What listeners take. It shows a renewed certificate to those who connect from then on."""
    _stamp: _Stamp = field(init=False)

    def __post_init__(self) -> None:
        """Load the files. Raises OSError (an `ssl.SSLError` is one) if they cannot be used."""
        self._stamp = self._look()
        self.context = self._load()

    async def watch(self, clock: Clock) -> None:
        """Look now and then, until cancelled, whether the files have changed."""
        while True:
            await clock.sleep(LOOK_EVERY_SECONDS)
            self.reload()

    @property
    def version(self) -> object:
        """What stands for the files as they were when what is shown was read."""
        return self._stamp

    def is_current(self) -> bool:
        """Return whether the files are still what is shown. Raises OSError."""
        return self._look() == self._stamp

    def reload(self) -> None:
        """Take the files as they are now, if they have changed and can be used."""
        try:
            stamp = self._look()
            if stamp == self._stamp:
                return
            # Into a context that nobody uses first: half of a pair would leave the one in use without a certificate.
            self._load()
            self.context.load_cert_chain(self.certificate, self.key)
        except OSError as error:
            # Perhaps one file is written and the other is not yet. The old pair stays, and it is looked at again.
            log.warning("certificate_unusable", certificate=self.certificate, reason=str(error))
            return
        self._stamp = stamp
        log.info("certificate_renewed", certificate=self.certificate)

    def _look(self) -> _Stamp:
        found = [os.stat(name) for name in (self.certificate, self.key)]
        return tuple((one.st_mtime_ns, one.st_ino) for one in found)

    def _load(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.set_alpn_protocols(list(self.protocols))
        context.load_cert_chain(self.certificate, self.key)
        return context
