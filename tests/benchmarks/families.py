"""What the families cost: a pipeline that counts everything, against one that only joins and commits."""

from __future__ import annotations

import time

import numpy as np

from exporter import plugins
from exporter.config.schema import Config, parse
from exporter.contracts import Batch, Categorical, Poll
from exporter.pipeline import Delivery, Pipeline
from exporter.state import State
from tests.benchmarks.data import CONFIG, MODELS, VERSIONS

CYCLE = 131_072
REPEAT = 5
CLASSES = ["0", "1"]


def by_time(rows: int) -> dict[str, float]:
    """Labels that come as their predictions did."""
    return cost(rows, np.arange(rows))


def at_random(rows: int) -> dict[str, float]:
    """Labels of any age in every cycle."""
    return cost(rows, np.random.default_rng(8).permutation(rows))


def cost(rows: int, order: np.ndarray) -> dict[str, float]:
    """CPU nanoseconds of a labelled row with all families, less those without any: the whole, and the label's."""
    predictions, labels = batches(rows, order)
    config = parse(CONFIG.format(folder="/nowhere"), "bench.yml")
    spent: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    for _ in range(REPEAT):
        for counting, found in spent.items():
            found.append(absorbed(config, predictions, labels, counting=counting))
    (made, told), (bare_made, bare_told) = (
        [min(each) * 1e9 / rows for each in zip(*spent[counting], strict=True)] for counting in (True, False)
    )
    return {"nanoseconds": made + told - bare_made - bare_told, "label": told - bare_told}


def absorbed(config: Config, predictions: list[Batch], labels: list[Batch], *, counting: bool) -> tuple[float, float]:
    """CPU seconds for the predictions, and for the labels."""
    families = plugins.families_of
    if not counting:
        plugins.families_of = lambda model: []  # type: ignore[assignment]
    try:
        pipeline = Pipeline(config, State(None))
    finally:
        plugins.families_of = families
    seconds = []
    for role, given in (("predictions", predictions), ("labels", labels)):
        begun = time.process_time()
        for batch in given:
            pipeline.absorb([Delivery("bench", role, Poll(batch, {}))])
        seconds.append(time.process_time() - begun)
    return seconds[0], seconds[1]


def batches(rows: int, order: np.ndarray) -> tuple[list[Batch], list[Batch]]:
    """A log of three models and two versions, and its labels an hour later, cut into cycles."""
    rng = np.random.default_rng(7)
    key = rng.integers(0, 2**63, (rows, 2)).astype(np.uint64)
    made = 1_735_689_600 + np.cumsum(rng.exponential(0.01, rows))
    truth = (rng.random(rows) < 0.3).astype(np.int32)
    score = np.where(truth == 1, rng.beta(4, 2, rows), rng.beta(2, 4, rows))
    model, version = (rng.integers(0, len(names), rows).astype(np.int32) for names in (MODELS, VERSIONS))
    latency = rng.lognormal(-4.4, 0.6, rows)

    def prediction(at: slice) -> Batch:
        return Batch(
            role="predictions",
            key=key[at],
            time=made[at],
            model=Categorical(model[at], MODELS),
            version=Categorical(version[at], VERSIONS),
            predicted=Categorical((score[at] > 0.5).astype(np.int32), CLASSES),
            score=score[at],
            latency=latency[at],
        )

    def label(at: np.ndarray) -> Batch:
        return Batch(role="labels", key=key[at], time=made[at] + 3600, actual=Categorical(truth[at], CLASSES))

    starts = range(0, rows, CYCLE)
    return (
        [prediction(slice(start, start + CYCLE)) for start in starts],
        [label(order[start : start + CYCLE]) for start in starts],
    )


def refresh(rows: int) -> dict[str, float]:
    """CPU microseconds to make all values of one version after rows came: its counters, and gauges of each window."""
    from tests.benchmarks.refresh import best

    predictions, labels = batches(rows, np.arange(rows))
    pipeline = Pipeline(parse(CONFIG.format(folder="/nowhere"), "bench.yml"), State(None))
    for role, given in (("predictions", predictions), ("labels", labels)):
        for batch in given:
            pipeline.absorb([Delivery("bench", role, Poll(batch, {}))])
    ledger = pipeline.ledgers["bench"]
    names, windows = ledger.names, ledger.windows

    def counters() -> None:
        for tally in ledger.tallies:
            tally.values(names, (), 0)

    def all_values() -> None:
        for tally in ledger.tallies:
            tally.clear_gauges()
            tally.values(names, windows, 0)

    whole = best(all_values, 100) * 1e6
    series = sum(len(tally.series(names, windows)) for tally in ledger.tallies)
    return {
        "microseconds": whole,
        "gauges": whole - best(counters, 100) * 1e6,
        "series": series,
        "windows": len(windows),
    }
