"""How long the dashboards' queries take for many models: `python tests/dashboards/scale.py --models 500 --replicas 3`.

Six hours of metrics, every twenty minutes and at last every minute, are back-filled into a Prometheus of its own and
recorded by the shipped rules. Then every query is asked once. Prints the time of each page and of its slowest queries,
and how many lines a graph draws at most.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # as a script it finds only what lies beside it

from tests.dashboards import backfill, recorded
from tests.dashboards.asking import answered, options
from tests.dashboards.grafana import ALL, Choice, asked, dashboards, panels
from tests.dashboards.prometheus import Prometheus
from tests.dashboards.promql import names

SLOW = 0.2
"""Seconds from which on a query is named."""


def models(count: int) -> list[backfill.Model]:
    """So many models, every tenth of which has gone bad."""
    made = []
    for number in range(count):
        bad = number % 10 == 0
        name = f"model-{number:03}"
        right = 0.9 + number / count / 20
        made.append(backfill.Model(name, ("yes", "no"), right, 0.7 if bad else right, f"{name}-server", ("1",)))
    return made


def needed(courses: Iterator[backfill.Course], shown: backfill.Model) -> Iterator[backfill.Course]:
    """All that the pages of many models and the rules read; of the model *shown*, everything."""
    boards = {uid: board for uid, board in dashboards().items() if uid != "model-exporter-model"}
    choice = Choice("none", dict.fromkeys(("job", "model", "target", "instance"), "x"), 0)
    wanted = {name for board in boards.values() for one in asked(board, choice, {}) for name in names(one.expr)}
    wanted |= {name for rule in recorded.rules() for name in names(rule.expr)}
    of_one = {shown.name, shown.target}
    return (one for one in courses if one[0] in wanted or of_one & {one[1].get("model"), one[1].get("target")})


def filled(folder: Path, fleet: list[backfill.Model], replicas: int) -> tuple[Prometheus, backfill.Time]:
    """A running Prometheus that holds what *replicas* exporters told of *fleet*."""
    programs = [Path(str(shutil.which(name))) for name in ("prometheus", "promtool")]
    when = backfill.Time(int(time.time()) // 60 * 60, span=6 * backfill.HOUR, coarse=1200, fresh=600)
    server = Prometheus(programs[0], programs[1], folder)
    server.backfill(backfill.openmetrics(needed(backfill.courses(when, fleet, replicas), fleet[0])))
    recorded.record(server, recorded.rules(), when)
    return server.start(), when


def report(server: Prometheus, when: backfill.Time, model: str) -> None:
    single = {"model": model, "measure": "accuracy", "loss": "log_loss", "version": "1"}
    values = dict.fromkeys(("job", "target", "instance", *single), ALL)
    choice = Choice("all", values, when.end, single)
    for uid, board in dashboards().items():
        offered = options(server, board, choice)
        took: dict[str, float] = {}
        lines = 0
        for one in asked(board, choice, offered):
            began = time.perf_counter()
            answer = answered(server, one, board, choice)
            took[one.place] = time.perf_counter() - began
            if one.target["format"] == "time_series" and answer.found and "values" in answer.found[0]:
                lines = max(lines, len(answer.found))
        print(f"{uid}: {len(panels(board))} panels, {len(took)} queries, {sum(took.values()):.2f} s, <= {lines} lines")
        for place, seconds in sorted(took.items(), key=lambda item: -item[1]):
            if seconds >= SLOW:
                print(f"    {seconds:5.2f} s  {place}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=500)
    parser.add_argument("--replicas", type=int, default=3)
    words = parser.parse_args()
    fleet = models(words.models)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        server, when = filled(Path(folder), fleet, words.replicas)
        try:
            [series] = server.now('count({__name__=~".+"})', when.end)
            print(f"{series['value'][1]} series, made in {time.perf_counter() - began:.0f} s")
            report(server, when, fleet[0].name)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
