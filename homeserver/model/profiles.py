"""Profiles: https://spec.matrix.org/v1.19/client-server-api/#profiles."""

from typing import NamedTuple

DISPLAY_NAME = "displayname"
AVATAR_URL = "avatar_url"
TIME_ZONE = "m.tz"


class PublicNames(NamedTuple):
    """What others are shown of a user everywhere."""

    display_name: str | None = None
    avatar_url: str | None = None
