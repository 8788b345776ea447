"""How many series a config will expose: asked of the families themselves, without a row."""

from __future__ import annotations

from contextlib import closing
from itertools import count, islice

from msgspec.structs import replace

from exporter import __version__, plugins
from exporter.config.schema import Config, ModelConfig, TargetConfig
from exporter.contracts import ANY, CLASSIFICATION, ModelSpec, SegmentSpec
from exporter.pipeline import report, servers
from exporter.pipeline.coding import Codebook
from exporter.pipeline.ledger import Ledger
from exporter.pipeline.matured import aged
from exporter.pipeline.tally import served
from exporter.pipeline.targets import TargetLedger
from exporter.state import State
from exporter.telemetry import Telemetry


def of_model(model: ModelConfig) -> int:
    """Series that a model has once, whatever its versions."""
    # They depend on no class, and without many classes the counts need no room.
    spec = ModelSpec(name=model.spec.name, task="multiclass", max_classes=2, segments=model.spec.segments)
    with closing(State(None)) as state:
        ledger = Ledger(replace(model, spec=spec), state)
        return sum(len(series()) for _, _, _, series, _ in report.blocks(ledger, (), ()))


def of_version(model: ModelConfig, classes: int, errors: int = 0, *, groups: int = 0) -> int:
    """Series of one version of a model of which so many are known: *classes* (or labels), and *errors* (reasons).

    Of each attribute up to so many *groups* are, beside `other`.
    """
    spec = model.spec
    names = {"error": [f"error {number}" for number in range(errors)], "class": [ANY]}
    if spec.task in CLASSIFICATION:
        names["class"] = _classes(spec, classes)
    elif spec.label_capacity:
        names["label"] = _classes(spec, classes)
    for one in spec.segments:
        names[one.vocabulary] = ["other", *_groups(one, min(groups, one.top))]
    total = len(report.group_series(spec))
    families = plugins.families_of(model.spec)
    for family in families:
        total += len(family.series(names)) + len(served(family, model.windows)) * len(family.window_series(names))
    return total + sum(len(kind.series(names, model.windows)) for kind in aged(model, families).values())


def of_target(target: TargetConfig) -> int:
    """Series of one target, one for each metric of its probes; more where those find several of a thing."""
    with closing(State(None)) as state:
        own = sum(len(series()) for _, _, _, series, _ in servers.blocks(TargetLedger(target, state)))
    return own + len({spec.name for probe in target.probes for spec in plugins.probe(probe.kind).specs})


def of_exporter(config: Config) -> int:
    """The exporter's own series, once it runs and before any row was refused."""
    telemetry = Telemetry(__version__, ("limit", "duplicate"))
    telemetry.config_loaded()
    telemetry.ticked()
    telemetry.cycle_ended(0.0, 0)
    telemetry.committed(0.0, 0)
    for name, model in config.models.items():
        for stream in (model.predictions, model.labels):
            if stream is not None:
                source = telemetry.source(name, stream.mapping.role, stream.kind)
                source.stale_after(stream.stale_after)
                source.newest(0.0)
                if stream is model.predictions:
                    source.folded(Codebook(model.spec, model.max_versions).folded)
                source.polled(0.0)
    for target in config.targets.values():
        for probe in target.probes:
            telemetry.probe(target.name, probe.kind)
    return sum(1 for line in telemetry.render().splitlines() if line and not line.startswith(b"#"))


def most_classes(spec: ModelSpec) -> int:
    """How many classes, or labels, a model can have; 1 where its task has none."""
    return spec.label_capacity or spec.capacity


def _groups(spec: SegmentSpec, number: int) -> list[str]:
    """Names of *number* groups: those with coordinates first, which have a series more."""
    return [*spec.coordinates, *(f"group {at}" for at in range(number))][:number]


def _classes(spec: ModelSpec, number: int) -> list[str]:
    """Names of *number* classes: the known ones first, then any."""
    names = list(spec.classes or ([spec.positive] if spec.positive else []))
    others = (name for at in count() if (name := f"class {at}") not in names[:2])
    return [*names, *islice(others, max(0, number - len(names)))][:number]
