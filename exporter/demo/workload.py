"""The demo's model server: scikit-learn's models that log their predictions, and the labels that follow them.

`python -m exporter.demo.workload FOLDER` appends to FOLDER/MODEL/predictions.jsonl and FOLDER/MODEL/labels.csv (or
.jsonl, where a label is a list).  What happens, and when, is decided by the seed alone; the clock only says when it
began.  With --mortal it ends now and then, as model servers do, and writes into FOLDER/deaths.jsonl how it is about to
end.  Labels come from elsewhere: those of a life before are still written by the next.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import itertools
import json
import operator
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, Self

from exporter.demo.models import Model, train
from exporter.demo.traffic import EARLIEST, RATE, Request, requests

DEATHS = "deaths.jsonl"
_TO_COME = "labels-to-come.jsonl"
SEED = 7
LOG_BYTES = 32 << 20
"""A log of this size is renamed to *.1 (which replaces an older one), so that a forgotten demo fills no disk."""

LIFE_SECONDS = 45.0
"""How long a life is on average; the first is half as long, so that nobody has to wait for long."""
ENDS = ("SIGKILL", "SIGSEGV", "restart")
"""How lives end, by turns: two crashes, and a planned restart with exit code 0."""

_BLINK = 0.5
"""Seconds between two looks at whether the parent still lives."""

Line = tuple[float, str, bytes]
"""Seconds after the demo began, the log below its folder, and what is appended to it."""


def lines(asked: Iterable[Request], model: Model, start: float) -> Iterator[Line]:
    """All lines of both logs of *model* in the order of their times; *start* is in epoch seconds."""
    run = f"{int(start):08x}"
    waiting: list[tuple[float, int, str, bytes]] = []
    order = itertools.count()
    for request in asked:
        while waiting and waiting[0][0] <= request.at - EARLIEST:
            at, _, log, line = heapq.heappop(waiting)
            yield at, log, line
        name = f"{run}-{request.number:06d}"
        record = _json(_record(request, model, name, start))
        heapq.heappush(waiting, (request.at, next(order), model.predictions, record))
        for at, right in request.labels:
            told = model.truth[request.sample] if right else model.mistaken(request.sample)
            heapq.heappush(waiting, (at, next(order), model.labels, _label(model, name, told, _iso(start + at))))
    while waiting:
        at, _, log, line = heapq.heappop(waiting)
        yield at, log, line


def _record(request: Request, model: Model, name: str, start: float) -> dict[str, Any]:
    """What a model server logs of one request."""
    record: dict[str, Any] = {
        "id": name,
        "time": _iso(start + request.at),
        "model": {"name": model.name, "version": request.version},
        "took_ms": request.took_ms,
        **model.origin(request, model.truth[request.sample]),
    }
    if request.fate == "error":
        return record | {"error": "missing_feature"}
    return record | model.replies[request.version, request.drifted][request.sample]


def _label(model: Model, name: str, told: Any, at: str) -> bytes:
    """A line of the log of labels."""
    if model.labels.endswith(".csv"):
        return f"{name},{told},{at}\n".encode()
    return _json({"id": name, model.label: told, "labelled_at": at})


def _json(record: dict[str, Any]) -> bytes:
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"


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


class Logs:
    """Both logs of every model, below a folder."""

    def __init__(self, folder: Path, models: Sequence[Model]) -> None:
        self.folder = folder
        headers = {model.predictions: b"" for model in models}
        for model in models:
            columns = f"id,{model.label},labelled_at\n".encode()
            headers[model.labels] = columns if model.labels.endswith(".csv") else b""
            (folder / model.name).mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            self._logs = {name: stack.enter_context(Log(folder / name, header)) for name, header in headers.items()}
            self._stack = stack.pop_all()

    def append(self, log: str, line: bytes) -> None:
        self._logs[log].append(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()


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


def live(logs: Logs, written: Iterable[Line], pace: Callable[[float], bool], end: Death, start: float) -> None:
    """Append lines to their logs until the *end*; labels that come later are left to the next life."""
    to_come: list[tuple[float, str, str]] = []

    def until_end() -> Iterator[Line]:
        for at, log, line in written:
            if at < end.after:
                yield at, log, line
            else:
                to_come.append((start + at, log, line.decode()))

    write(logs, until_end(), pace)
    if pace(end.after):
        (logs.folder / _TO_COME).write_text(json.dumps(to_come))
        die(logs.folder, end.how)


def inherited(folder: Path, start: float) -> list[Line]:
    """The labels that a life before has left, as `lines` gives them."""
    path = folder / _TO_COME
    left = json.loads(path.read_text()) if path.exists() else []
    path.unlink(missing_ok=True)
    return [(at - start, log, line.encode()) for at, log, line in left]


def write(logs: Logs, written: Iterable[Line], wait_until: Callable[[float], bool]) -> None:
    """Append lines to their logs, each when *wait_until* its time is over, until it says that the end has come."""
    for at, log, line in written:
        if not wait_until(at):
            return
        logs.append(log, line)


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
    options = _options(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, signal.default_int_handler if not options.tied else signal.SIG_IGN)
    models = train(options.seed)
    life = lives(options.folder) if options.mortal else 0
    start, began = time.time(), time.monotonic()
    before = 0.0 if options.began is None else max(0.0, start - options.began)
    asked = [_asked(model, options, life, before) for model in models]
    with Logs(options.folder, models) as logs:
        if options.rows is not None:
            some = [list(itertools.islice(requests, options.rows)) for requests in asked]
            last = max((at for requests in some for request in requests for at, _ in request.labels), default=0.0)
            write(logs, _together(some, models, start - max(last, 0.0)), lambda _: True)
        elif not options.mortal:
            write(logs, _together(asked, models, start), _pace(began, tied=options.tied))
        else:
            end = death(options.seed, life, options.life)
            mine = [itertools.takewhile(lambda request: request.at < end.after, requests) for requests in asked]
            every = heapq.merge(
                _together(mine, models, start), inherited(options.folder, start), key=operator.itemgetter(0)
            )
            live(logs, every, _pace(began, tied=options.tied), end, start)
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    about = "Write the logs of models whose labels come late."
    parser = argparse.ArgumentParser(prog="python -m exporter.demo.workload", description=about)
    parser.add_argument("folder", type=Path, help="where the logs are written")
    parser.add_argument(
        "--rate",
        type=float,
        default=RATE,
        help="requests per second of the first model, others in proportion; default %(default)s",
    )
    parser.add_argument("--seed", type=int, default=SEED, help="decides all that happens; default %(default)s")
    parser.add_argument(
        "--rows", type=int, help="write so many requests of each model and their labels at once, all in the past"
    )
    parser.add_argument("--tied", action="store_true", help="end when the parent process does")
    parser.add_argument("--mortal", action="store_true", help=f"end now and then, and tell how in {DEATHS}")
    parser.add_argument("--life", type=float, default=LIFE_SECONDS, help="seconds of a life; default %(default)s")
    parser.add_argument("--began", type=float, help="when the first of its lives began, in epoch seconds")
    options = parser.parse_args(arguments)
    if not 0 < options.rate <= 10_000:
        parser.error("--rate must be above 0 and at most 10000")
    return options


def _asked(model: Model, options: argparse.Namespace, life: int, before: float) -> Iterator[Request]:
    """The requests to *model* in one life; a folder with rows has had its backlog."""
    backlog = 0 if (options.folder / model.predictions).exists() else model.backlog
    rate = model.rate * options.rate / RATE
    return requests(f"{model.name} {options.seed + life}", len(model.truth), rate, backlog, before)


def _together(asked: Sequence[Iterable[Request]], models: Sequence[Model], start: float) -> Iterator[Line]:
    """The lines of all *models* in the order of their times."""
    each = [lines(of_one, model, start) for of_one, model in zip(asked, models, strict=True)]
    return heapq.merge(*each, key=operator.itemgetter(0))


if __name__ == "__main__":
    sys.exit(main())
