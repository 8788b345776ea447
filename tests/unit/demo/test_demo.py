"""The demo's own part: its config, its words, and what it leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys
from glob import glob
from pathlib import Path

import pytest

from exporter import demo
from exporter.config.schema import load
from exporter.errors import ExporterError


def children():
    tasks = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    return {int(pid) for task in tasks for pid in task.read_text().split()}


# --- the config ----------------------------------------------------------------------------------


def test_the_config_is_a_good_one(tmp_path):
    """It loads without a fault, and says what the demo's text says."""
    model = load(demo.prepare(tmp_path)).models["breast-cancer"]
    assert model.spec.positive == "malignant"
    assert set(model.spec.classes) == {"benign", "malignant"}
    assert [window.name for window in model.windows] == ["1m", "10m", "last 500"]
    assert model.horizon == 600
    assert (model.predictions.interval, model.labels.interval) == (1.0, 1.0)
    target = load(demo.prepare(tmp_path)).targets[demo.TARGET]
    assert (target.model, target.life, target.interval) == ("breast-cancer", None, 1.0)
    (disk,) = [probe.settings for probe in target.measures if probe.kind == "disk"]
    assert os.stat(disk.mountpoints[0]).st_dev == os.stat(tmp_path).st_dev  # noqa: PTH116 - both are texts of paths
    assert model.predictions.source.paths == [str(tmp_path / "breast-cancer/predictions.jsonl")]


@pytest.mark.parametrize("name", ["a: b", "$folder ${x}", "[x]*?", 'quo"te', "#", "größe 😀", "{y}"])
def test_a_folder_may_be_called_anything(tmp_path, name):
    """The path in the config finds the very log, whatever characters the folder's name has."""
    folder = tmp_path / name
    stream = load(demo.prepare(folder)).models["breast-cancer"].predictions
    log = folder / "breast-cancer/predictions.jsonl"
    log.parent.mkdir()
    log.touch()
    assert glob(stream.source.path) == [str(log)]  # noqa: PTH207 - an absolute pattern


def test_a_config_that_the_user_changed_is_kept(tmp_path):
    """A second start on a folder does not overwrite its config."""
    path = demo.prepare(tmp_path)
    path.write_text("mine\n")
    assert demo.prepare(tmp_path) == path
    assert path.read_text() == "mine\n"


def test_a_folder_that_cannot_be_used_is_named(tmp_path):
    """Where a file is in the way, the error names it and says what to do."""
    (tmp_path / "file").touch()
    with pytest.raises(ExporterError, match=r"cannot use .*/file.*another folder"):
        demo.prepare(tmp_path / "file")


# --- the run -------------------------------------------------------------------------------------


def test_rows_are_there_before_the_exporter_is_started(tmp_path, capfd):
    """serve gets a config, a state folder and the address; a named folder stays, with everything in it."""
    seen = []

    def serve(config, state, address, supervisor):
        assert (tmp_path / "d/breast-cancer/predictions.jsonl").stat().st_size > 0
        seen.append((config, state, address, children()))
        return 5

    before = children()
    assert demo.run(tmp_path / "d", "127.0.0.1:0", serve) == 5
    ((config, state, address, during),) = seen
    assert (config, state, address) == (tmp_path / "d/model-exporter.yml", tmp_path / "d/state", "127.0.0.1:0")
    assert during - before
    assert not children() - before
    assert config.exists()
    said = capfd.readouterr().out
    assert str(tmp_path / "d") in said
    assert "exporter.demo.truth" in said
    assert f"model-exporter demo {tmp_path / 'd'}" in said


def test_a_temporary_folder_is_removed(capfd):
    """Without a folder of the user's nothing stays on the disk, and the last line says how to keep it."""
    used = []

    def serve(config, state, address, supervisor):
        state.mkdir()
        (state / "x").touch()
        used.append(config.parent)
        return 0

    assert demo.run(None, "127.0.0.1:0", serve) == 0
    assert not used[0].exists()
    assert "model-exporter demo FOLDER" in capfd.readouterr().out


def test_an_exporter_that_fails_leaves_no_child(tmp_path):
    """When serve raises, the workload is stopped and the error goes on."""

    def serve(config, state, address, supervisor):
        raise ExporterError("the port is in use")

    before = children()
    with pytest.raises(ExporterError, match="port"):
        demo.run(tmp_path, "127.0.0.1:0", serve)
    assert not children() - before


def test_a_model_that_does_not_start_is_told(tmp_path, capfd):
    """If the workload cannot write its log, the demo says so and does not wait for it."""
    (tmp_path / "breast-cancer/labels.csv").mkdir(parents=True)
    with pytest.raises(ExporterError, match="did not start"):
        demo.run(tmp_path, "127.0.0.1:0", lambda *_: 0)
    assert "IsADirectoryError" in capfd.readouterr().err


def test_where_to_look_is_told_with_the_real_port(capsys):
    """The page, the metrics and a curl line name the port that is listened on."""
    demo.announce(4321)
    said = capsys.readouterr().out
    assert "http://127.0.0.1:4321/\n" in said
    assert "curl -s http://127.0.0.1:4321/metrics | grep _ratio" in said


def test_the_demo_itself_needs_no_heavy_import():
    """Only the child imports scikit-learn, so that the exporter beside it stays small."""
    code = "import sys, exporter.demo; sys.exit(any(name in sys.modules for name in ('sklearn', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
