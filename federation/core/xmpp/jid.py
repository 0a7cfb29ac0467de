"""XMPP addresses: https://www.rfc-editor.org/rfc/rfc7622.

A JID is prepared when it is parsed, so two of them are the same address when they are equal.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address

from precis_i18n import get_profile
from precis_i18n.profile import Profile

from federation.core.errors import InvalidIdentifier

MAX_PART_BYTES = 1023
"""Of each part: https://www.rfc-editor.org/rfc/rfc7622#section-3.1."""
_CACHED = 16384

# https://www.rfc-editor.org/rfc/rfc7622#section-3.3.1: what a localpart may not hold besides what PRECIS forbids.
_no_localpart = re.compile("[\"&'/:<>@]").search
# What PRECIS leaves as it is, by far most of what comes.
_plain_localpart = re.compile(r"[a-z0-9!#$%()*+,.;=?\[\]^_`{|}~\\-]+").fullmatch
_plain_resource = re.compile("[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?").fullmatch
_plain_domain = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*").fullmatch

_localpart_profile = get_profile("UsernameCaseMapped")
_resource_profile = get_profile("OpaqueString")


@dataclass(frozen=True, slots=True)
class Jid:
    """An address, its parts prepared. `Jid.parse` makes one of what came from elsewhere."""

    local: str | None
    domain: str
    resource: str | None = None

    @staticmethod
    def parse(text: str) -> "Jid":
        """Return the address that a text means. Raises `InvalidIdentifier`."""
        return _parse(text)

    @property
    def bare(self) -> "Jid":
        """The address without its resource."""
        return self if self.resource is None else Jid(self.local, self.domain)

    @property
    def is_bare(self) -> bool:
        """Whether it has no resource."""
        return self.resource is None

    def with_resource(self, resource: str) -> "Jid":
        """Return the address with another resource. Raises `InvalidIdentifier`."""
        return Jid(self.local, self.domain, prepare_resource(resource))

    def __str__(self) -> str:
        """Return it as text."""
        bare = self.domain if self.local is None else f"{self.local}@{self.domain}"
        return bare if self.resource is None else f"{bare}/{self.resource}"


@lru_cache(_CACHED)
def _parse(text: str) -> Jid:
    # https://www.rfc-editor.org/rfc/rfc7622#section-3.1: the first slash ends the bare JID, then the first @ counts.
    bare, slash, resource = text.partition("/")
    local, at, domain = bare.partition("@")
    return Jid(
        prepare_localpart(local) if at else None,
        prepare_domain(domain if at else bare),
        prepare_resource(resource) if slash else None,
    )


def prepare_localpart(text: str) -> str:
    """Return a localpart prepared: https://www.rfc-editor.org/rfc/rfc7622#section-3.3. Raises `InvalidIdentifier`."""
    if _plain_localpart(text) is None:
        if _no_localpart(text) is not None:
            raise InvalidIdentifier("the localpart of a JID holds none of \" & ' / : < > @")
        text = _enforced(_localpart_profile, text, "localpart")
    return _fitting(text, "localpart")


def prepare_resource(text: str) -> str:
    """Return a resource prepared: https://www.rfc-editor.org/rfc/rfc7622#section-3.4. Raises `InvalidIdentifier`."""
    if _plain_resource(text) is None:
        text = _enforced(_resource_profile, text, "resource")
    return _fitting(text, "resource")


def prepare_domain(text: str) -> str:
    """Return a domain prepared: https://www.rfc-editor.org/rfc/rfc7622#section-3.2. Raises `InvalidIdentifier`."""
    text = text.removesuffix(".")
    if text.isascii():
        text = text.lower()
    if text.startswith("["):
        try:
            return f"[{IPv6Address(text[1:].removesuffix(']'))}]"
        except AddressValueError as error:
            raise InvalidIdentifier("the domain of a JID is not an IPv6 address") from error
    if _plain_domain(text) is None:
        # Dots of other scripts separate labels, too: https://www.rfc-editor.org/rfc/rfc5895#section-2
        labels = re.split("[.\u3002\uff0e\uff61]", text)
        text = ".".join(_label(label) for label in labels)
    return _fitting(text, "domain")


def _label(label: str) -> str:
    label = _enforced(_localpart_profile, label, "domain")
    if not all(char == "-" or unicodedata.category(char)[0] in "LMN" for char in label) or label[0] == "-":
        raise InvalidIdentifier("the domain of a JID is not the name of a host")
    return label


def _enforced(profile: Profile, text: str, part: str) -> str:
    try:
        return str(profile.enforce(text))
    except (UnicodeError, ValueError) as error:
        raise InvalidIdentifier(f"the {part} of a JID cannot hold that") from error


def _fitting(text: str, part: str) -> str:
    if len(text) > MAX_PART_BYTES or (not text.isascii() and len(text.encode()) > MAX_PART_BYTES):
        raise InvalidIdentifier(f"the {part} of a JID is too long")
    return text
