"""The `Telemetry` port over Prometheus collectors, made from the table of metrics."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
    start_http_server,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.openmetrics import exposition as openmetrics

from syncbridge.ports import Clock
from syncbridge.telemetry.metrics import METRICS
from syncbridge.telemetry.shape import Feed, Metric

CONTENT_TYPE = CONTENT_TYPE_LATEST
_OPENMETRICS = "application/openmetrics-text"
LABELS_MAX = 64
"""Values of one label; the next ones are counted as `other`, so that a peer's choice never grows the page."""
ROUTES_MAX = 1_000

Collector = Counter | Gauge | Histogram
Move = Callable[[float], None]


class PrometheusTelemetry:
    """Counts what happens; `page` is what a scrape gets.

    Cost      a figure with a label seen before is two dictionary look-ups and one addition: the children are kept.
    Bounded   at most `LABELS_MAX` values a label.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._collectors: dict[str, Collector] = {metric.name: self._make(metric) for metric in METRICS}
        self._feeds: dict[str, list[tuple[Metric, Feed]]] = {}
        self._moves: dict[tuple[str, str], list[Move]] = {}
        self._labels: dict[str, set[str]] = {metric.name: set(metric.known) for metric in METRICS}
        for metric in METRICS:
            for feed in metric.feeds:
                self._feeds.setdefault(feed.figure, []).append((metric, feed))
            if len(metric.labels) == 1:
                for value in metric.known:
                    self._collectors[metric.name].labels(value)
        self._requests: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._rate("offline_sync_success_rate", "offline_syncs_total")
        self._rate("session_continuity_rate", "session_continuity_total")

    def measured(self, name: str, value: float, label: str = "") -> None:
        """The figure is in every metric that takes it."""
        moves = self._moves.get((name, label))
        if moves is None:
            moves = self._bind(name, label)
        for move in moves:
            move(value)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """One REST request was answered; ``route`` is a template of ours, never a path of the peer's."""
        pair = self._requests.get((method, route, status))
        if pair is None:
            if len(self._requests) >= ROUTES_MAX:
                method, route = "other", "other"
            pair = (
                self._counter("http_requests_total").labels(method, route, str(status)),
                self._durations(method, route),
            )
            self._requests[method, route, status] = pair
        pair[0].inc()
        pair[1].observe(seconds)

    def built(self, *, version: str, python: str, core: str) -> None:
        """`syncbridge_build_info` says what this process is made of."""
        collector = self._collectors["syncbridge_build_info"]
        assert isinstance(collector, Gauge)
        collector.labels(version, python, core).set(1)

    def page(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self.registry)

    def exposed(self, accept: str) -> tuple[bytes, str]:
        """The page and its content type: OpenMetrics for who takes it, else Prometheus' text format.

        Which version is ours to choose, whatever the header asks for: it is a stranger's.
        """
        if _OPENMETRICS in accept:
            page: bytes = openmetrics.generate_latest(self.registry)  # type: ignore[no-untyped-call]
            return page, openmetrics.CONTENT_TYPE_LATEST
        return self.page(), CONTENT_TYPE

    def publish(self, host: str, port: int) -> tuple[int, Callable[[], None]]:
        """The page is served at this address by a thread of its own; (the port, what ends it). Raises OSError."""
        server, thread = start_http_server(port, host, self.registry)

        def end() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return server.server_port, end

    def _counter(self, name: str) -> Counter:
        collector = self._collectors[name]
        assert isinstance(collector, Counter)
        return collector

    def _durations(self, method: str, route: str) -> Histogram:
        collector = self._collectors["http_request_duration_seconds"]
        assert isinstance(collector, Histogram)
        return collector.labels(method, route)

    def _bind(self, name: str, label: str) -> list[Move]:
        feeds = self._feeds.get(name)
        if feeds is None:
            unknown = self._counter("unknown_figures_total").labels(self._bounded("unknown_figures_total", name))
            return self._keep(name, label, [lambda _value: unknown.inc()])
        moves = []
        for metric, feed in feeds:
            collector = self._collectors[metric.name]
            if metric.labels:
                collector = collector.labels(feed.fixed or self._bounded(metric.name, label or "none"))
            moves.append(self._move(collector, feed))
        return self._keep(name, label, moves)

    def _keep(self, name: str, label: str, moves: list[Move]) -> list[Move]:
        if len(self._moves) < LABELS_MAX * len(METRICS):
            self._moves[name, label] = moves
        return moves

    def _bounded(self, metric: str, label: str) -> str:
        seen = self._labels[metric]
        if label not in seen and len(seen) >= LABELS_MAX:
            return "other"
        seen.add(label)
        return label

    def _move(self, collector: Collector, feed: Feed) -> Move:
        if isinstance(collector, Histogram):
            observe = collector.observe
            if feed.how == "observe_ms":
                return lambda value: observe(value / 1000)
            if feed.how == "observe_since":
                return lambda value: observe(max(0.0, self._clock.now_ms() - value) / 1000)
            return observe
        if isinstance(collector, Gauge):
            return collector.set
        if feed.fixed:
            # The figure's value belongs to another metric; here it is one event.
            return lambda _value: collector.inc()
        return collector.inc

    def _make(self, metric: Metric) -> Collector:
        if metric.kind == "counter":
            return Counter(metric.name, metric.meaning, metric.labels, registry=self.registry)
        if metric.kind == "gauge":
            return Gauge(metric.name, metric.meaning, metric.labels, registry=self.registry)
        return Histogram(metric.name, metric.meaning, metric.labels, registry=self.registry, buckets=metric.buckets)

    def _rate(self, gauge_name: str, counter_name: str) -> None:
        gauge, counter = self._collectors[gauge_name], self._collectors[counter_name]

        def rate() -> float:
            counts = {
                sample.labels["outcome"]: sample.value
                for family in counter.collect()
                for sample in family.samples
                if sample.name == counter_name
            }
            total = sum(counts.values())
            return counts.get("kept", 0.0) / total if total else 1.0

        if isinstance(gauge, Gauge):
            gauge.set_function(rate)
