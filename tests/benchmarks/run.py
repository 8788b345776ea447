"""The benchmark: every claim of speed and size, as a ratio to a named baseline of the same run.

    .venv/bin/python tests/benchmarks/run.py            all of it, about ten minutes
    .venv/bin/python tests/benchmarks/run.py --quick    small sizes, to see that it works
    .venv/bin/python tests/benchmarks/run.py ingest     one part of it

Each case runs in a process of its own, on one core; CPU time is the process's own, over all of its threads.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))


class Bench:
    """Runs cases in processes of their own and collects the lines of the table."""

    def __init__(self, folder: Path, quick: bool) -> None:
        self.folder = folder
        self.rows = 100_000 if quick else 1_000_000
        self.many = 500_000 if quick else 10_000_000
        self.lines: list[tuple[str, str, str, str]] = []

    def case(self, name: str, *arguments: object, pin: bool = True) -> dict[str, float]:
        """What `module.function` found."""
        result = self._once(name, arguments, pin)
        print(f"  {name}{arguments}: {result}", file=sys.stderr)
        return result

    def in_turn(self, names: Sequence[str], *arguments: object, repeat: int) -> dict[str, dict[str, float]]:
        """Medians of *repeat* runs of each of several cases, taken in turn: a busy machine then slows all of them."""
        results: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        for _ in range(repeat):
            for name in names:
                results[name].append(self.case(name, *arguments))
        return {
            name: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
            for name, runs in results.items()
        }

    def _once(self, name: str, arguments: tuple[object, ...], pin: bool) -> dict[str, float]:
        command = [
            sys.executable,
            __file__,
            "--case",
            name,
            json.dumps(arguments, default=lambda path: {"path": str(path)}),
        ]
        limits = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            env=os.environ | limits | ({"BENCHMARK_PIN": "1"} if pin else {}),
            check=False,
        )
        if done.returncode and "fill_and_die" not in name:
            raise SystemExit(f"{name} failed:\n{done.stderr}")
        result: dict[str, float] = json.loads(done.stdout or "{}")
        return result

    def line(self, what: str, measured: str, reach: str, held: bool) -> None:
        self.lines.append((what, measured, reach, "yes" if held else "**no**"))

    # --- parts -----------------------------------------------------------------------------------

    def ingest(self) -> None:
        """JSON Lines to joined, counted, refreshed and durable."""
        from tests.benchmarks import data

        folder = self.folder / "logs"
        data.write(folder, self.rows)
        cases = ("ingest.exporter", "ingest.orjson_dict", "ingest.json_dict")
        found = self.in_turn(cases, folder, repeat=5)
        rates = {name: one["joined"] / (one["predictions"] + one["labels"]) for name, one in found.items()}
        ours = rates["ingest.exporter"]
        for name, text, least in (("orjson_dict", "orjson + dict", 1.6), ("json_dict", "json + dict", 3.5)):
            ratio = ours / rates[f"ingest.{name}"]
            self.line(
                f"JSONL to joined, counted, durable, against {text} (no metric, no state)",
                f"{ratio:.2f}x ({ours / 1e6:.2f} M pairs/s against {rates[f'ingest.{name}'] / 1e6:.2f} M)",
                f">= {least}x",
                ratio >= least,
            )

    def families(self) -> None:
        """What counting costs a labelled row, and all gauges and counters of one version a refresh."""
        for order, text in (("by_time", "labels in order"), ("at_random", "labels in random order")):
            found = self.case(f"families.{order}", self.rows)
            self.line(
                f"counting a prediction and its label in all families and three windows, {text}",
                f"{found['nanoseconds']:.0f} ns ({found['label']:.0f} of it for the label)",
                "<= 200 ns",
                found["nanoseconds"] <= 200,
            )
        found = self.case("families.refresh", self.rows)
        self.line(
            f"counters and gauges of {found['windows']:.0f} windows of one version, {found['series']:.0f} series",
            f"{found['microseconds']:.0f} us ({found['gauges']:.0f} of it for the gauges)",
            "<= 300 us",
            found["microseconds"] <= 300,
        )

    def refresh(self) -> None:
        """All gauges of one model."""
        ours, small, large = (self.case("refresh.refresh", n)["value"] for n in (self.rows, 10_000, self.many))
        theirs = self.case("refresh.scikit_learn", self.rows)["value"]
        self.line(
            f"gauges of a window of {self.rows:,} rows, against scikit-learn",
            f"{theirs / ours:,.0f}x ({ours * 1e6:.0f} us against {theirs * 1e3:.0f} ms)",
            ">= 3,000x",
            theirs / ours >= 3000,
        )
        self.line(
            f"the same at {self.many:,} rows against 10,000", f"{large / small:.2f}x", "<= 1.5x", large / small <= 1.5
        )

    def remembered(self) -> None:
        """Ten million remembered predictions."""
        path = self.folder / "remembered"
        self.case("remembered.fill_and_die", path, self.many)
        ours = self.case("remembered.exporter", path, self.many)
        theirs = self.case("remembered.lmdb", self.folder / "lmdb", self.many)
        ratio = ours["lookups"] / theirs["lookups"]
        what = f"{self.many:,} remembered predictions"
        self.line(f"{what}: size", f"{ours['bytes']:.1f} bytes each", "<= 64", ours["bytes"] <= 64)
        self.line(
            f"{what}: look-ups, against LMDB",
            f"{ratio:.1f}x ({ours['lookups'] / 1e6:.2f} M/s against {theirs['lookups'] / 1e6:.2f} M/s)",
            ">= 4x",
            ratio >= 4,
        )
        self.line(f"{what}: reopened after SIGKILL", f"{ours['reopen']:.2f} s", "< 1 s", ours["reopen"] < 1)

    def series(self) -> None:
        """A hundred thousand series."""
        ours, theirs = self.case("serving.render"), self.case("serving.generate_latest")
        ratio = theirs["seconds"] / ours["seconds"]
        self.line(
            "100,000 series rendered, against generate_latest",
            f"{ours['seconds'] * 1e3:.0f} ms ({ratio:.0f}x)",
            "<= 60 ms",
            ours["seconds"] <= 0.06,
        )
        scrape = self.case("serving.scrapes", self.folder / "wide", 2 * self.rows, pin=False)
        self.line(
            f"scrape of {scrape['series']:,.0f} series while reading flat out, p50 and p99",
            f"{scrape['p50'] * 1e3:.1f} and {scrape['p99'] * 1e3:.1f} ms ({scrape['read']:,.0f} rows read meanwhile)",
            "<= 10 and <= 30 ms",
            scrape["p50"] <= 0.01 and scrape["p99"] <= 0.03,
        )

    def postgresql(self) -> None:
        """A table of PostgreSQL, on a server that is started here."""
        from tests.benchmarks import pull
        from tests.debian import debian_program, running_postgres

        program = debian_program("postgresql", "postgres")
        if program is None:
            self.line("PostgreSQL table to columns", "not measured: postgresql is missing", ">= 0.8 M rows/s", False)
            return
        with running_postgres(program) as server:
            url = pull.fill(server, self.rows)
            found = self.in_turn(("pull.exporter", "pull.psycopg"), url, repeat=3)
            ours, tuples = found["pull.exporter"], found["pull.psycopg"]
            rows = self.case("pull.sqlalchemy", url)
        self.line(
            "PostgreSQL table to columns, rows per client CPU second",
            f"{ours['rate'] / 1e6:.2f} M (psycopg's tuples {tuples['rate'] / 1e6:.2f} M, "
            f"SQLAlchemy's rows {rows['rate'] / 1e6:.2f} M)",
            ">= 0.8 M",
            ours["rate"] >= 0.8e6,
        )
        self.line(
            f"the same: memory added by {ours['rows']:,.0f} rows",
            f"{ours['added']:.1f} MB (psycopg {tuples['added']:.1f} MB, SQLAlchemy {rows['added']:.1f} MB)",
            "<= 15 MB",
            ours["added"] <= 15,
        )

    def idle(self) -> None:
        """A sidecar with nothing to do."""
        found = self.case("serving.idle", self.folder / "idle", pin=False)
        self.line("idle sidecar: memory", f"{found['rss']:.0f} MB RSS", "<= 55 MB", found["rss"] <= 55)
        self.line(
            "idle sidecar: first scrape served after", f"{found['first']:.2f} s", "<= 0.4 s", found["first"] <= 0.4
        )
        self.line("idle sidecar: heavy libraries loaded", f"{found['heavy']:.0f}", "0", not found["heavy"])

    def probes(self) -> None:
        """A model server of ten processes that is watched."""
        ours, theirs = self.case("probes.look"), self.case("probes.psutil_walk")
        ratio = theirs["median"] / ours["median"]
        self.line(
            "look at a model server of 10 processes, CPU, against psutil's walk over the tree",
            f"{ours['median'] * 1e3:.2f} ms ({ratio:.1f}x; with all that is rare {ours['mean'] * 1e3:.2f} ms)",
            "<= 2 ms",
            ours["median"] <= 0.002,
        )
        added = self.case("probes.memory", self.folder / "probes", pin=False)
        most = max(added, key=lambda kind: added[kind])
        self.line(
            f"memory that a probe adds, the largest of {len(added)} kinds",
            f"{added[most]:.1f} MB ({most})",
            "<= 6 MB",
            added[most] <= 6,
        )


PARTS = ("ingest", "families", "refresh", "remembered", "series", "postgresql", "idle", "probes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="which parts; default all")
    parser.add_argument("--quick", action="store_true", help="small sizes: the ratios mean little")
    parser.add_argument("--case", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        _run_case(*options.case)
        return
    with tempfile.TemporaryDirectory(prefix="model-exporter-benchmark-") as folder:
        bench = Bench(Path(folder), options.quick)
        for part in options.parts or PARTS:
            print(f"{part} ...", file=sys.stderr)
            method: Callable[[], None] = getattr(bench, part)
            method()
    print(f"Machine: {_machine()}\n")
    print("| what | measured | reach | held |\n| --- | --- | --- | --- |")
    for line in bench.lines:
        print("| " + " | ".join(line) + " |")


def _run_case(name: str, arguments: str) -> None:
    import importlib

    if os.environ.get("BENCHMARK_PIN"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    module, _, function = name.partition(".")
    call = getattr(importlib.import_module(f"tests.benchmarks.{module}"), function)
    result: Any = call(*json.loads(arguments, object_hook=lambda path: Path(path["path"])))
    print(json.dumps(result if isinstance(result, dict) else {"value": result}))


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown CPU")
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    return f"{model}, {os.cpu_count()} cores, {system}"


if __name__ == "__main__":
    main()
