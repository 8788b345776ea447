"""The demo: real models with late labels, run by the exporter beside it as a child that dies now and then."""

from __future__ import annotations

import contextlib
import glob
import json
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from exporter.errors import ExporterError

if TYPE_CHECKING:
    from exporter.probes.supervisor import Supervisor

CONFIG, STATE = "model-exporter.yml", "state"
TARGET = "model-server"
FIRST = "breast-cancer"
"""The model whose rows are waited for."""
_PATIENCE = 60.0  # seconds for the child's first line; training takes two
_FAREWELL = 3.0
_RESTART_AFTER = 0.2

_ABOUT = """
A classifier trained on scikit-learn's breast_cancer data answers 20 requests a second. The true labels come seconds
later; some come late, early, twice or never, and some are wrong at first. Version 1.1 is a canary with a tenth of
the traffic. From minute 3 to minute 5 of every ten, lengths arrive in another unit: watch the accuracy of 1.0 fall
from 0.94 to 0.7, while 1.1 holds. What its scores promise falls less: model_estimation_error shows by how much. In
Brazil a quarter of the scanners always send that unit: the region is worse off.

Beside it a regression, a classifier of three classes, one of sets of labels, and a ranking answer 3 requests a second
each.

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
    template = Template(resources.files("exporter.demo").joinpath(CONFIG).read_text("utf-8"))
    places = {"folder": glob.escape(str(folder)), "mount": _mount_point(folder)}
    # A folder may be called anything; JSON's texts are YAML's as well.
    texts = {name: json.dumps(place, ensure_ascii=False)[1:-1] for name, place in places.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text(template.substitute(texts, config=shlex.quote(str(path))), encoding="utf-8")
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
        _say("Training models ...\n")
        log = place / FIRST / "predictions.jsonl"
        before = log.stat().st_size if log.exists() else 0
        with _workload(place) as supervisor:
            _await_rows(log, before, supervisor)
            check = f"{shlex.quote(sys.executable)} -m exporter.demo.truth {shlex.quote(str(place))}"
            files = f"logs of each model, deaths.jsonl, {CONFIG}, {STATE}/"
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
