"""Unpadded Base64: https://spec.matrix.org/v1.19/appendices/#unpadded-base64."""

from base64 import b64decode, b64encode, urlsafe_b64encode
from binascii import Error

from federation.core.errors import BadJson

_STANDARD = str.maketrans("-_", "+/")


def encode(data: bytes) -> str:
    """Return `data` in the standard alphabet, without padding."""
    return b64encode(data).rstrip(b"=").decode("ascii")


def encode_url_safe(data: bytes) -> str:
    """Return `data` in the URL-safe alphabet, without padding."""
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode(text: str) -> bytes:
    """Return the bytes of `text`, in either alphabet, padded or not; raise `BadJson` for anything else."""
    standard = text.rstrip("=").translate(_STANDARD)
    try:
        return b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except (Error, ValueError) as error:
        raise BadJson("not Base64") from error
