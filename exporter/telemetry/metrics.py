"""The exporter's own metrics: direct instrumentation on a registry of its own.

Models' metrics never pass through here.  Counters stand at 0 from the first scrape, for every reason that is
known; a time or a size that is not known yet is absent.
"""

from __future__ import annotations

import platform
import threading
from collections import Counter as Tally
from collections.abc import Iterable, Mapping
from typing import Final, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from exporter.contracts import Clock, MetricSpec, SourceStatus

FAILURE_REASONS: Final = ("unavailable", "denied", "timeout", "data", "error")
"""The reasons of `errors.SourceError` and its kinds."""

_BUCKETS: Final = (0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0)
_SOURCE: Final = ("model", "role")
_PROBE: Final = ("target", "probe")


def _spec(name: str, kind: str, text: str, *labels: str) -> MetricSpec:
    return MetricSpec(f"model_exporter_{name}", kind, text, labels)  # type: ignore[arg-type]


SPECS: Final = (
    _spec("build_info", "gauge", "Always 1; what is running.", "version", "python_version"),
    _spec("config_last_reload_successful", "gauge", "Whether the last attempt to load the config worked: 1 or 0."),
    _spec("config_last_reload_success_timestamp_seconds", "gauge", "When a config was last loaded."),
    _spec("loop_last_tick_timestamp_seconds", "gauge", "When the cycle last showed that it is alive."),
    _spec("cycle_duration_seconds", "histogram", "Time of one cycle, from rows to snapshot."),
    _spec("commit_duration_seconds", "histogram", "Time of one durable commit of the state."),
    _spec("state_up", "gauge", "Whether the last commit of the state worked: 1 or 0."),
    _spec("state_bytes", "gauge", "Size of the state."),
    _spec("state_corruptions_total", "counter", "State that could not be read and was moved aside."),
    _spec("series", "gauge", "Series of models in this snapshot; the exporter's own come on top."),
    _spec("series_dropped_total", "counter", "Series left out of snapshots.", "reason"),
    _spec("source_up", "gauge", "Whether the last poll of the source worked: 1 or 0; 0 before the first.", *_SOURCE),
    _spec("source_last_success_timestamp_seconds", "gauge", "When the last poll that worked ended.", *_SOURCE),
    _spec("source_stale_after_seconds", "gauge", "Silence after which the source counts as stale.", *_SOURCE),
    _spec("source_newest_record_timestamp_seconds", "gauge", "Newest event time read from the source.", *_SOURCE),
    _spec("source_poll_duration_seconds", "histogram", "Time of one poll, failed ones included.", *_SOURCE),
    _spec("source_polls_total", "counter", "Polls that ended, failed ones included.", *_SOURCE),
    _spec("source_poll_failures_total", "counter", "Polls that failed.", *_SOURCE, "reason"),
    _spec("source_rows_total", "counter", "Rows read and accepted.", *_SOURCE),
    _spec("source_rows_skipped_total", "counter", "Records passed over because the config says so.", *_SOURCE),
    _spec("source_rows_rejected_total", "counter", "Rows refused.", *_SOURCE, "reason"),
    _spec(
        "source_rows_folded_total",
        "counter",
        "Rows whose value of a label is beyond that label's limit, and counts as `other`.",
        *_SOURCE,
        "label",
    ),
    _spec("source_backoff_seconds", "gauge", "Wait before a failed source is asked again; 0 if it works.", *_SOURCE),
    _spec("probe_up", "gauge", "Whether the last look of the probe worked: 1 or 0; 0 before the first.", *_PROBE),
    _spec("probe_failures_total", "counter", "Looks that failed.", *_PROBE, "reason"),
    _spec("probe_duration_seconds", "histogram", "Time of one look, failed ones included.", *_PROBE),
)
"""The catalogue of own metrics; `process_*` and `python_info` stand beside them."""

_BY_NAME: Final = {spec.name.removeprefix("model_exporter_"): spec for spec in SPECS}
_Metric = TypeVar("_Metric", bound=MetricWrapperBase)


class Telemetry:
    """All own metrics of a process; every method may be called from any thread.

    *drop_reasons* are the reasons of dropped series that shall stand at 0 from the start.
    """

    def __init__(self, version: str, drop_reasons: Iterable[str] = (), clock: Clock | None = None) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # Prometheus advises against paying for them in text
        self._clock = clock or Clock()
        self._lock = threading.Lock()
        self._registry = CollectorRegistry()
        self._shown: set[Gauge] = set()
        self._sources: dict[tuple[str, str], SourceTelemetry] = {}
        self._metrics: dict[str, MetricWrapperBase] = {}
        self._build(version)
        dropped = self._counter("series_dropped_total")
        self._dropped = {reason: dropped.labels(reason) for reason in drop_reasons}

    def _build(self, version: str) -> None:
        for name, spec in _BY_NAME.items():
            is_late = spec.type == "gauge" and not spec.labels  # not shown before it is known
            registry = None if is_late else self._registry
            if spec.type == "histogram":
                self._metrics[name] = Histogram(spec.name, spec.help, spec.labels, registry=registry, buckets=_BUCKETS)
            else:
                kind = Counter if spec.type == "counter" else Gauge
                self._metrics[name] = kind(spec.name, spec.help, spec.labels, registry=registry)
        self._gauge("build_info").labels(version, platform.python_version()).set(1)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)

    # --- the process --------------------------------------------------------------------------------

    def config_loaded(self) -> None:
        """A config was read and is in use."""
        self._set("config_last_reload_successful", 1)
        self._set("config_last_reload_success_timestamp_seconds", self._clock.wall())

    def config_refused(self) -> None:
        """A config was refused; the one before it, if there is one, stays in use."""
        self._set("config_last_reload_successful", 0)

    def ticked(self) -> None:
        """The cycle is alive."""
        self._set("loop_last_tick_timestamp_seconds", self._clock.wall())

    def cycle_ended(self, seconds: float, series: int) -> None:
        """A cycle took *seconds* and left a snapshot of *series*."""
        self._histogram("cycle_duration_seconds").observe(seconds)
        self._set("series", series)

    def shown(self, series: int) -> None:
        """The snapshot that is being made has so many *series* of models."""
        self._set("series", series)

    def series_dropped(self, reason: str, count: int = 1) -> None:
        child = self._dropped.get(reason)
        if child is None:
            child = self._dropped[reason] = self._counter("series_dropped_total").labels(reason)
        child.inc(count)

    def committed(self, seconds: float, size: int) -> None:
        """The state was made durable in *seconds* and has *size* bytes."""
        self._histogram("commit_duration_seconds").observe(seconds)
        self._set("state_bytes", size)
        self._set("state_up", 1)

    def commit_failed(self) -> None:
        self._set("state_up", 0)

    def state_was_corrupt(self) -> None:
        """State could not be read and was moved aside."""
        self._counter("state_corruptions_total").inc()

    # --- sources ------------------------------------------------------------------------------------

    def source(self, model: str, role: str, kind: str, refusal_reasons: Iterable[str] = ()) -> SourceTelemetry:
        """What is said of one source; the same object for the same *model* and *role*, until it is removed."""
        with self._lock:
            if (model, role) not in self._sources:
                self._sources[model, role] = SourceTelemetry(self, model, role, kind, refusal_reasons)
            return self._sources[model, role]

    def remove_source(self, model: str, role: str) -> None:
        """Drop the series of a source that the config no longer has, and that no thread polls any more."""
        with self._lock:
            self._sources.pop((model, role), None)
            for name, spec in _BY_NAME.items():
                if spec.labels[:2] == _SOURCE:
                    self._metrics[name].remove_by_labels({"model": model, "role": role})

    def probe(self, target: str, kind: str) -> ProbeTelemetry:
        """What is said of one probe of a target; the same series for the same words."""
        return ProbeTelemetry(self, target, kind)

    def remove_probe(self, target: str, kind: str) -> None:
        """Drop the series of a probe that the config no longer has, and that nobody looks through any more."""
        with self._lock:
            for name, spec in _BY_NAME.items():
                if spec.labels[:2] == _PROBE:
                    self._metrics[name].remove_by_labels({"target": target, "probe": kind})

    # --- out ----------------------------------------------------------------------------------------

    def render(self) -> bytes:
        """All own metrics in text format 0.0.4."""
        return generate_latest(self._registry)

    def render_openmetrics(self) -> bytes:
        """All own metrics in OpenMetrics 1.0.0, without the `# EOF` that ends a whole exposition."""
        whole: bytes = generate_openmetrics(self._registry)  # type: ignore[no-untyped-call]
        return whole.removesuffix(b"# EOF\n")

    # --- in -----------------------------------------------------------------------------------------

    def _get(self, name: str, kind: type[_Metric]) -> _Metric:
        metric = self._metrics[name]
        if not isinstance(metric, kind):
            raise TypeError(f"{name} is no {kind.__name__}")
        return metric

    def _counter(self, name: str) -> Counter:
        return self._get(name, Counter)

    def _gauge(self, name: str) -> Gauge:
        return self._get(name, Gauge)

    def _histogram(self, name: str) -> Histogram:
        return self._get(name, Histogram)

    def _set(self, name: str, value: float) -> None:
        gauge = self._gauge(name)
        gauge.set(value)
        with self._lock:
            if gauge not in self._shown:
                self._registry.register(gauge)
                self._shown.add(gauge)


class SourceTelemetry:
    """One source's own metrics, and its status for the web page; driven by the thread that polls the source."""

    def __init__(
        self, telemetry: Telemetry, model: str, role: str, kind: str, refusal_reasons: Iterable[str] = ()
    ) -> None:
        self._clock = telemetry._clock  # noqa: SLF001 - the two classes are one thing in two scopes
        self._names = (model, role, kind)
        self._up: bool | None = None
        self._newest: float | None = None
        self._last_success: float | None = None
        self._last_error: str | None = None
        self._row_count = 0
        self._refused: Tally[str] = Tally()
        self._folded: Tally[str] = Tally()

        counter, gauge = telemetry._counter, telemetry._gauge  # noqa: SLF001
        self._failures, self._rejected = counter("source_poll_failures_total"), counter("source_rows_rejected_total")
        self._folded_rows = counter("source_rows_folded_total")
        self._last_success_gauge = gauge("source_last_success_timestamp_seconds")
        self._newest_gauge = gauge("source_newest_record_timestamp_seconds")
        self._stale_after = gauge("source_stale_after_seconds")
        self._polls = counter("source_polls_total").labels(model, role)
        self._rows = counter("source_rows_total").labels(model, role)
        self._skipped = counter("source_rows_skipped_total").labels(model, role)
        self._up_gauge = gauge("source_up").labels(model, role)
        self._backoff = gauge("source_backoff_seconds").labels(model, role)
        self._duration = telemetry._histogram("source_poll_duration_seconds").labels(model, role)  # noqa: SLF001
        for reason in FAILURE_REASONS:
            self._failures.labels(model, role, reason)
        for reason in refusal_reasons:
            self._rejected.labels(model, role, reason)

    def stale_after(self, seconds: float) -> None:
        """The source counts as stale when no poll has worked for *seconds*."""
        self._stale_after.labels(*self._names[:2]).set(seconds)

    def polled(self, seconds: float) -> None:
        """A poll worked and took *seconds*; called once its rows are accepted."""
        self._ended(seconds, up=True)
        self._last_success = self._clock.wall()
        self._last_success_gauge.labels(*self._names[:2]).set(self._last_success)
        self._last_error = None
        self._backoff.set(0)

    def failed(self, reason: str, seconds: float, message: str, backoff: float = 0.0) -> None:
        """A poll failed after *seconds*; *message* (no secret, no raw record) is shown on the web page."""
        self._ended(seconds, up=False)
        self._failures.labels(*self._names[:2], reason).inc()
        self._last_error = message
        self._backoff.set(backoff)

    def rows(self, count: int, skipped: int = 0) -> None:
        """*count* rows were accepted, *skipped* records passed over because the config says so."""
        self._row_count += count
        self._rows.inc(count)
        self._skipped.inc(skipped)

    def newest(self, moment: float) -> None:
        """A record of event time *moment* (epoch seconds) was read; older ones than before change nothing."""
        if self._newest is None or moment > self._newest:
            self._newest = moment
            self._newest_gauge.labels(*self._names[:2]).set(moment)

    def refused(self, counts: Mapping[str, int]) -> None:
        """Rows were refused, so many per reason."""
        for reason, count in counts.items():
            self._refused[reason] += count
            self._rejected.labels(*self._names[:2], reason).inc(count)

    def folded(self, totals: Mapping[str, int]) -> None:
        """So many values of each label had no room, since the counts behind *totals* began."""
        for label, total in totals.items():
            before = self._folded[label] if total >= self._folded[label] else 0  # less: the counts began anew
            self._folded_rows.labels(*self._names[:2], label).inc(total - before)
            self._folded[label] = total

    def status(self, note: str | None = None) -> SourceStatus:
        """The source as the web page shows it; numbers are since the process began."""
        model, role, kind = self._names
        return SourceStatus(
            model=model,
            role=role,
            kind=kind,
            up=self._up,
            last_success=self._last_success,
            newest_record=self._newest,
            rows=self._row_count,
            refused=dict(self._refused),
            last_error=self._last_error,
            note=note,
        )

    def _ended(self, seconds: float, *, up: bool) -> None:
        self._up = up
        self._up_gauge.set(up)
        self._polls.inc()
        self._duration.observe(seconds)


class ProbeTelemetry:
    """One probe's own metrics."""

    def __init__(self, telemetry: Telemetry, target: str, kind: str) -> None:
        labels = (target, kind)
        failures = telemetry._counter("probe_failures_total")  # noqa: SLF001 - the two classes are one thing
        self._up = telemetry._gauge("probe_up").labels(*labels)  # noqa: SLF001
        self._failures = {reason: failures.labels(*labels, reason) for reason in FAILURE_REASONS}
        self._duration = telemetry._histogram("probe_duration_seconds").labels(*labels)  # noqa: SLF001
        self._problem: str | None = None

    def looked(self, seconds: float) -> None:
        """A look worked and took *seconds*."""
        self._up.set(1)
        self._duration.observe(seconds)
        self._problem = None

    def failed(self, reason: str, seconds: float) -> bool:
        """A look failed after *seconds*; returns whether for another reason than the one before it."""
        self._up.set(0)
        self._failures[reason if reason in self._failures else "error"].inc()
        self._duration.observe(seconds)
        before, self._problem = self._problem, reason
        return before != reason
