"""The dashboards by the types of the Grafana that docker-compose.yml pins: python tests/longer/grafana.py

Needs Node with npm, and npm's package index; takes a minute. Not part of .ci/run. `@grafana/schema` is the part of
Grafana's own code that says which options a panel has, and which values they take. A JSON schema is made of its types,
to which the files are held. Keys may be left out, as Grafana has defaults; other keys than its own are faults.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import yaml

ROOT = Path(__file__).resolve().parents[2]
GENERATOR = "ts-json-schema-generator@2.4.0"
TYPES = "node_modules/@grafana/schema/dist/types/raw/"
KINDS = ("barchart", "geomap", "heatmap", "stat", "statetimeline", "table", "timeseries", "xychart")
WITHOUT_FIELDS = ("geomap", "stat")
"""Kinds that have no settings of single fields."""
CORE = ("alertlist", "row")
"""Kinds without types of their own."""
COMPILER = {
    "module": "esnext",
    "moduleResolution": "bundler",
    "target": "es2022",
    "skipLibCheck": True,
    "strict": True,
}
KNOWN = {
    "definition": "what the editor shows of a variable's query",
    **dict.fromkeys(("filters", "baseFilters"), "of variables of the kind `adhoc`"),
    **dict.fromkeys(("expr", "step"), "of annotations; its Prometheus data source makes a target of them"),
    **dict.fromkeys(("titleFormat", "textFormat", "useValueForTime"), "of annotations of its Prometheus data source"),
    "hidden": "of columns; its table makes `hideFrom` of it",
}
"""Keys that stand in no type, and who reads them."""
Json = dict[str, Any]


def schema(folder: Path, types: str, name: str) -> Any:
    """A validator of what the type *name* of the file *types* may be; keys that it does not have are refused."""
    generator = ["npx", "ts-json-schema-generator", "--path", f"{TYPES}{types}/x/types.gen.d.ts", "--type", name]
    words = [*generator, "--tsconfig", "tsconfig.json", "--no-type-check", "--expose", "none"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return jsonschema.Draft7Validator(_without_required(json.loads(done.stdout)))


def _without_required(part: Any) -> Any:
    if isinstance(part, dict):
        lists = isinstance(part.get("required"), list)
        return {key: _without_required(value) for key, value in part.items() if not (lists and key == "required")}
    return [_without_required(one) for one in part] if isinstance(part, list) else part


def installed(folder: Path, version: str) -> None:
    """Put the types of Grafana *version* and the generator into *folder*."""
    (folder / "package.json").write_text('{"private": true}')
    kept = {"compilerOptions": COMPILER, "include": [f"{TYPES}**/*.ts"]}
    (folder / "tsconfig.json").write_text(json.dumps(kept))
    quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    subprocess.run(["npm", "install", *quiet, f"@grafana/schema@{version}", GENERATOR], cwd=folder, check=True)


def settings(panel: Json) -> Iterator[Json]:
    """What a panel sets of its fields, for all of them and then for single ones."""
    yield panel["fieldConfig"]["defaults"].get("custom", {})
    for override in panel["fieldConfig"]["overrides"]:
        for one in override["properties"]:
            first, *path = one["id"].split(".")
            if first == "custom":
                value = one["value"]
                for key in reversed(path):
                    value = {key: value}
                yield value


def panels(board: Json) -> Iterator[Json]:
    for panel in board["panels"]:
        yield panel
        yield from panel.get("panels", [])


def faults(validator: Any, part: Json, place: str) -> Iterator[str]:
    """What *validator* has against *part*, less what is `KNOWN`."""
    for error in validator.iter_errors(part):
        if error.validator == "additionalProperties":
            unknown = set(error.instance) - set(error.schema["properties"]) - KNOWN.keys()
            if not unknown:
                continue
        yield f"{place} / {'/'.join(map(str, error.absolute_path))}: {error.message}"


def main() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    version = services["grafana"]["image"].rpartition(":")[2]
    boards = [json.loads(path.read_text()) for path in sorted((ROOT / "dashboards").glob("*.json"))]
    used = {panel["type"].replace("-", "") for board in boards for panel in panels(board)}
    if others := used - {*KINDS, *CORE}:
        sys.exit(f"kinds of panels that are not known here: {sorted(others)}")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        installed(folder, version)
        whole = schema(folder, "dashboard", "Dashboard")
        options = {kind: schema(folder, f"composable/{kind}/panelcfg", "Options") for kind in KINDS}
        fields = {
            kind: schema(folder, f"composable/{kind}/panelcfg", "FieldConfig")
            for kind in KINDS
            if kind not in WITHOUT_FIELDS
        }
    found: list[str] = []
    count = 0
    for board in boards:
        found += faults(whole, board, board["title"])
        for panel in panels(board):
            kind, place = panel["type"].replace("-", ""), f"{board['title']} / {panel.get('title', '')}"
            if kind in options:
                count += 1
                found += faults(options[kind], panel["options"], f"{place} / options")
            if kind in fields:
                for custom in settings(panel):
                    found += faults(fields[kind], custom, f"{place} / custom")
    print(*found, f"Grafana {version}: {count} panels, {len(found)} faults", sep="\n")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
