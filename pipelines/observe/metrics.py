"""A line's figures for Prometheus, counted from the flow's events and served over HTTP. It keeps none of them.

docs/observability.md lists them. Each has the label `line`; those that an alert may wait for are there, at zero, from
the start.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from types import TracebackType

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from inspect_compress.errors import ConfigError
from pipelines.flow.events import (
    Alarm,
    Captured,
    Degraded,
    Dropped,
    Event,
    Failed,
    Finished,
    Gap,
    Judged,
    Spilled,
    Stalled,
    Started,
    Stored,
    Timed,
    Waiting,
)
from pipelines.observe.config import MetricsConfig
from pipelines.policy import DEGRADED

PREFIX = "inspect_compress"
STAGE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""Upper bounds of the latency histogram's buckets: from one step of a small frame to a store that hangs."""
AGE_SECONDS = (0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600)
"""The same for the time from a frame's capture to its commit; a backlog takes an hour to work off, not a minute."""
PSNR_DB = (25, 30, 32, 34, 36, 38, 40, 42, 44, 46, 48, 50, 55, 60)
"""The same for the fidelity of the frames that compression changed."""
CHECKS = ("compress", "read back", "decode")
"""The stages in which a frame that fails has failed a check of its bytes or its picture."""


class Metrics:
    """An observer that counts events, and an HTTP server at `/metrics`, for as long as its context lasts."""

    def __init__(self, config: MetricsConfig, line: str) -> None:
        self._config, self._line = config, line
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)

        self._captured = self._counter("frames_captured", "Frames taken from the source.")
        self._stored = self._counter("frames_stored", "Frames committed to the archive.")
        self._spilled = self._counter("frames_spilled", "Frames written to the spool because compression was behind.")
        self._degraded = self._counter("frames_degraded", "Frames encoded at a lower quality because it was behind.")
        self._dropped = self._counter("frames_dropped", "Frames given up; each is in the ledger.")
        self._failed = self._counter("frames_failed", "Frames that failed in a stage; each is in the ledger.")
        self._missing = self._counter("frames_missing", "Frames that never came, by gaps in the source's numbers.")
        self._raw_bytes = self._counter("captured_bytes", "Bytes of the captured frames' samples.")
        self._stored_bytes = self._counter("stored_bytes", "Bytes of the stored files.")
        self._stored_pixels = self._counter("stored_pixels", "Pixels of the stored frames.")
        self._verify_failures = self._counter("verify_failures", "Frames of which an encoding did not pass a check.")
        self._fallbacks = self._counter("fallbacks", "Frames stored otherwise, as what was asked for did not pass.")
        self._stalls = self._counter("source_stalls", "Times that the source delivered nothing for too long.")
        self._alarms = self._counter("alarms", "Alarms raised.")
        verdicts = self._counters("verdicts", "Verdicts of the detector on decoded frames.", "verdict")
        self._verdicts = {False: verdicts.labels(line, "good"), True: verdicts.labels(line, "defective")}

        self._waiting = self._gauges("frames_waiting", "Frames that wait in a queue.", "queue")
        self._limit = self._gauges("frames_waiting_limit", "Most frames that a queue holds.", "queue")
        self._stalled = self._gauge("source_stalled", "1 while the source delivers nothing, else 0.")
        self._last_captured = self._gauge("last_captured_timestamp_seconds", "When the last frame was captured.")
        self._last_stored = self._gauge("last_stored_timestamp_seconds", "When the last frame was committed.")
        self._last_alarm = self._gauges("last_alarm_timestamp_seconds", "When an alarm was last raised.", "kind")
        self._info = self._gauges("line_info", "1; the model that the line encodes with is a label.", "model")
        self._running = self._gauge("running", "1 from a run's start to its end, else 0.")

        self._stage_seconds = Histogram(
            f"{PREFIX}_stage_seconds",
            "Time that a stage took for a frame.",
            ["line", "stage"],
            buckets=STAGE_SECONDS,
            registry=self.registry,
        )
        self._age = self._histogram("frame_age_seconds", "Time from a frame's capture to its commit.", AGE_SECONDS)
        self._psnr = self._histogram("psnr_db", "PSNR of the stored frames that compression changed.", PSNR_DB)

    def __enter__(self) -> "Metrics":
        host, port = self._config.host, self._config.port
        try:
            self._server, self._thread = start_http_server(port, host, self.registry)
        except OSError as error:
            raise ConfigError(
                f"[metrics] port: {host}:{port} cannot be opened: {error.strerror or error}; "
                "another line may be using it; give each line a port of its own"
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def __call__(self, event: Event) -> None:
        """Count the event."""
        match event:
            case Captured():
                self._captured.inc()
                self._raw_bytes.inc(event.raw_bytes)
                self._last_captured.set_to_current_time()
                self._stalled.set(0)
            case Spilled():
                self._spilled.inc()
            case Degraded():
                self._degraded.inc()
            case Dropped():
                self._dropped.inc(event.count)
            case Gap():
                self._missing.inc(event.count)
            case Stored():
                self._count_stored(event)
            case Judged():
                self._verdicts[bool(event.defective)].inc()
            case Failed():
                self._failed.inc()
                if event.stage in CHECKS:
                    self._verify_failures.inc()
            case Timed():
                self._stage_seconds.labels(self._line, event.stage).observe(event.seconds)
            case Waiting():
                self._waiting.labels(self._line, event.queue).set(event.depth)
                self._limit.labels(self._line, event.queue).set(event.limit)
            case Stalled():
                self._stalls.inc()
                self._stalled.set(1)
            case Alarm():
                self._alarms.inc()
                self._last_alarm.labels(self._line, event.kind).set_to_current_time()
            case Started():
                self._running.set(1)
                self._info.labels(self._line, event.model).set(1)
            case Finished():
                self._running.set(0)

    def count(self, name: str, help_text: str, value: Callable[[], float]) -> None:
        """Expose a count that something else keeps."""
        self.registry.register(_Read(CounterMetricFamily, name, help_text, self._line, value))

    def watch(self, name: str, help_text: str, value: Callable[[], float]) -> None:
        """Expose a figure that something else keeps."""
        self.registry.register(_Read(GaugeMetricFamily, name, help_text, self._line, value))

    def _count_stored(self, event: Stored) -> None:
        self._stored.inc()
        self._stored_bytes.inc(event.bytes)
        self._stored_pixels.inc(event.width * event.height)
        self._last_stored.set_to_current_time()
        self._age.observe(max(0.0, (datetime.now(UTC) - event.captured_at).total_seconds()))
        if event.psnr is not None:
            self._psnr.observe(event.psnr)
        if event.fallback and not event.fallback.startswith(DEGRADED):
            self._fallbacks.inc()
            self._verify_failures.inc()

    def _counter(self, name: str, help_text: str) -> Counter:
        return Counter(f"{PREFIX}_{name}", help_text, ["line"], registry=self.registry).labels(self._line)

    def _counters(self, name: str, help_text: str, label: str) -> Counter:
        return Counter(f"{PREFIX}_{name}", help_text, ["line", label], registry=self.registry)

    def _gauge(self, name: str, help_text: str) -> Gauge:
        return Gauge(f"{PREFIX}_{name}", help_text, ["line"], registry=self.registry).labels(self._line)

    def _gauges(self, name: str, help_text: str, label: str) -> Gauge:
        return Gauge(f"{PREFIX}_{name}", help_text, ["line", label], registry=self.registry)

    def _histogram(self, name: str, help_text: str, buckets: Sequence[float]) -> Histogram:
        family = Histogram(f"{PREFIX}_{name}", help_text, ["line"], buckets=buckets, registry=self.registry)
        return family.labels(self._line)


class _Read(Collector):
    """A figure that is read when Prometheus asks for it."""

    def __init__(
        self,
        family: type[CounterMetricFamily] | type[GaugeMetricFamily],
        name: str,
        help_text: str,
        line: str,
        value: Callable[[], float],
    ) -> None:
        self._family, self._name, self._help, self._line, self._value = family, name, help_text, line, value

    def collect(self) -> Iterable[Metric]:
        family = self._family(f"{PREFIX}_{self._name}", self._help, labels=["line"])
        family.add_metric([self._line], self._value())
        return [family]
