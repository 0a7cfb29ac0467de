"""What Prometheus reads."""

import asyncio
import contextlib

from homeserver.metrics import Metrics


class SlowClock:
    """A clock on which every wait takes a quarter of a second too long."""

    def __init__(self) -> None:
        self.time = 0.0
        self.waits = 0

    def now_ms(self) -> int:
        return int(self.time * 1000)

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds + 0.25
        self.waits += 1
        if self.waits > 2:
            raise asyncio.CancelledError


def test_requests_are_counted_by_endpoint_method_and_status() -> None:
    metrics = Metrics()
    metrics.request_answered("/sync", "GET", 200, 0.02)
    metrics.request_answered("/sync", "GET", 200, 0.3)
    metrics.request_answered("/sync", "GET", 401, 0.001)

    page = metrics.page().decode()
    assert 'isthmus_http_requests_total{endpoint="/sync",method="GET",status="200"} 2.0' in page
    assert 'isthmus_http_requests_total{endpoint="/sync",method="GET",status="401"} 1.0' in page
    assert 'isthmus_http_request_seconds_bucket{endpoint="/sync",le="0.025",method="GET"} 2.0' in page


def test_commits_and_the_writes_that_share_them_are_counted() -> None:
    metrics = Metrics()
    metrics.batch_written(3, 0.004)

    page = metrics.page().decode()
    assert "isthmus_database_write_batch_size_sum 3.0" in page
    assert 'isthmus_database_write_seconds_bucket{le="0.005"} 1.0' in page


def test_pending_requests_and_waiters_are_what_they_are_now() -> None:
    metrics = Metrics()
    metrics.watch_waiters(lambda: 7)
    pending = [1, 2]
    metrics.watch_pending(lambda: len(pending))
    assert "isthmus_http_requests_pending 2.0" in metrics.page().decode()

    pending.clear()
    assert "isthmus_http_requests_pending 0.0" in metrics.page().decode()
    assert "isthmus_live_waiters 7.0" in metrics.page().decode()


def test_requests_to_other_servers_are_counted_by_how_they_ended() -> None:
    metrics = Metrics()
    metrics.server_asked("ok")
    metrics.server_asked("unreachable")
    metrics.server_asked("ok")

    page = metrics.page().decode()
    assert 'isthmus_federation_requests_sent_total{outcome="ok"} 2.0' in page
    assert 'isthmus_federation_requests_sent_total{outcome="unreachable"} 1.0' in page


async def test_the_lag_of_the_event_loop_is_measured() -> None:
    metrics = Metrics()
    with contextlib.suppress(asyncio.CancelledError):
        await metrics.sample_lag(SlowClock())

    assert "isthmus_event_loop_lag_seconds_sum 0.5" in metrics.page().decode()


def test_two_servers_in_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.batch_written(1, 0.1)
    assert "isthmus_database_write_seconds_count 0.0" in other.page().decode()


def test_the_process_is_measured_too() -> None:
    assert "process_resident_memory_bytes" in Metrics().page().decode()
