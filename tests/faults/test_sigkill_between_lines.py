"""SIGKILL at random moments while lines come in, in real files and a real process."""

from __future__ import annotations

import random
import time

import yaml

from tests.bentoml import CONFIG, DATA, EXPECTED, assert_expected
from tests.running import Exporter

KILLS = 15


def interleaved(chance: random.Random) -> list[tuple[str, bytes]]:
    """The lines of all files, each file's in order, and the files at random; a few lines come in two halves."""
    paths = [*DATA.glob("monitoring/*/data/*.log"), DATA / "labels.csv"]
    waiting = {str(path.relative_to(DATA)): path.read_bytes().splitlines(keepends=True)[::-1] for path in paths}
    order = [name for name, lines in waiting.items() for _ in lines]
    chance.shuffle(order)
    parts = []
    for name in order:
        line = waiting[name].pop()
        cut = chance.randrange(len(line)) if chance.random() < 0.2 else 0
        parts += [(name, part) for part in (line[:cut], line[cut:]) if part]
    return parts


def test_sigkill_between_lines(tmp_path):
    """Files that grow while the exporter is killed and started again and again give the numbers of one calm run."""
    chance = random.Random(20261122)
    parts = interleaved(chance)
    for name, _ in parts:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    config = yaml.safe_load(CONFIG)
    config["models"]["tumour"]["predictions"]["interval"] = "1s"
    config["models"]["tumour"]["labels"]["interval"] = "1s"
    exporter = Exporter(tmp_path, yaml.safe_dump(config))

    def feed(count: int) -> None:
        for name, part in parts[:count]:
            with (tmp_path / name).open("ab") as file:
                file.write(part)
        del parts[:count]

    rounds = len(parts) // KILLS
    try:
        for _ in range(KILLS):
            exporter.start()
            feed(rounds // 2)
            assert exporter.address  # it lives, and begins to poll about now
            time.sleep(chance.uniform(0, 0.15))
            feed(rounds - rounds // 2)
            time.sleep(chance.uniform(0, 0.15))
            exporter.kill()
        feed(len(parts))
        exporter.start().ready()
        values = exporter.values_once(
            lambda values: (
                values.one("model_exporter_source_polls_total", role="labels") >= 2
            )  # so the first is counted
        )

        assert not [line for line in exporter.said() if line["level"] == "error"]
        assert_expected(values)
        read = values.sum("model_exporter_source_rows_total")
        everything = EXPECTED["prediction_rows"] + EXPECTED["label_rows"]
        assert read < everything / 2, "the last process read most rows: the kills hit nothing"
    finally:
        exporter.kill()
