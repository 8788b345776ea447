"""Panels and answers through Grafana's own data library, `@grafana/data`, in Node."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.dashboards.grafana import Asked, Json, legend
from tests.dashboards.prometheus import Found

HERE = Path(__file__).parent
PACKAGE = ("package.json", "package-lock.json")


def library(npm: Path) -> Path:
    """A folder with the locked packages in it, outside of the sources; installed once for each lock file."""
    lock = b"".join((HERE / name).read_bytes() for name in PACKAGE)
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = caches / "model-exporter-tests" / f"node-{hashlib.sha256(lock).hexdigest()[:16]}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as name:
            made = Path(name) / "made"
            made.mkdir()
            for part in PACKAGE:
                shutil.copy(HERE / part, made)
            quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
            subprocess.run([npm, "ci", *quiet], cwd=made, check=True, stdin=subprocess.DEVNULL, timeout=240)
            if not folder.exists():  # another run may have been faster
                made.rename(folder)
    return folder


@dataclass(frozen=True)
class Shown:
    """A panel as Grafana would draw it: per frame its length and its fields (`name`, `raw`, `type`, `values`)."""

    asked: Sequence[Asked]
    unknown: list[str]
    frames: list[Json]

    @property
    def names(self) -> set[str]:
        return {field["name"] for frame in self.frames for field in frame["fields"]}


def shown(node: Path, folder: Path, answers: Sequence[Sequence[tuple[Asked, Found]]]) -> list[Shown]:
    """Each of *answers* is one panel: its queries and what Prometheus gave."""
    words = [{"panel": of[0][0].panel, "frames": _frames(of)} for of in answers]
    text = json.dumps(words, allow_nan=False)
    command = [node, HERE / "frames.mjs", folder]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    described = json.loads(done.stdout)
    return [
        Shown([asked for asked, _ in of], one["unknown"], one["frames"])
        for of, one in zip(answers, described, strict=True)
    ]


def _frames(answers: Sequence[tuple[Asked, Found]]) -> list[Json]:
    """Frames as the Prometheus data source makes them: a table per query, or else a frame per series."""
    told = [asked for asked, found in answers if found]
    out: list[Json] = []
    for asked, found in answers:
        if asked.target["format"] == "table":
            if found:
                out.append(_table(asked.target["refId"], found, alone=len(told) == 1))
        else:
            out += [_line(asked, series) for series in found]
    return out


def _table(ref: str, found: Found, *, alone: bool) -> Json:
    labels = sorted({label for series in found for label in series["metric"]})
    columns = [
        _field("Time", "time", [series["value"][0] * 1000 for series in found]),
        *(_field(label, "string", [series["metric"].get(label, "") for series in found]) for label in labels),
        _field("Value" if alone else f"Value #{ref}", "number", [float(series["value"][1]) for series in found]),
    ]
    return {"refId": ref, "fields": columns}


def _line(asked: Asked, series: dict[str, Any]) -> Json:
    points = series.get("values") or [series["value"]]
    named = {"config": {"displayNameFromDS": legend(asked.target, series["metric"])}, "labels": series["metric"]}
    return {
        "refId": asked.target["refId"],
        "fields": [
            _field("Time", "time", [at * 1000 for at, _ in points]),
            _field("Value", "number", [float(value) for _, value in points]) | named,
        ],
    }


def _field(name: str, kind: str, values: Sequence[object]) -> Json:
    return {"name": name, "type": kind, "values": list(values), "config": {}}
