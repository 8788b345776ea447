"""What the ledger of a target shows: its series for the exposition, and its status for people."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from exporter.contracts import ProbeStatus, Reading, Series
from exporter.pipeline.report import Block
from exporter.pipeline.targets import TargetLedger

OWNER = "\0"
"""First word of the owner of a target's series; no model can be called so."""

_SCOPES = ("process", "container", "host")


def blocks(target: TargetLedger) -> Iterator[Block]:
    """All series of *target*: its own, then what each of its probes has measured."""
    labels = (("target", target.name),)
    shape = (*target.restarts, None, *target.crashes)
    yield (OWNER, target.name, ""), shape, labels, partial(_series, target), _values(target)
    for probe in target.config.probes:
        readings = target.readings.get(probe.kind, ())
        shape_ = tuple((one.metric, one.labels) for one in readings)
        series = _measured(readings)
        yield (OWNER, target.name, probe.kind), shape_, labels, series, [one.value for one in readings]


def _measured(readings: Sequence[Reading]) -> Callable[[], Sequence[Series]]:
    return lambda: [Series(one.metric, one.labels) for one in readings]


def _series(target: TargetLedger) -> list[Series]:
    model = target.config.model
    return [
        Series("model_server_target_info", (("model", model),) if model else ()),
        Series("model_server_up"),
        Series("model_server_start_time_seconds"),
        *(Series("model_server_restarts_total", (("reason", reason),)) for reason in target.restarts),
        *(Series("model_server_crashes_total", (("reason", reason),)) for reason in target.crashes),
        Series("model_server_observed_seconds_total"),
        *(Series("model_server_crashes_per_hour", (("window", window),)) for window in target.windows),
        *(
            Series("model_server_threshold", (("measure", measure), ("severity", severity)))
            for measure, bounds in target.config.thresholds.items()
            for severity in bounds
        ),
    ]


def _values(target: TargetLedger) -> list[float]:
    return [
        1,
        math.nan if target.up is None else int(target.up),
        math.nan if target.start_time is None else target.start_time,
        *target.restarts.values(),
        *target.crashes.values(),
        target.observed,
        *(rate for _, rate in target.crashes_per_hour()),
        *(value for bounds in target.config.thresholds.values() for value in bounds.values()),
    ]


def status(target: TargetLedger) -> ProbeStatus:
    """The model server as the web page shows it."""
    life = target.config.life
    readings = [one for probe in target.config.probes for one in target.readings.get(probe.kind, ())]
    return ProbeStatus(
        target=target.name,
        model=target.config.model or "",
        up=target.up,
        detail=target.details.get(life.kind, "") if life and life.kind not in target.problems else "",
        since=target.down_since if target.up is False else target.start_time,
        restarts=sum(target.restarts.values()),
        crashes={reason: count for reason, count in target.crashes.items() if count},
        crashes_per_hour={name: rate for name, rate in target.crashes_per_hour() if not math.isnan(rate)},
        cpu=_narrowest(readings, "model_server_cpu_utilization_ratio"),
        memory=_narrowest(readings, "model_server_memory_utilization_ratio"),
        disks=_by_label(readings, "model_server_disk_utilization_ratio"),
        gpus=_by_label(readings, "model_server_gpu_utilization_ratio"),
        errors=tuple(f"{kind}: {problem}" for kind, problem in target.problems.items()),
    )


def _narrowest(readings: Sequence[Reading], metric: str) -> float | None:
    found = {dict(one.labels).get("scope", ""): one.value for one in readings if one.metric == metric}
    return next((found[scope] for scope in _SCOPES if scope in found), None)


def _by_label(readings: Sequence[Reading], metric: str) -> dict[str, float]:
    """Values by that label which comes first: the mount point, the number of the GPU."""
    return {one.labels[0][1]: one.value for one in readings if one.metric == metric and one.labels}
