"""A server that fails is tried again gently, and at once when it is heard from."""

from hypothesis import given
from hypothesis import strategies as st

from federation.matrix.backoff import JITTER, LONGEST_MS, SHORTEST_MS, Backoff, after_failure, after_hearing

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
MIDDLE = 0.5


def failing(for_ms: int) -> tuple[Backoff, int]:
    """Fail as often as one may for so long; return the state then, and how many attempts that were."""
    backoff, attempts = after_failure(None, 0, MIDDLE), 1
    while backoff.due <= for_ms:
        backoff = after_failure(backoff, backoff.due, MIDDLE)
        attempts += 1
    return backoff, attempts


def test_the_first_attempt_after_a_failure_comes_soon() -> None:
    assert after_failure(None, 1000, MIDDLE) == Backoff(1000, 1000, 2000)


def test_a_server_that_was_away_for_a_minute_is_tried_again_within_ten_seconds() -> None:
    backoff, _ = failing(MINUTE)
    assert backoff.due - MINUTE <= 10_000


def test_a_server_that_is_away_for_good_is_tried_once_an_hour() -> None:
    backoff, first = failing(DAY)
    _, second = failing(2 * DAY)
    assert backoff.due - backoff.tried_at == LONGEST_MS
    assert second - first == 24
    assert first < 120


@given(st.integers(0, 400 * DAY), st.floats(0, 1))
def test_the_wait_is_within_its_bounds(away: int, chance: float) -> None:
    backoff = after_failure(Backoff(0, 0, 0), away, chance)
    assert SHORTEST_MS * (1 - JITTER) - 1 <= backoff.due - away <= LONGEST_MS


def test_a_server_that_asks_to_be_left_alone_is() -> None:
    assert after_failure(None, 0, MIDDLE, asked_ms=5 * MINUTE).due == 5 * MINUTE
    assert after_failure(None, 0, MIDDLE, asked_ms=5 * DAY).due == LONGEST_MS


def test_hearing_from_a_server_ends_the_wait_at_once() -> None:
    backoff, _ = failing(DAY)
    assert after_hearing(backoff, DAY).due == DAY


def test_a_server_that_speaks_and_cannot_be_reached_is_tried_less_and_less_often() -> None:
    backoff, _ = failing(DAY)
    now, waits = DAY, []
    for _ in range(12):
        backoff = after_hearing(backoff, now)
        waits.append(backoff.due - now)
        now = backoff.due
        backoff = after_failure(backoff, now, MIDDLE)
    assert waits[:4] == [0, 2_000, 4_000, 8_000]
    assert waits[-1] == 600_000


def test_the_wait_after_hearing_starts_anew_once_the_server_has_been_silent_for_a_while() -> None:
    backoff, _ = failing(DAY)
    backoff = after_failure(after_hearing(backoff, DAY), DAY, MIDDLE)
    backoff = after_failure(backoff, backoff.due, MIDDLE)
    assert after_hearing(backoff, backoff.tried_at + 10).due == backoff.tried_at + 10
