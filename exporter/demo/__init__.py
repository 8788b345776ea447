"""The demo: a real model with late labels in a child process, and the exporter beside it."""

from __future__ import annotations

import contextlib
import glob
import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from exporter.errors import ExporterError

CONFIG, STATE = "model-exporter.yml", "state"
_PATIENCE = 60.0  # seconds for the child's first line; training takes two
_FAREWELL = 3.0

_CONFIG = """\
# What the demo runs with. Change it, try it with `model-exporter check {config} --read 1000`,
# and start the demo on this folder again.
models:
  breast-cancer:
    task: binary
    positive: malignant  # the class that precision and recall are about
    classes: [benign, malignant]

    # One JSON object per line, as a model server writes them. Dotted paths reach into nested objects.
    predictions:
      files: {{path: {predictions}}}
      fields:
        id: id
        time: time
        version: model.version
        predicted: output.diagnosis
        score: output.probability.malignant
        latency: {{field: took_ms, unit: ms}}
        error: error
      interval: 1s

    # What turned out to be true: seconds later, now and then before the prediction, sometimes wrong at first.
    labels:
      files: {{path: {labels}}}
      fields: {{id: id, time: labelled_at, actual: diagnosis}}
      interval: 1s

    horizon: 10m  # a prediction without a label for so long counts as expired
    windows: [1m, 10m, last 500]
    thresholds:
      accuracy: {{warning: 0.88, critical: 0.83}}
      recall: {{warning: 0.8, critical: 0.7}}
    delay_buckets: [1s, 2s, 5s, 10s, 20s, 30s, 1m, 5m]
"""

_ABOUT = """
A classifier trained on scikit-learn's breast_cancer data answers 20 requests a second. The true labels come seconds
later; some come late, early, twice or never, and some are wrong at first. Version 1.1 is a canary with a tenth of
the traffic. From minute 3 to minute 5 of every ten, lengths arrive in another unit: watch the accuracy of 1.0 fall
from 0.94 to 0.7, while 1.1 holds.

  folder   {folder}  ({files})
  check    {check}  (scikit-learn on the same logs)
"""
_WHERE = """\
  page     {url}/
  metrics  {url}/metrics
  try      curl -s {url}/metrics | grep _ratio

Ctrl-C ends it.

"""


def prepare(folder: Path) -> Path:
    """Make *folder* with the demo's config, unless the user has one there; returns the config's path.

    Raises ExporterError if the folder cannot be written to.
    """
    folder = folder.resolve()
    path = folder / CONFIG
    # A folder may be called anything; JSON's texts are YAML's as well.
    logs = {
        name: json.dumps(glob.escape(str(folder / file)), ensure_ascii=False)
        for name, file in (("predictions", "predictions.jsonl"), ("labels", "labels.csv"))
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text(_CONFIG.format(config=shlex.quote(str(path)), **logs), encoding="utf-8")
    except OSError as error:
        raise ExporterError(f"the demo cannot use {folder}: {error.strerror}; name another folder") from error
    return path


def run(folder: Path | None, address: str, serve: Callable[[Path, Path, str], int]) -> int:
    """Run the workload beside `serve(config, state, address)` until that returns; returns what it returned.

    Without a *folder* everything happens in a temporary one, which is removed at the end.  Raises ExporterError
    if the folder cannot be used or the workload does not start.
    """
    with _place(folder) as place:
        config = prepare(place)
        _say("Training a model ...\n")
        log = place / "predictions.jsonl"
        before = log.stat().st_size if log.exists() else 0
        with _workload(place) as child:
            _await_rows(log, before, child)
            check = f"{shlex.quote(sys.executable)} -m exporter.demo.truth {shlex.quote(str(place))}"
            files = f"predictions.jsonl, labels.csv, {CONFIG}, {STATE}/"
            _say(_ABOUT.format(folder=place, files=files, check=check))
            code = serve(config, place / STATE, address)
            ended = child.poll()
        if ended is not None:
            _say(f"The model had ended before (exit code {ended}).\n")
        _say(_farewell(place, temporary=folder is None))
        return code


def announce(port: int, host: str = "127.0.0.1") -> None:
    """Say where to look, once *port* is listened on."""
    _say(_WHERE.format(url=f"http://{host}:{port}"))


def _farewell(place: Path, *, temporary: bool) -> str:
    if temporary:
        return "Stopped; the folder is gone. `model-exporter demo FOLDER` keeps it.\n"
    again = f"model-exporter demo {shlex.quote(str(place))}"
    return f"Stopped. Logs, config and state are in {place}; `{again}` goes on from there.\n"


@contextlib.contextmanager
def _place(folder: Path | None) -> Iterator[Path]:
    """The folder to work in, as an absolute path."""
    if folder is not None:
        yield folder.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="model-exporter-demo-", ignore_cleanup_errors=True) as made:
        yield Path(made).resolve()


@contextlib.contextmanager
def _workload(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The workload in a process of its own; it also ends, by its standard input, when this process is killed."""
    command = [sys.executable, "-m", "exporter.demo.workload", str(folder), "--tied"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)  # noqa: S603 - our own program
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(_FAREWELL)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        if child.stdin:
            child.stdin.close()


def _await_rows(log: Path, before: int, child: subprocess.Popen[bytes]) -> None:
    """Wait until *log* has another size than *before*."""
    until = time.monotonic() + _PATIENCE
    while not log.exists() or log.stat().st_size == before:
        if child.poll() is not None:
            raise ExporterError(f"the demo's model did not start (exit code {child.returncode}); its error is above")
        if time.monotonic() > until:
            raise ExporterError(f"the demo's model wrote nothing within {_PATIENCE:g} s")
        time.sleep(0.05)


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
