"""Write all dashboards as JSON beside this file, or with --check say which of the files there are not up to date."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as a script it finds only what lies beside it

from dashboards import alerts, fleet, health, model

HERE = Path(__file__).resolve().parent
DASHBOARDS = (fleet.dashboard, model.dashboard, health.dashboard, alerts.dashboard)


def files() -> dict[Path, str]:
    """The text of every dashboard by its path."""
    made = [dashboard() for dashboard in DASHBOARDS]
    return {
        HERE / f"{one.uid}.json": json.dumps(one.json(), indent=2, ensure_ascii=False, sort_keys=True) + "\n"
        for one in made
    }


def outdated() -> list[str]:
    """Names of the files that differ from what would be written, and of those that no dashboard writes any more."""
    wanted = files()
    differ = [path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    return sorted(path.name for path in {*differ, *(set(HERE.glob("*.json")) - set(wanted))})


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a file is not up to date")
    if parser.parse_args(words).check:
        found = outdated()
        if found:
            sys.stderr.write(f"not up to date, run `python dashboards/generate.py`: {', '.join(found)}\n")
        return 1 if found else 0
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
