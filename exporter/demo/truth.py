"""What scikit-learn says of the demo's logs: `python -m exporter.demo.truth FOLDER` prints it as tables.

Rows are joined by a plain dict, which shares nothing with the exporter: the first prediction of an id counts, and
its latest label.  Measures are called as the exporter's gauges are, so that they are easily compared.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exporter.demo.models import (
    CANCER,
    CULTIVARS,
    DIABETES,
    DIAGNOSES,
    PREDICTIONS,
    SEARCH,
    TRAITS,
    TRAITS_OF_DIGITS,
    WINE,
)

LAST = 500
Measures = dict[str, float]
"""Values by the gauge's name and labels, without model, version and window; what is undefined is left out."""


@dataclass(frozen=True, slots=True)
class Row:
    """A prediction that met its label; `labelled_at` is ISO 8601 in UTC, so that texts sort as times do.

    `predicted` is what the log has under `output`, `record` the whole line.
    """

    labelled_at: str
    actual: Any
    predicted: dict[str, Any]
    record: dict[str, Any] = field(default_factory=dict)


def join(folder: Path, model: str) -> dict[str, list[Row]]:
    """Labelled predictions of every version of *model*, by the time of their labels, from its logs in *folder*."""
    predicted: dict[str, dict[str, Any]] = {}
    for line in _lines(folder / model / PREDICTIONS):
        record = json.loads(line)
        if "output" in record:
            predicted.setdefault(record["id"], record)
    latest: dict[str, tuple[str, Any]] = {}
    for name, labelled_at, actual in _labels(folder / model):
        if labelled_at >= latest.get(name, ("", ""))[0]:
            latest[name] = (labelled_at, actual)
    versions: dict[str, list[Row]] = defaultdict(list)
    for name, record in predicted.items():
        if name in latest:
            labelled_at, actual = latest[name]
            versions[record["model"]["version"]].append(Row(labelled_at, actual, record["output"], record))
    return {version: sorted(rows, key=lambda row: row.labelled_at) for version, rows in sorted(versions.items())}


def _labels(folder: Path) -> Iterator[tuple[str, str, Any]]:
    """Id, time and value of every label in the logs of one model."""
    for name, actual, labelled_at in csv.reader(_lines(folder / "labels.csv")):
        if name != "id":
            yield name, labelled_at, actual
    for line in _lines(folder / "labels.jsonl"):
        name, actual, labelled_at = json.loads(line).values()
        yield name, labelled_at, actual


def _lines(path: Path) -> list[str]:
    """All whole lines of a log, those that were rotated away first; a last line without its end is not there yet."""
    parts = [part.read_text() for part in (Path(f"{path}.1"), path) if part.exists()]
    return "".join(part[: part.rfind("\n") + 1] for part in parts).splitlines()


# --- measures, each by scikit-learn's own function -----------------------------------------------


def measure(model: str, rows: list[Row]) -> Measures:
    """The measures of *rows*, which are predictions of *model*."""
    found = {"model_window_labelled_predictions": float(len(rows))}
    if rows:
        found |= _BY_MODEL[model]([row.actual for row in rows], [row.predicted for row in rows])
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _binary(actual: list[Any], predicted: list[Any]) -> Measures:
    from sklearn import metrics  # noqa: PLC0415 - whoever only joins need not wait for it

    said = [one["diagnosis"] for one in predicted]
    score = [one["probability"]["malignant"] for one in predicted]
    found = {"model_accuracy_ratio": float(metrics.accuracy_score(actual, said))}
    for name, function in _averaged().items():
        found[f'model_{name}_ratio{{average="binary"}}'] = float(
            function(actual, said, pos_label="malignant", zero_division=math.nan)
        )
    found |= _averages(actual, said, "micro", "macro", "weighted") | _of_classes(actual, said, "binary")
    beta = metrics.fbeta_score(actual, said, beta=2, pos_label="malignant", zero_division=math.nan)
    found['model_f_beta_ratio{average="binary",beta="2"}'] = float(beta)
    false_alarms, misses = metrics.confusion_matrix(actual, said, labels=DIAGNOSES)[(0, 1), (1, 0)]
    found["model_expected_cost"] = float(1 * false_alarms + 10 * misses) / len(actual)
    found["model_log_loss"] = float(metrics.log_loss(actual, score, labels=["benign", "malignant"]))
    found["model_brier_score"] = float(metrics.brier_score_loss(actual, score, pos_label="malignant"))
    if len(set(actual)) == 2:
        positive = [one == "malignant" for one in actual]
        found['model_roc_auc_ratio{average="binary"}'] = float(metrics.roc_auc_score(positive, score))
        found['model_average_precision_ratio{average="binary"}'] = float(
            metrics.average_precision_score(positive, score)
        )
    return found


def _multiclass(actual: list[Any], predicted: list[Any]) -> Measures:
    import numpy as np  # noqa: PLC0415
    from sklearn import metrics  # noqa: PLC0415

    said = [one["cultivar"] for one in predicted]
    found = {"model_accuracy_ratio": float(metrics.accuracy_score(actual, said))}
    found |= _averages(actual, said, "micro", "macro", "weighted") | _of_classes(actual, said, "macro", "weighted")
    codes = np.array([CULTIVARS.index(one) for one in actual])
    chances = np.array([one["probabilities"] for one in predicted])
    top = metrics.top_k_accuracy_score(codes, chances, k=2, labels=range(len(CULTIVARS)))
    found['model_top_k_accuracy_ratio{k="2"}'] = float(top)
    found["model_log_loss"] = float(metrics.log_loss(codes, chances, labels=range(len(CULTIVARS))))
    outcomes = codes[:, None] == np.arange(len(CULTIVARS))
    found["model_brier_score"] = float(((chances - outcomes) ** 2).sum(axis=1).mean())
    there = [code for code in range(len(CULTIVARS)) if 0 < outcomes[:, code].sum() < len(codes)]
    for average in ("macro", "weighted") if there else ():
        for name, function in _AREAS.items():
            area = getattr(metrics, function)(outcomes[:, there], chances[:, there], average=average)
            found[f'model_{name}_ratio{{average="{average}"}}'] = float(area)
    return found


_AREAS = {"roc_auc": "roc_auc_score", "average_precision": "average_precision_score"}


def _multilabel(actual: list[Any], predicted: list[Any]) -> Measures:
    import numpy as np  # noqa: PLC0415
    from sklearn import metrics  # noqa: PLC0415

    true, said = (
        np.array([[name in one for name in TRAITS_OF_DIGITS] for one in sets], int)
        for sets in (actual, [one["traits"] for one in predicted])
    )
    found = {
        "model_accuracy_ratio": float(metrics.accuracy_score(true, said)),
        "model_hamming_loss_ratio": float(metrics.hamming_loss(true, said)),
    }
    found |= _averages(true, said, "samples")
    there = np.flatnonzero((true | said).any(axis=0))
    return found | _averages(true[:, there], said[:, there], "micro", "macro", "weighted")


def _averages(actual: Any, said: Any, *averages: str) -> Measures:
    """Averages of precision, recall and F1; where a class has none of its own, a mean over classes is undefined."""
    found = {}
    for name, function in _averaged().items():
        complete = all(map(math.isfinite, function(actual, said, average=None, zero_division=math.nan)))
        for average in averages:
            if complete or average not in {"macro", "weighted"}:
                value = function(actual, said, average=average, zero_division=math.nan)
                found[f'model_{name}_ratio{{average="{average}"}}'] = float(value)
    return found


def _of_classes(actual: list[Any], said: list[Any], *averages: str) -> Measures:
    """What false alarms and misses cost each class, its specificity being the recall of the rest, and agreement."""
    import numpy as np  # noqa: PLC0415
    from sklearn import metrics  # noqa: PLC0415

    true, told = np.array(actual), np.array(said)
    classes = ["malignant"] if averages == ("binary",) else sorted({*actual, *said})
    share = [(true == one).sum() for one in classes]
    rest, own = (
        [metrics.recall_score(side(true, one), side(told, one), zero_division=math.nan) for one in classes]
        for side in (np.not_equal, np.equal)
    )
    found: Measures = {}
    for average in averages:
        weights = share if average == "weighted" else None
        specificity, recall = (
            float(np.average(of, weights=weights)) if all(map(math.isfinite, of)) else math.nan for of in (rest, own)
        )
        ratios = {"specificity": specificity, "false_positive": 1 - specificity, "false_negative": 1 - recall}
        found |= {f'model_{name}_ratio{{average="{average}"}}': value for name, value in ratios.items()}
    recalls = metrics.recall_score(actual, said, labels=sorted(set(actual)), average="macro", zero_division=math.nan)
    found["model_balanced_accuracy_ratio"] = float(recalls)
    if len({*actual, *said}) > 1:
        found["model_cohen_kappa"] = float(metrics.cohen_kappa_score(actual, said))
    if len(set(actual)) > 1 and len(set(said)) > 1:
        found["model_matthews_correlation_coefficient"] = float(metrics.matthews_corrcoef(actual, said))
    return found


def _averaged() -> dict[str, Callable[..., Any]]:
    from sklearn import metrics  # noqa: PLC0415

    return {"precision": metrics.precision_score, "recall": metrics.recall_score, "f1": metrics.f1_score}


def _regression(actual: list[Any], predicted: list[Any]) -> Measures:
    import numpy as np  # noqa: PLC0415
    from sklearn import metrics  # noqa: PLC0415

    true, said = np.array(actual, float), np.array([one["progression"] for one in predicted])
    found = {
        "model_mean_absolute_error": metrics.mean_absolute_error(true, said),
        "model_mean_squared_error": metrics.mean_squared_error(true, said),
        "model_root_mean_squared_error": metrics.root_mean_squared_error(true, said),
        "model_bias": (said - true).mean(),
        "model_mean_absolute_percentage_error": metrics.mean_absolute_percentage_error(true, said),
    }
    found |= {
        f'model_mean_pinball_loss{{alpha="{q}"}}': metrics.mean_pinball_loss(true, said, alpha=q) for q in (0.5, 0.9)
    }
    if len(set(actual)) > 1:
        found["model_r2_score"] = metrics.r2_score(true, said)
    return {name: float(value) for name, value in found.items()}


def _ranking(actual: list[Any], predicted: list[Any]) -> Measures:
    """NDCG is scikit-learn's, over the items that were shown and those that were relevant; the rest is counted."""
    import numpy as np  # noqa: PLC0415
    from sklearn import metrics  # noqa: PLC0415

    known = [(set(items), one["results"]) for items, one in zip(actual, predicted, strict=True) if items]
    found: dict[str, list[float]] = defaultdict(list)
    for items, results in known:
        every = [*results, *sorted(items.difference(results))]
        gains = [[float(item in items) for item in every]]
        order = [[-float(rank) for rank in range(len(every))]]
        hits = np.flatnonzero(gains[0][: len(results)])
        for k in (1, 5, 10):
            found[f'model_ndcg_ratio{{k="{k}"}}'].append(
                metrics.ndcg_score(gains, order, k=k) if len(every) > 1 else gains[0][0]
            )
            hit = len(hits) > 0 and hits[0] < k
            found[f'model_hit_rate_ratio{{k="{k}"}}'].append(float(hit))
            found[f'model_mean_reciprocal_rank_ratio{{k="{k}"}}'].append(1 / (hits[0] + 1) if hit else 0.0)
    return {name: float(np.mean(values)) for name, values in found.items()}


_BY_MODEL: dict[str, Callable[[list[Any], list[Any]], Measures]] = {
    CANCER: _binary, DIABETES: _regression, WINE: _multiclass, TRAITS: _multilabel, SEARCH: _ranking,
}  # fmt: skip
MODELS = tuple(_BY_MODEL)


# --- for people ----------------------------------------------------------------------------------


def table(folder: Path, model: str) -> str:
    """The measures of every version of *model* as text: over all rows, and over the last 500 labelled ones."""
    columns = {
        (version, name): measure(model, chosen)
        for version, rows in join(folder, model).items()
        for name, chosen in (("all", rows), (f"last {LAST}", rows[-LAST:]))
    }
    out = [[model, *(f"{version} {name}" for version, name in columns)]]
    for name in dict.fromkeys(name for found in columns.values() for name in found):
        values = [found.get(name) for found in columns.values()]
        whole = name == "model_window_labelled_predictions"
        out.append([name, *("-" if one is None else f"{one:.0f}" if whole else f"{one:.4f}" for one in values)])
    first, *widths = [max(map(len, column)) for column in zip(*out, strict=True)]
    return "".join("  ".join((row[0].ljust(first), *map(str.rjust, row[1:], widths))).rstrip() + "\n" for row in out)


def main(arguments: list[str] | None = None) -> int:
    """Print the tables of one folder."""
    about = "What scikit-learn says of the demo's logs."
    parser = argparse.ArgumentParser(prog="python -m exporter.demo.truth", description=about)
    parser.add_argument("folder", type=Path, help="the folder that the demo has printed")
    folder = parser.parse_args(arguments).folder
    there = [model for model in MODELS if (folder / model / PREDICTIONS).exists()]
    if not there:
        parser.error(f"there is no log of the demo's models in {folder}; name the folder that the demo has printed")
    sys.stdout.write("\n".join(table(folder, model) for model in there))
    return 0


if __name__ == "__main__":
    sys.exit(main())
