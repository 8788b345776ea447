"""The demo's model server: a scikit-learn classifier that logs its predictions, and the labels that follow them.

`python -m exporter.demo.workload FOLDER` appends to FOLDER/predictions.jsonl and FOLDER/labels.csv.  What happens,
and when, is decided by the seed alone; the clock only says when it began.  With --mortal it ends now and then, as
model servers do, and writes into FOLDER/deaths.jsonl how it is about to end.  Labels come from elsewhere: those of
a life before are still written by the next.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import operator
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, Literal, Self

from exporter.demo import patients

PREDICTIONS, LABELS, DEATHS = "predictions.jsonl", "labels.csv", "deaths.jsonl"
_TO_COME = "labels-to-come.jsonl"
HEADER = b"id,diagnosis,labelled_at\n"
CLASSES = ("benign", "malignant")

RATE, SEED = 20.0, 7
BACKLOG, BACKLOG_SECONDS = 200, 300.0
"""Requests that were answered before the demo began, over so many seconds."""
CANARY_SHARE, ERROR_SHARE = 0.1, 0.005
DRIFT_EVERY, DRIFT_FROM, DRIFT_UNTIL = 600.0, 180.0, 300.0
"""Seconds: in every ten minutes, from the third to the fifth, lengths arrive in another unit."""
EARLIEST = 5.0
"""Seconds that a label may come before its prediction, at most."""
LOG_BYTES = 32 << 20
"""A log of this size is renamed to *.1 (which replaces an older one), so that a forgotten demo fills no disk."""

LIFE_SECONDS = 45.0
"""How long a life is on average; the first is half as long, so that nobody has to wait for long."""
ENDS = ("SIGKILL", "SIGSEGV", "restart")
"""How lives end, by turns: two crashes, and a planned restart with exit code 0."""

_BLINK = 0.5
"""Seconds between two looks at whether the parent still lives."""

Fate = Literal["prompt", "late", "early", "corrected", "repeated", "never", "error"]
FATES: dict[Fate, float] = {
    "prompt": 0.70, "late": 0.10, "early": 0.05, "corrected": 0.05, "repeated": 0.04, "never": 0.06,
}  # fmt: skip
"""What can become of the label of an answered request, and how often."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request; times are seconds after the demo began, negative in the backlog.

    `labels` are the times at which labels come, and whether each of them is right.
    """

    number: int
    at: float
    sample: int
    version: str
    fate: Fate
    took_ms: float
    labels: tuple[tuple[float, bool], ...]
    before: float = 0.0
    """Seconds that lives before this one have taken."""
    region: str = "DE"
    old_scanner: bool = False

    @property
    def drifted(self) -> bool:
        """Whether lengths come in another unit."""
        rest = (self.before + self.at) % DRIFT_EVERY
        return self.old_scanner or (self.at >= 0 and DRIFT_FROM <= rest < DRIFT_UNTIL)


@dataclass(frozen=True, slots=True)
class Answers:
    """The held-out half of the data, and what every version says of it: probabilities of the class malignant.

    `features` and `probability` hold two lists, by whether the input has drifted.
    """

    diagnosis: list[str]
    features: dict[bool, list[dict[str, float]]]
    probability: dict[tuple[str, bool], list[float]]


def requests(
    seed: int, samples: int, rate: float = RATE, backlog: int = BACKLOG, before: float = 0.0
) -> Iterator[Request]:
    """Endless requests on *samples* rows of data: a *backlog*, then *rate* of them per second.

    *before* are the seconds that lives before this one have taken.
    """
    random = Random(seed)  # noqa: S311 - the same rows for the same seed are what is wanted
    places = Random(f"places {seed}")  # noqa: S311 - likewise
    for number in itertools.count():
        live = number - backlog
        at = live / rate if live >= 0 else live / backlog * BACKLOG_SECONDS
        failed = random.random() < ERROR_SHARE
        fate: Fate = random.choices(list(FATES), list(FATES.values()))[0]
        labels = _labels(random, fate)
        region, old_scanner = patients.region(places)
        yield Request(
            number=number,
            at=at,
            sample=random.randrange(samples),
            version="1.1" if random.random() < CANARY_SHARE else "1.0",
            fate="error" if failed else fate,
            took_ms=round(random.lognormvariate(1.2, 0.5), 3),
            labels=() if failed else tuple((at + delay, right) for delay, right in labels),
            before=before,
            region=region,
            old_scanner=old_scanner,
        )


def _labels(random: Random, fate: Fate) -> list[tuple[float, bool]]:
    """Seconds from a prediction to each of its labels, and whether the label is right."""
    soon = random.uniform(2, 6)
    match fate:
        case "late":
            return [(random.uniform(20, 45), True)]
        case "early":
            return [(-random.uniform(2, EARLIEST), True)]
        case "corrected":
            return [(soon, False), (soon + random.uniform(2, 6), True)]
        case "repeated":
            return [(soon, True), (soon + random.uniform(1, 6), True)]
        case "never":
            return []
        case _:
            return [(soon, True)]


def train(seed: int) -> Answers:
    """Train both versions on one half of the data, and let them answer the other half."""
    # Only here, so that --help and a signal need not wait for scikit-learn.
    import numpy as np  # noqa: PLC0415
    from sklearn.datasets import load_breast_cancer  # noqa: PLC0415
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
    from sklearn.model_selection import train_test_split  # noqa: PLC0415
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415
    from sklearn.tree import DecisionTreeClassifier  # noqa: PLC0415

    data = load_breast_cancer()
    names = [name.removeprefix("mean ").replace(" ", "_") for name in data.feature_names[:10]]
    diagnosis = np.where(data.target == 0, "malignant", "benign")
    split = train_test_split(data.data[:, :10], diagnosis, test_size=0.5, random_state=seed, stratify=diagnosis)
    known, held_out, known_diagnosis, truth = split
    drifted = held_out.copy()
    drifted[:, [names.index("radius"), names.index("perimeter")]] /= 10
    versions = {
        "1.0": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        "1.1": DecisionTreeClassifier(max_depth=3, random_state=seed),
    }
    for classifier in versions.values():
        classifier.fit(known, known_diagnosis)
    inputs = {False: held_out, True: drifted}
    return Answers(
        diagnosis=truth.tolist(),
        features={
            moved: [dict(zip(names, row, strict=True)) for row in rows.round(5).tolist()]
            for moved, rows in inputs.items()
        },
        probability={
            (version, moved): classifier.predict_proba(rows)[:, CLASSES.index("malignant")].round(6).tolist()
            for version, classifier in versions.items()
            for moved, rows in inputs.items()
        },
    )


def lines(asked: Iterable[Request], answers: Answers, start: float) -> Iterator[tuple[float, str, bytes]]:
    """All lines of both logs in the order of their times: seconds after *start* (epoch seconds), log, line."""
    run = f"{int(start):08x}"
    waiting: list[tuple[float, int, str, bytes]] = []
    order = itertools.count()
    for request in asked:
        while waiting and waiting[0][0] <= request.at - EARLIEST:
            at, _, log, line = heapq.heappop(waiting)
            yield at, log, line
        name = f"{run}-{request.number:06d}"
        record = json.dumps(_record(request, answers, name, start), separators=(",", ":"))
        heapq.heappush(waiting, (request.at, next(order), PREDICTIONS, record.encode() + b"\n"))
        truth = answers.diagnosis[request.sample]
        for at, right in request.labels:
            told = truth if right else CLASSES[1 - CLASSES.index(truth)]
            heapq.heappush(waiting, (at, next(order), LABELS, f"{name},{told},{_iso(start + at)}\n".encode()))
    while waiting:
        at, _, log, line = heapq.heappop(waiting)
        yield at, log, line


def _record(request: Request, answers: Answers, name: str, start: float) -> dict[str, Any]:
    """What a model server logs of one request."""
    record: dict[str, Any] = {
        "id": name,
        "time": _iso(start + request.at),
        "model": {"name": "breast-cancer", "version": request.version},
        "took_ms": request.took_ms,
        "clinic": {"country": request.region},
        "patient": {"age": patients.age(request.number, answers.diagnosis[request.sample])},
    }
    if request.fate == "error":
        return record | {"error": "missing_feature"}
    malignant = answers.probability[request.version, request.drifted][request.sample]
    probability = {"benign": round(1 - malignant, 6), "malignant": malignant}
    return record | {
        "features": answers.features[request.drifted][request.sample],
        "output": {"diagnosis": CLASSES[malignant >= 0.5], "probability": probability},
    }


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Log:
    """A file that grows by whole lines, each with one write, and is renamed to *.1 when it has become too large."""

    def __init__(self, path: Path, header: bytes = b"", most: int = LOG_BYTES) -> None:
        self._path = path
        self._header = header
        self._most = most
        self._open()

    def _open(self) -> None:
        self._file = self._path.open("ab", buffering=0)
        if not self._file.tell():
            self._file.write(self._header)

    def append(self, line: bytes) -> None:
        if self._file.tell() + len(line) > self._most:
            self._file.close()
            self._path.replace(f"{self._path}.1")
            self._open()
        self._file.write(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


@dataclass(frozen=True, slots=True)
class Death:
    """The end of one life: so many seconds after it began, and how."""

    after: float
    how: str


def death(seed: int, life: int, mean: float = LIFE_SECONDS) -> Death:
    """How the *life*-th life, counted from 0, ends; lives last *mean* seconds."""
    random = Random(seed * 1_000_003 + life)  # noqa: S311 - the same ends for the same seed are what is wanted
    seconds = mean * (0.5 if life == 0 else random.uniform(0.7, 1.3))
    return Death(seconds, ENDS[life % len(ENDS)])


def lives(folder: Path) -> int:
    """How many lives have ended as they were meant to."""
    path = folder / DEATHS
    return path.read_bytes().count(b"\n") if path.exists() else 0


def die(folder: Path, how: str) -> None:
    """Write down that this process ends now, and end it."""
    line = json.dumps({"at": _iso(time.time()), "pid": os.getpid(), "how": how}).encode() + b"\n"
    with (folder / DEATHS).open("ab", buffering=0) as file:
        file.write(line)
    if how in signal.Signals.__members__:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.kill(os.getpid(), signal.Signals[how])
    sys.exit(0)


def live(folder: Path, written: Iterable[tuple[float, str, bytes]], pace: Callable[[float], bool], end: Death,
         start: float) -> None:  # fmt: skip
    """Append lines to their logs until the *end*; labels that come later are left to the next life."""
    to_come: list[tuple[float, str]] = []

    def until_end() -> Iterator[tuple[float, str, bytes]]:
        for at, log, line in written:
            if at < end.after:
                yield at, log, line
            else:
                to_come.append((start + at, line.decode()))

    write(folder, until_end(), pace)
    if pace(end.after):
        (folder / _TO_COME).write_text(json.dumps(to_come))
        die(folder, end.how)


def inherited(folder: Path, start: float) -> list[tuple[float, str, bytes]]:
    """The labels that a life before has left, as `lines` gives them."""
    path = folder / _TO_COME
    left = json.loads(path.read_text()) if path.exists() else []
    path.unlink(missing_ok=True)
    return [(at - start, LABELS, line.encode()) for at, line in left]


def write(folder: Path, written: Iterable[tuple[float, str, bytes]], wait_until: Callable[[float], bool]) -> None:
    """Append lines to their logs, each when *wait_until* its time is over, until it says that the end has come."""
    with Log(folder / PREDICTIONS) as predictions, Log(folder / LABELS, HEADER) as labels:
        logs = {PREDICTIONS: predictions, LABELS: labels}
        for at, log, line in written:
            if not wait_until(at):
                return
            logs[log].append(line)


def _pace(began: float, *, tied: bool) -> Callable[[float], bool]:
    """Waits on the monotonic clock; where *tied* it answers False once the parent has ended."""
    parent = os.getppid()

    def wait_until(at: float) -> bool:
        while (left := began + at - time.monotonic()) > 0:
            time.sleep(min(left, _BLINK) if tied else left)
            if tied and os.getppid() != parent:
                return False
        return True

    return wait_until


def main(arguments: list[str] | None = None) -> int:
    """Run the workload until SIGTERM, or until all rows are written."""
    about = "Write the logs of a model whose labels come late."
    parser = argparse.ArgumentParser(prog="python -m exporter.demo.workload", description=about)
    parser.add_argument("folder", type=Path, help="where the logs are written")
    parser.add_argument("--rate", type=float, default=RATE, help="requests per second; default %(default)s")
    parser.add_argument("--seed", type=int, default=SEED, help="decides all that happens; default %(default)s")
    parser.add_argument("--rows", type=int, help="write so many requests and their labels at once, all in the past")
    parser.add_argument("--tied", action="store_true", help="end when the parent process does")
    parser.add_argument("--mortal", action="store_true", help=f"end now and then, and tell how in {DEATHS}")
    parser.add_argument("--life", type=float, default=LIFE_SECONDS, help="seconds of a life; default %(default)s")
    parser.add_argument("--began", type=float, help="when the first of its lives began, in epoch seconds")
    options = parser.parse_args(arguments)
    if not 0 < options.rate <= 10_000:
        parser.error("--rate must be above 0 and at most 10000")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, signal.default_int_handler if not options.tied else signal.SIG_IGN)
    answers = train(options.seed)
    # A folder with rows has had its backlog.
    backlog = 0 if (options.folder / PREDICTIONS).exists() else BACKLOG
    start, began = time.time(), time.monotonic()
    life = lives(options.folder) if options.mortal else 0
    before = 0.0 if options.began is None else max(0.0, start - options.began)
    asked = requests(options.seed + life, len(answers.diagnosis), options.rate, backlog, before)
    if options.rows is None:
        pace = _pace(began, tied=options.tied)
        if not options.mortal:
            write(options.folder, lines(asked, answers, start), pace)
            return 0
        end = death(options.seed, life, options.life)
        own = lines(itertools.takewhile(lambda request: request.at < end.after, asked), answers, start)
        left = inherited(options.folder, start)
        live(options.folder, heapq.merge(own, left, key=operator.itemgetter(0)), pace, end, start)
        return 0
    some = list(itertools.islice(asked, options.rows))
    last = max((at for request in some for at, _ in request.labels), default=0.0)
    write(options.folder, lines(some, answers, start - max(last, 0.0)), lambda _: True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
