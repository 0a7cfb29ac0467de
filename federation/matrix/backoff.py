"""When to try again to reach a server that failed. Pure: the time and chance are given.

The wait grows with how long the server has been failing: an eighth of that, so one that was away for a minute is tried
again within seconds, one that was away for a night every hour and no more often. It ends at once when the server is
heard from, since whoever speaks is there. Some servers speak and cannot be reached, behind a firewall for instance;
so each attempt that was made for that reason and failed doubles the time until the next one of its kind.
"""

from dataclasses import dataclass

SHORTEST_MS = 1_000
LONGEST_MS = 3_600_000
SHARE = 8
"""The wait is this part of the time for which the server has been failing."""
JITTER = 0.2
"""So much of the wait, up or down, is chance, so that those which failed together are not tried again together."""
FIRST_HUSH_MS = 2_000
LONGEST_HUSH_MS = 600_000


@dataclass(frozen=True, slots=True)
class Backoff:
    """How a server has been failing; all times are milliseconds since 1970."""

    failing_since: int
    tried_at: int
    retry_at: int
    heard_at: int | None = None
    """When it was heard from, if that was after the last attempt."""
    failed_after_hearing: int = 0
    """Attempts in a row that were made because it was heard from, and failed."""

    @property
    def due(self) -> int:
        """When to try again."""
        if self.heard_at is None:
            return self.retry_at
        failed = self.failed_after_hearing
        hush = min(FIRST_HUSH_MS << min(failed - 1, 20), LONGEST_HUSH_MS) if failed else 0
        return min(self.retry_at, max(self.heard_at, self.tried_at + hush))


def after_failure(before: Backoff | None, now: int, chance: float, asked_ms: int | None = None) -> Backoff:
    """Return when to try again after an attempt that ended at `now`.

    `before` is None if the attempt before it went well. `chance` is from 0 to 1. `asked_ms` is how long the other
    server asks to be left alone.
    """
    since = before.failing_since if before is not None else now
    wait = min(max((now - since) // SHARE, SHORTEST_MS), LONGEST_MS)
    wait = int(wait * (1 - JITTER + 2 * JITTER * chance))
    wait = min(max(wait, asked_ms or 0), LONGEST_MS)
    failed = before.failed_after_hearing + 1 if before is not None and before.heard_at is not None else 0
    return Backoff(since, now, now + wait, None, failed)


def after_hearing(before: Backoff, now: int) -> Backoff:
    """Return when to try again now that the server was heard from."""
    if before.heard_at is not None:
        return before
    return Backoff(before.failing_since, before.tried_at, before.retry_at, now, before.failed_after_hearing)
