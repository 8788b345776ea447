"""What scikit-learn says of the demo's logs: `python -m exporter.demo.truth FOLDER` prints it as a table.

Rows are joined by a plain dict, which shares nothing with the exporter: the first prediction of an id counts, and
its latest label.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from exporter.demo.workload import CLASSES, LABELS, PREDICTIONS

LAST = 500


@dataclass(frozen=True, slots=True)
class Row:
    """A prediction that met its label; `labelled_at` is ISO 8601 in UTC, so that texts sort as times do."""

    labelled_at: str
    actual: str
    predicted: str


@dataclass(frozen=True, slots=True)
class Measures:
    """Quality of some rows, malignant being the positive class; NaN where a ratio is undefined."""

    labelled: int
    tp: int
    fp: int
    fn: int
    tn: int
    accuracy: float
    precision: float
    recall: float
    f1: float


def join(folder: Path) -> dict[str, list[Row]]:
    """Labelled predictions of every version, by the time of their labels, from the logs in *folder*."""
    predicted: dict[str, tuple[str, str]] = {}
    for line in _lines(folder / PREDICTIONS):
        record = json.loads(line)
        if "output" in record:
            predicted.setdefault(record["id"], (record["model"]["version"], record["output"]["diagnosis"]))
    latest: dict[str, tuple[str, str]] = {}
    for name, diagnosis, labelled_at in csv.reader(_lines(folder / LABELS)):
        if name != "id" and labelled_at >= latest.get(name, ("", ""))[0]:
            latest[name] = (labelled_at, diagnosis)
    versions: dict[str, list[Row]] = defaultdict(list)
    for name, (version, diagnosis) in predicted.items():
        if name in latest:
            labelled_at, actual = latest[name]
            versions[version].append(Row(labelled_at, actual, diagnosis))
    return {version: sorted(rows, key=lambda row: row.labelled_at) for version, rows in sorted(versions.items())}


def _lines(path: Path) -> list[str]:
    """All whole lines of a log, those that were rotated away first; a last line without its end is not there yet."""
    parts = [part.read_text() for part in (Path(f"{path}.1"), path) if part.exists()]
    return "".join(part[: part.rfind("\n") + 1] for part in parts).splitlines()


def measure(rows: list[Row]) -> Measures:
    """The measures of *rows*, each by scikit-learn's own function."""
    from sklearn import metrics  # noqa: PLC0415 - whoever only joins need not wait for it

    nan = float("nan")
    actual, predicted = [row.actual for row in rows], [row.predicted for row in rows]
    if not rows:
        return Measures(0, 0, 0, 0, 0, nan, nan, nan, nan)
    (tn, fp), (fn, tp) = metrics.confusion_matrix(actual, predicted, labels=list(CLASSES)).tolist()
    ratios = [
        float(function(actual, predicted, pos_label="malignant", zero_division=nan))
        for function in (metrics.precision_score, metrics.recall_score, metrics.f1_score)
    ]
    return Measures(len(rows), tp, fp, fn, tn, float(metrics.accuracy_score(actual, predicted)), *ratios)


def table(folder: Path) -> str:
    """The measures of every version as text: over all rows, and over the last 500 labelled ones."""
    head = ("version", "rows", "labelled", "tp", "fp", "fn", "tn", "accuracy", "precision", "recall", "f1")
    out: list[tuple[str, ...]] = [head]
    for version, rows in join(folder).items():
        for name, chosen in (("all", rows), (f"last {LAST}", rows[-LAST:])):
            found = measure(chosen)
            counts = (found.labelled, found.tp, found.fp, found.fn, found.tn)
            ratios = (found.accuracy, found.precision, found.recall, found.f1)
            out.append((version, name, *map(str, counts), *(f"{ratio:.4f}" for ratio in ratios)))
    widths = [max(map(len, column)) for column in zip(*out, strict=True)]
    return "\n".join("  ".join(map(str.rjust, row, widths)) for row in out) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Print the table of one folder."""
    about = "What scikit-learn says of the demo's logs."
    parser = argparse.ArgumentParser(prog="python -m exporter.demo.truth", description=about)
    parser.add_argument("folder", type=Path, help="the folder that the demo has printed")
    folder = parser.parse_args(arguments).folder
    if not (folder / PREDICTIONS).exists():
        parser.error(f"there is no {PREDICTIONS} in {folder}; name the folder that the demo has printed")
    sys.stdout.write(table(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
