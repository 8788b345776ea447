"""Programs that replay what a real systemd wrote to the journal and said of a unit, up to a moment."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data/systemd"
RECORDED: list[dict[str, Any]] = [
    json.loads(line) for line in (DATA / "journal_model_always.jsonl").read_text().splitlines()
]

JOURNALCTL = """
import json, pathlib, sys, time
here = pathlib.Path(__file__).parent
options = dict(word[2:].partition("=")[::2] for word in sys.argv[1:] if word.startswith("--"))
wanted = {}
for word in sys.argv[1:]:
    if not word.startswith("--"):
        field, _, value = word.partition("=")
        wanted.setdefault(field, set()).add(value)
said = here / "journal_says"
if said.exists():
    sys.exit(said.read_text())
moment = here / "now"
now = float(moment.read_text()) if moment.exists() else time.time()
begin, after, found = options.get("cursor"), options.get("after-cursor"), []
for line in (here / "journal").read_text().splitlines():
    record = json.loads(line)
    if int(record["__REALTIME_TIMESTAMP"]) / 1e6 <= now:
        found.append(record)
place = begin or after
if place is not None:
    cursors = [record["__CURSOR"] for record in found]
    if place not in cursors:
        sys.exit("Failed to seek to cursor: Invalid argument")
    found = found[cursors.index(place) :]
found = [one for one in found if all(one.get(field) in values for field, values in wanted.items())]
found = found[1:] if after else found  # as systemd 252 does, whichever record that is
fields = set(options["output-fields"].split(","))
for record in found[-int(options.get("lines", "0")) :]:
    print(json.dumps({key: value for key, value in record.items() if key in fields or key.startswith("__")}))
"""
SYSTEMCTL = """
import pathlib, sys
here = pathlib.Path(__file__).parent
said = here / "systemd_says"
if said.exists():
    sys.exit(said.read_text())
wanted = next(word for word in sys.argv if word.startswith("--property="))[11:].split(",")
for line in (here / "shown").read_text().splitlines():
    if line.partition("=")[0] in wanted:
        print(line)
"""


def program(path: Path, text: str) -> str:
    path.write_text(f"#!{sys.executable} -IS\n{text}")
    path.chmod(0o755)
    return str(path)


class Systemd:
    """Stand-ins for journalctl and systemctl in *folder*, and what they read there."""

    def __init__(self, folder: Path, records: list[dict[str, Any]]) -> None:
        self.folder = folder
        self.write(records)
        self.show()
        self.programs = {
            "journalctl": program(folder / "journalctl", JOURNALCTL),
            "systemctl": program(folder / "systemctl", SYSTEMCTL),
        }

    def write(self, records: list[dict[str, Any]]) -> None:
        new = self.folder / "journal.new"
        new.write_text("".join(json.dumps(one) + "\n" for one in records))
        new.replace(self.folder / "journal")

    def show(
        self,
        active: str = "active",
        started: str = "Fri 2027-01-15 07:50:00 UTC",
        restarts: int = 0,
        unit: str = "model.service",
    ) -> None:
        load = "not-found" if active == "missing" else "loaded"
        (self.folder / "shown").write_text(
            f"Id={unit}\nLoadState={load}\nActiveState={active}\nSubState=running\nNRestarts={restarts}\n"
            f"ExecMainStartTimestamp={started}\nDescription=A=B\n"
        )
