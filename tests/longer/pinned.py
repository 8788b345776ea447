"""The releases that docker-compose.yml pins, without containers: python tests/longer/pinned.py FOLDER

FOLDER holds `prometheus`, `promtool`, `alertmanager`, `amtool` and `mailpit`, as the archives of their releases do, or
as Go builds them of their modules; web pages are not needed. Every test that runs one of them is run with these in
place of Debian's, then what only they can be asked (tests/longer/newer.py, tests/longer/mailbox.py), and
tests/longer/stack.py: a quarter to half an hour. Not part of .ci/run.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = {
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "alertmanager": "alertmanager",
    "amtool": "alertmanager",
    "mailpit": "mail",
}
"""Each program, and the service of docker-compose.yml whose image holds it."""
DEBIANS_NAMES = {"alertmanager": "prometheus-alertmanager"}
SUITES = (
    "tests/golden",
    "tests/notifications",
    "tests/rules",
    "tests/unit/bundle",
    "tests/unit/rules",
    "tests/unit/pipeline/test_report.py",
    "tests/unit/pipeline/test_targets.py",
    "tests/dashboards",
    "tests/e2e/test_demo.py::test_the_demo_agrees_with_scikit_learn",
    "tests/e2e/test_gaps.py",
    "tests/e2e/test_notifications.py",
    "tests/e2e/test_prometheus.py",
    "tests/e2e/test_stack.py",
    "tests/longer/newer.py",
    "tests/longer/mailbox.py",
)


def version(program: Path) -> str:
    """What *program* says of itself: `3.14.0`; empty if it was built without one."""
    words = ["version", "--no-release-check"] if program.name == "mailpit" else ["--version"]
    done = subprocess.run([program, *words], capture_output=True, text=True, check=True)
    found = re.search(r"(?:version | v)(\d\S*)", done.stdout + done.stderr)
    return found[1] if found else ""


def compared(programs: Path) -> bool:
    """Print what each program is; whether all are of the pinned releases."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    same = True
    for name, service in PROGRAMS.items():
        pinned = services[service]["image"].rpartition(":v")[2]
        here = version(programs / name)
        same &= here == pinned
        print(f"{name} {here or 'of an unknown version'}{'' if here == pinned else f', and not {pinned}'}", flush=True)
    return same


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("programs", metavar="FOLDER", type=Path, help="where the programs are")
    programs = parser.parse_args().programs.resolve()
    if missing := [name for name in PROGRAMS if not (programs / name).is_file()]:
        sys.exit(f"{programs} lacks {', '.join(missing)}")
    same = compared(programs)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for name in PROGRAMS:
            (Path(folder) / DEBIANS_NAMES.get(name, name)).symlink_to(programs / name)
        environment = {
            **os.environ,
            "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
            "MODEL_EXPORTER_TESTS_NO_SKIP": "1",
        }
        runs = ([sys.executable, "-m", "pytest", "--quiet", *SUITES], [sys.executable, "tests/longer/stack.py"])
        failed = [run[1:4] for run in runs if subprocess.run(run, cwd=ROOT, env=environment, check=False).returncode]
    print(f"{time.monotonic() - began:5.0f} s")
    if failed:
        sys.exit(f"failed: {failed}")
    print("all of it holds" if same else "all of it holds, but not of the pinned releases")


if __name__ == "__main__":
    main()
