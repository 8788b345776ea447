"""The demo: a real model with late labels, run by the exporter beside it as a child that dies now and then."""

from __future__ import annotations

import contextlib
import glob
import json
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.errors import ExporterError

if TYPE_CHECKING:
    from exporter.probes.supervisor import Supervisor

CONFIG, STATE = "model-exporter.yml", "state"
TARGET = "model-server"
_PATIENCE = 60.0  # seconds for the child's first line; training takes two
_FAREWELL = 3.0
_RESTART_AFTER = 0.2

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
        segments: {{region: clinic.country, age: patient.age}}  # quality by group, and how far apart groups are
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
      segment_gap: {{warning: 0.1}}  # of a group below the whole
      disparate_impact: {{warning: 0.2}}  # older patients have more malignant tumours
    segments:
      age: {{min_group_size: 20}}
      region:
        min_group_size: 20
        coordinates:  # for the map
          {{DE: [51.2, 10.4], US: [39.8, -98.6], IN: [22.0, 79.0], AU: [-25.3, 133.8], BR: [-10.8, -53.1]}}
    champion: "1.0"  # the version that the canary is compared with
    delay_buckets: [1s, 2s, 5s, 10s, 20s, 30s, 1m, 5m]

# The model server itself. The demo runs it as its own child; of one that runs by itself, name a probe of its life
# here, such as process: {{port: 8080}}, systemd: {{unit: model.service}} or docker: {{container: model}}.
targets:
  model-server:
    model: breast-cancer
    cgroup: {{scopes: [host]}}
    disk: {{mountpoints: [{mount}]}}
    interval: 1s
    windows: [10m, 1h]
"""

_ABOUT = """
A classifier trained on scikit-learn's breast_cancer data answers 20 requests a second. The true labels come seconds
later; some come late, early, twice or never, and some are wrong at first. Version 1.1 is a canary with a tenth of
the traffic. From minute 3 to minute 5 of every ten, lengths arrive in another unit: watch the accuracy of 1.0 fall
from 0.94 to 0.7, while 1.1 holds. In Brazil a quarter of the scanners always send that unit: the region is worse off.

The model server dies about every 45 s, in turn by SIGKILL, by SIGSEGV and by a planned restart, and is started again:
watch its crashes per hour, what it uses, and that the restart is no crash.

  folder   {folder}  ({files})
  check    {check}  (scikit-learn on the same logs)
"""
_WHERE = """\
  page     {url}/
  metrics  {url}/metrics
  try      curl -s {url}/metrics | grep _ratio
           curl -s {url}/metrics | grep model_server_crashes

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
    mount = json.dumps(_mount_point(folder), ensure_ascii=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text(_CONFIG.format(config=shlex.quote(str(path)), mount=mount, **logs), encoding="utf-8")
    except OSError as error:
        raise ExporterError(f"the demo cannot use {folder}: {error.strerror}; name another folder") from error
    return path


def _mount_point(folder: Path) -> str:
    """Where the file system of *folder* is mounted."""
    return str(next(path for path in (folder, *folder.parents) if path.is_mount()))


def run(folder: Path | None, address: str, serve: Callable[[Path, Path, str, Supervisor], int]) -> int:
    """Run the workload beside `serve(config, state, address, supervisor)`; returns what that returned.

    Without a *folder* everything happens in a temporary one, which is removed at the end.  Raises ExporterError
    if the folder cannot be used or the workload does not start.
    """
    with _place(folder) as place:
        config = prepare(place)
        _say("Training a model ...\n")
        log = place / "predictions.jsonl"
        before = log.stat().st_size if log.exists() else 0
        with _workload(place) as supervisor:
            _await_rows(log, before, supervisor)
            check = f"{shlex.quote(sys.executable)} -m exporter.demo.truth {shlex.quote(str(place))}"
            files = f"predictions.jsonl, labels.csv, deaths.jsonl, {CONFIG}, {STATE}/"
            _say(_ABOUT.format(folder=place, files=files, check=check))
            code = serve(config, place / STATE, address, supervisor)
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
def _workload(folder: Path) -> Iterator[Supervisor]:
    """The workload as a child that is started again whenever it ends, and that ends when this process is killed."""
    # Only here, so that the text comes first.
    from exporter.config.types import Duration  # noqa: PLC0415
    from exporter.contracts import Clock  # noqa: PLC0415
    from exporter.probes.supervisor import Supervisor, SupervisorConfig  # noqa: PLC0415

    program = (sys.executable, "-m", "exporter.demo.workload")
    command = (*program, str(folder), "--tied", "--mortal", "--began", f"{time.time()}")
    at_once = Duration(_RESTART_AFTER)
    settings = SupervisorConfig(
        command=command, restart=True, delay=at_once, longest_delay=at_once, grace=Duration(_FAREWELL)
    )
    supervisor = Supervisor(settings, name=TARGET, clock=Clock())
    supervisor.start()
    try:
        yield supervisor
    finally:
        supervisor.stop()
        supervisor.close()


def _await_rows(log: Path, before: int, supervisor: Supervisor) -> None:
    """Wait until *log* has another size than *before*."""
    until = time.monotonic() + _PATIENCE
    while not log.exists() or log.stat().st_size == before:
        if supervisor.last is not None:
            raise ExporterError(f"the demo's model did not start: it {supervisor.last}; its error is above")
        if time.monotonic() > until:
            raise ExporterError(f"the demo's model wrote nothing within {_PATIENCE:g} s")
        time.sleep(0.05)


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
