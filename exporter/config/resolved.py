"""The config as the rest of the program reads it: complete, checked and in plain units."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from exporter import contracts
from exporter.config.thresholds import TargetThresholds, Threshold, as_bounds
from exporter.config.written import Limits


class Stream(Struct, frozen=True, kw_only=True):
    """Where rows of one role come from, and how they are read; all times in seconds."""

    kind: Annotated[str, Meta(description="Name of the source in `plugins`.")]
    source: Annotated[Any, Meta(description="An instance of that source's `Config`.")]
    mapping: Annotated[contracts.MappingSpec, Meta(description="How raw records become rows.")]
    interval: Annotated[float, Meta(description="Seconds between two polls, at least 1.")] = 10.0
    stale_after: Annotated[float, Meta(description="Seconds of silence after which gauges are dropped.")] = 60.0
    lookback: Annotated[float | None, Meta(description="Seconds that the first start reads back; None: all.")] = None
    start: Annotated[Literal["beginning", "end"] | None, Meta(description="Where the first start begins.")] = None
    timeout: Annotated[float, Meta(description="Seconds that one poll may take.")] = 30.0

    def first(self, *, in_memory: bool) -> float | None:
        """Seconds that the first start reads back: 0 begins at the end, None at the beginning.

        A state *in_memory* makes every start a first one: what was counted before would be counted again.
        """
        if self.lookback is None and (self.start or ("end" if in_memory else "beginning")) == "end":
            return 0.0
        return self.lookback

    @property
    def arrival_time(self) -> bool:
        """Whether rows carry no time of their own, so that the moment of reading stands for it."""
        return "time" not in self.mapping.fields

    def __repr__(self) -> str:
        return f"Stream({self.kind!r}, {self.mapping.role!r})"


class ModelConfig(Struct, frozen=True, kw_only=True):
    """One model; all times in seconds."""

    spec: Annotated[contracts.ModelSpec, Meta(description="What the families know of the model.")]
    predictions: Annotated[Stream, Meta(description="Where the predictions come from.")]
    labels: Annotated[Stream | None, Meta(description="None where predictions carry their label.")] = None
    horizon: Annotated[float, Meta(description="Seconds that a prediction is remembered.")] = 30 * 86400.0
    windows: Annotated[tuple[contracts.WindowSpec, ...], Meta(description="Windows of the gauges.")] = ()
    thresholds: Annotated[dict[str, Threshold], Meta(description="Measure to its `warning` and `critical`.")] = {}
    min_samples: Annotated[int, Meta(description="Labelled predictions that alerts need.")] = 100
    objectives: Annotated[dict[str, float], Meta(description="Share of good events promised, by name.")] = {}
    baseline: Annotated[dict[str, float], Meta(description="Measures of the accepted model.")] = {}
    coverage_ages: Annotated[tuple[float, ...], Meta(description="Ages at which label coverage is told.")] = ()
    maturity: Annotated[float | None, Meta(description="The age from which quality by prediction time counts.")] = None
    champion: Annotated[str | None, Meta(description="The version that others are compared with.")] = None
    retire_after: Annotated[float, Meta(description="Seconds of silence after which a version goes.")] = 7 * 86400.0
    allowed_lateness: Annotated[float, Meta(description="Seconds between the newest row and the watermark.")] = 0.0
    max_versions: Annotated[int, Meta(description="Versions with series of their own.")] = 20
    early_labels: Annotated[int, Meta(description="Labels held without a prediction, at most.")] = 1_000_000
    remembered: Annotated[int, Meta(description="Predictions remembered, at most.")] = 50_000_000

    @property
    def streams(self) -> list[Stream]:
        """Predictions, then labels if those stand apart."""
        return [self.predictions] if self.labels is None else [self.predictions, self.labels]

    def __repr__(self) -> str:
        return f"ModelConfig({self.spec.name!r})"


class ProbeConfig(Struct, frozen=True, kw_only=True):
    """One probe of a target."""

    kind: Annotated[str, Meta(description="Name of the probe in `plugins`.")]
    settings: Annotated[Any, Meta(description="An instance of that probe's `Config`.")]

    def __repr__(self) -> str:
        return f"ProbeConfig({self.kind!r})"


class TargetConfig(Struct, frozen=True, kw_only=True):
    """One model server; all times in seconds."""

    name: Annotated[str, Meta(description="The label `target`.")]
    model: Annotated[str | None, Meta(description="The model that it serves, if known.")] = None
    life: Annotated[ProbeConfig | None, Meta(description="Tells ups and ends; None if the exporter runs it.")] = None
    measures: Annotated[tuple[ProbeConfig, ...], Meta(description="Probes that tell what is used.")] = ()
    interval: Annotated[float, Meta(description="Seconds between two looks, at least 1.")] = 5.0
    timeout: Annotated[float, Meta(description="Seconds that one look may take.")] = 10.0
    windows: Annotated[tuple[contracts.WindowSpec, ...], Meta(description="Windows by time.")] = ()
    thresholds: Annotated[dict[str, Threshold], Meta(description="Measure to its `warning` and `critical`.")] = field(
        default_factory=lambda: as_bounds(TargetThresholds())
    )

    @property
    def probes(self) -> tuple[ProbeConfig, ...]:
        return (self.life, *self.measures) if self.life else self.measures

    def __repr__(self) -> str:
        return f"TargetConfig({self.name!r})"


class Config(Struct, frozen=True, kw_only=True):
    """Everything that a config file says; `hidden` are the keys that came from the environment or from files."""

    models: Annotated[dict[str, ModelConfig], Meta(description="The models by name.")]
    targets: Annotated[dict[str, TargetConfig], Meta(description="The model servers by name.")] = {}
    limits: Annotated[Limits, Meta(description="Limits of the whole exporter.")] = Limits()
    hidden: Annotated[frozenset[str], Meta(description="Keys whose values must never be shown.")] = frozenset()

    def __repr__(self) -> str:
        targets = f", targets={list(self.targets)!r}" if self.targets else ""
        return f"Config(models={list(self.models)!r}{targets})"
