"""The files that are shipped beside the exporter, out of the installed package into a folder of the user's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Literal, TextIO

import yaml

from exporter import __version__
from exporter.bundle import kubernetes, notifications, shipped
from exporter.bundle.placing import Placed, place
from exporter.errors import ExporterError

Kind = Literal["compose", "kubernetes"]

_ALERTMANAGER = f"alert_rules/{notifications.SHIPPED}"
_ROUTING = (f"alert_rules/{notifications.RECEIVERS}", f"alert_rules/{notifications.OVERRIDES}")  # the later one wins
_LINKS = "alert_rules/links.yml"
_OWN = (*_ROUTING, _LINKS)
_SOURCE, _RELEASE = "ARG PACKAGE=/src[all]\n", f"ARG PACKAGE=prometheus-model-exporter[all]=={__version__}\n"
_DOCKERIGNORE = "*\n!*.whl\n!Dockerfile\n"  # a build wants at least one file to copy

_NEXT = {
    "compose": """
Next: `docker compose up --build` in that folder shows a demo model in Grafana on http://127.0.0.1:3000/.
Yours are, in alert_rules/, receivers.yml and overrides.yml (run this again after a change), links.yml and own/*.yml,
and deploy/prometheus/targets/*.yml. The image is built from the package index, or from a wheel in that folder.
""",
    "kubernetes": """
Next: `kubectl apply --server-side -k FOLDER` brings rules, dashboards, monitors and the Alertmanager's secret; put
what you want otherwise (namespace, labels, images) into a kustomization of your own that names this folder.
Yours are receivers.yml, overrides.yml and links.yml: run this again after a change. examples/ shows a sidecar and a
central exporter, servers/ has the rules of model servers: apply what you run.
""",
}


def run(folder: Path, kind: Kind, out: TextIO) -> int:
    """Write the bundle and say on *out* what became of each file that is not as it was; returns the exit code."""
    placed = write(folder, kind)
    out.writelines(f"{line}\n" for line in _told(placed))
    there = sum(map(len, (placed.written, placed.updated, placed.unchanged, placed.kept, placed.news, placed.yours)))
    out.write(f"{folder}: {there} files of version {__version__}, {len(placed.unchanged)} of them unchanged.\n")
    if placed.news:
        out.write(
            "\nShipped files that you have changed were kept. The shipped ones lie beside them as FILE.new, which\n"
            "nothing reads: take over what you want and remove it, or `mv FILE.new FILE`.\n"
        )
    out.write(_NEXT[kind])
    return 0


def write(folder: Path, kind: Kind) -> Placed:
    """Write the bundle into *folder*; see `placing.place` for what happens to files that are there.

    Raises ExporterError if the folder cannot be used or this installation lacks the files, and ConfigError if the
    user's receivers or overrides are wrong; then nothing is written.
    """
    texts = shipped.texts()
    places = {path: path if kind == "compose" else PurePosixPath(path).name for path in _OWN}
    mine = _mine(folder, places)
    routing = {places[path]: mine[path] for path in _ROUTING if path in mine}
    texts[_ALERTMANAGER] = notifications.assemble(texts[_ALERTMANAGER], routing)
    own = {place: texts[path] for path, place in places.items()}
    if kind == "compose":
        files = {path: text for path, text in _compose(texts) if path not in places}
    else:
        files = _kubernetes({**texts, **mine}, folder / places[_LINKS])
    return place(folder, kind, files, own)


def _mine(folder: Path, places: Mapping[str, str]) -> dict[str, str]:
    """What the user's own files say, by the path of the shipped one; those that are not there are left out."""
    there = {path: folder / where for path, where in places.items() if (folder / where).exists()}
    try:
        return {path: where.read_text(encoding="utf-8") for path, where in there.items()}
    except (OSError, ValueError) as error:
        raise ExporterError(f"cannot read your own files in {folder}: {error}") from error


def _compose(texts: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    yield ".dockerignore", _DOCKERIGNORE
    for path, text in texts.items():
        if path == "Dockerfile":
            yield path, text.replace(_SOURCE, _RELEASE)
        elif not path.startswith("deploy/kubernetes/"):
            yield path, text


def _kubernetes(texts: Mapping[str, str], links: Path) -> dict[str, str]:
    try:
        return kubernetes.manifests(texts)
    except yaml.YAMLError as error:  # all others are shipped
        raise ExporterError(f"cannot read {links}: {error}") from error


def _told(placed: Placed) -> Iterator[str]:
    yield from (f"written   {path}" for path in placed.written)
    yield from (f"updated   {path}" for path in placed.updated)
    yield from (f"removed   {path}: it is shipped no longer" for path in placed.removed)
    yield from (f"yours     {path}" for path in placed.yours)
    yield from (f"kept      {path}: you have changed it, and nothing is new" for path in placed.kept)
    yield from (f"kept      {path}: you have changed it; the shipped one is {path}.new" for path in placed.news)
    yield from (f"obsolete  {path}: shipped no longer, but kept, as you have changed it" for path in placed.obsolete)
