"""What is counted, in a registry of our own, and how it is written for Prometheus.

One `Metrics` is made by the composition root and handed to whoever counts. Labels come from closed sets
(routes, methods, statuses), never from what a client sends, so that the number of series stays bounded.
"""

from collections.abc import Callable, Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from homeserver.clock import Clock
from homeserver.model.sending import NOTHING_SENT, SendingFigures

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
LAG_INTERVAL_SECONDS = 0.125

FAST_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
REQUEST_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Every series of the server; each method counts one thing."""

    def __init__(self) -> None:
        """Make the series in a registry of their own, so that several servers fit into one process."""
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._requests = Counter(
            "isthmus_http_requests",
            "Requests answered.",
            ["endpoint", "method", "status"],
            registry=self.registry,
        )
        self._request_seconds = Histogram(
            "isthmus_http_request_seconds",
            "Time from the request to its answer; long polls include their wait.",
            ["endpoint", "method"],
            buckets=REQUEST_SECONDS,
            registry=self.registry,
        )
        self._of_requests: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._pending = Gauge(
            "isthmus_http_requests_pending", "Requests that are being worked on.", registry=self.registry
        )
        self._batch_size = Histogram(
            "isthmus_database_write_batch_size",
            "Writes that shared one commit.",
            buckets=BATCH_SIZES,
            registry=self.registry,
        )
        self._batch_seconds = Histogram(
            "isthmus_database_write_seconds",
            "Time of a batch of writes with its commit.",
            buckets=FAST_SECONDS,
            registry=self.registry,
        )
        self._lag = Histogram(
            "isthmus_event_loop_lag_seconds",
            "How late the event loop wakes a task that asked for it.",
            buckets=FAST_SECONDS,
            registry=self.registry,
        )
        self._asked = Counter(
            "isthmus_federation_requests_sent",
            "Requests to other servers.",
            ["outcome"],
            registry=self.registry,
        )
        self._waiters = Gauge("isthmus_live_waiters", "Long polls that wait for news.", registry=self.registry)

        self._sending = _Sending()
        self.registry.register(self._sending)

    def request_answered(self, endpoint: str, method: str, status: int, seconds: float) -> None:
        """Count a request; `endpoint` is the path as the route has it, with names for its parts."""
        series = self._of_requests.get((endpoint, method, status))
        if series is None:
            series = (
                self._requests.labels(endpoint, method, str(status)),
                self._request_seconds.labels(endpoint, method),
            )
            self._of_requests[endpoint, method, status] = series
        series[0].inc()
        series[1].observe(seconds)

    def watch_pending(self, count: Callable[[], int]) -> None:
        """Take the number of requests that are being worked on from `count` whenever it is asked for."""
        self._pending.set_function(count)

    def batch_written(self, writes: int, seconds: float) -> None:
        """Count a commit of the database and how many writes shared it."""
        self._batch_size.observe(writes)
        self._batch_seconds.observe(seconds)

    def server_asked(self, outcome: str) -> None:
        """Count a request to another server; `outcome` is one of a few. Servers are too many to have a series each."""
        self._asked.labels(outcome).inc()

    def watch_waiters(self, count: Callable[[], int]) -> None:
        """Take the number of waiting long polls from `count` whenever it is asked for."""
        self._waiters.set_function(count)

    def watch_sending(self, figures: Callable[[], SendingFigures]) -> None:
        """Take how the sending to other servers goes from `figures` whenever it is asked for."""
        self._sending.figures = figures

    async def sample_lag(self, clock: Clock) -> None:
        """Measure, until cancelled, how late the event loop is."""
        while True:
            asked = clock.monotonic()
            await clock.sleep(LAG_INTERVAL_SECONDS)
            self._lag.observe(max(0.0, clock.monotonic() - asked - LAG_INTERVAL_SECONDS))

    def page(self) -> bytes:
        """Return all series as Prometheus reads them; its type is `CONTENT_TYPE`."""
        return generate_latest(self.registry)


class _Sending(Collector):
    """Federation: all destinations together, by name only the few that have been failing longest."""

    figures: Callable[[], SendingFigures] = staticmethod(lambda: NOTHING_SENT)

    def collect(self) -> Iterator[Metric]:
        now = self.figures()
        by_condition = GaugeMetricFamily(
            "isthmus_federation_destinations",
            "Servers for which something waits or which fail, by condition.",
            labels=["condition"],
        )
        for condition, count in now.destinations.items():
            by_condition.add_metric([condition], count)
        yield by_condition
        failing = GaugeMetricFamily(
            "isthmus_federation_destination_failing_seconds",
            "How long servers have been failing; those that have longest.",
            labels=["destination"],
        )
        for server, seconds in now.failing_longest:
            failing.add_metric([server], seconds)
        yield failing
        yield GaugeMetricFamily("isthmus_federation_queued", "Events and EDUs that wait in memory.", value=now.queued)
        yield GaugeMetricFamily(
            "isthmus_federation_behind", "Servers for which more waits than is in memory.", value=now.behind
        )
        transactions = CounterMetricFamily(
            "isthmus_federation_transactions", "Transactions sent, by outcome.", labels=["outcome"]
        )
        transactions.add_metric(["taken"], now.transactions)
        transactions.add_metric(["failed"], now.failures)
        yield transactions
        sent = CounterMetricFamily("isthmus_federation_sent", "Events and EDUs that servers took.", labels=["kind"])
        sent.add_metric(["pdu"], now.pdus)
        sent.add_metric(["edu"], now.edus)
        yield sent
        yield CounterMetricFamily(
            "isthmus_federation_refused", "Events that other servers did not accept.", value=now.refused
        )
