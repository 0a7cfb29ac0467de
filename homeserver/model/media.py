"""Files that users sent, and the thumbnails made of them. The bytes lie on disk, addressed by their SHA-256."""

import enum
import re
from dataclasses import dataclass
from typing import NewType

from federation.core.errors import InvalidIdentifier
from federation.core.ids import ServerName
from homeserver.model.nids import UserNid

MediaID = NewType("MediaID", str)

_MEDIA_ID = re.compile(r"[A-Za-z0-9_-]{1,255}")

OCTETS = "application/octet-stream"
"""The content type of what nobody gave a type."""


def parse_media_id(text: str) -> MediaID:
    """Return `text` as a media ID; raise `InvalidIdentifier` if it has other letters than the specification allows.

    Source: https://spec.matrix.org/v1.19/client-server-api/#content-repo-security-considerations
    """
    if _MEDIA_ID.fullmatch(text) is None:
        raise InvalidIdentifier("a media ID has only letters, digits, '_' and '-'")
    return MediaID(text)


class Method(enum.StrEnum):
    """How a thumbnail is fitted: https://spec.matrix.org/v1.19/client-server-api/#thumbnails."""

    CROP = "crop"
    SCALE = "scale"


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes on disk and what they are served as."""

    sha256: bytes
    size: int
    content_type: str


@dataclass(frozen=True, slots=True)
class Media:
    """One content URI. `content` is None until the upload is there; the URI dies at `expires_at` if it never comes."""

    origin: ServerName
    media_id: MediaID
    uploader: UserNid | None
    name: str | None
    content: Content | None
    created_at: int
    expires_at: int | None

    @property
    def uri(self) -> str:
        """The `mxc://` URI."""
        return f"mxc://{self.origin}/{self.media_id}"

    def expired(self, now: int) -> bool:
        """Whether the upload never came and is too late now."""
        return self.content is None and self.expires_at is not None and self.expires_at <= now


@dataclass(frozen=True, slots=True)
class Shape:
    """What is asked of a thumbnail: at least this size, and whether it may move. 0 by 0 is the size of the original."""

    width: int
    height: int
    method: Method
    animated: bool = False
