"""Rate limits: a bucket of tokens for each user or address and kind of request, in memory, bounded.

Source: https://spec.matrix.org/v1.19/client-server-api/#rate-limiting
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from homeserver.clock import Clock
from homeserver.config.schema import RateLimits as Options
from homeserver.errors import LimitExceeded

MOST_BUCKETS = 100_000


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


@dataclass(frozen=True, slots=True)
class Rate:
    """Tokens a second, and how many may be saved up."""

    per_second: float
    burst: int


class RateLimits:
    """Decides whether one more request of a kind may be made now."""

    def __init__(self, options: Options, clock: Clock) -> None:
        """Take the configured rates."""
        self._clock = clock
        self._enabled = options.enabled
        self.rates: Mapping[str, Rate] = {
            "messages": Rate(options.messages_per_second, options.messages_burst),
            "login": Rate(options.login_per_second, options.login_burst),
            "registration": Rate(options.registration_per_second, options.registration_burst),
            "joins": Rate(options.joins_per_second, options.joins_burst),
            "media": Rate(options.media_per_second, options.media_burst),
            "default": Rate(options.default_per_second, options.default_burst),
            "federation": Rate(options.federation_per_second, options.federation_burst),
            # Of one address, and none that an honest server makes: such a request can make us ask another server.
            "unsigned": Rate(1.0, 100),
            "notary": Rate(5.0, 100),
            # Of one server; each leaves a room and an event behind.
            "invites": Rate(5.0, 500),
        }
        self._buckets: OrderedDict[tuple[str, str], _Bucket] = OrderedDict()

    def take(self, kind: str, whose: str, tokens: int = 1) -> None:
        """Take one token of `kind` from the bucket of a user or an address; none only looks. Raises `LimitExceeded`."""
        if not self._enabled or kind == "none":
            return
        rate = self.rates[kind]
        now = self._clock.monotonic()
        bucket = self._buckets.get((kind, whose))
        if bucket is None:
            bucket = self._buckets[kind, whose] = _Bucket(float(rate.burst), now)
            if len(self._buckets) > MOST_BUCKETS:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end((kind, whose))
        bucket.tokens = min(float(rate.burst), bucket.tokens + (now - bucket.at) * rate.per_second)
        bucket.at = now
        if bucket.tokens < 1:
            raise LimitExceeded(int((1 - bucket.tokens) / rate.per_second * 1000) + 1)
        bucket.tokens -= tokens
