"""`model-exporter check` as a user runs it."""

import json
import subprocess
import sys

import pytest

CONFIG = """
models:
  tumour:
    positive: malignant
    predictions:
      files: {path: predictions.jsonl}
      fields: {id: record_id, time: timestamp, predicted: prediction}
    labels:
      files: {path: labels.csv}
      fields: {id: record_id, time: labelled_at, actual: diagnosis}
"""


@pytest.fixture
def command(tmp_path, request):
    """`command(words...)` runs model-exporter in an empty folder, with the package of this tree."""

    def run(*words):
        environment = {"PYTHONPATH": str(request.config.rootpath), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
        return subprocess.run(
            [sys.executable, "-m", "exporter", *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def folder(tmp_path):
    predictions = [
        {"record_id": f"rec-{at}", "timestamp": f"2026-01-01T00:00:{at:02}Z", "prediction": "malignant"}
        for at in range(9)
    ]
    (tmp_path / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in predictions))
    (tmp_path / "labels.csv").write_text(
        "record_id,labelled_at,diagnosis\n"
        + "".join(f"rec-{at},2026-01-02T00:00:00Z,malignant\n" for at in range(3, 12))
    )
    (tmp_path / "model-exporter.yml").write_text(CONFIG)
    return tmp_path


def test_a_valid_config(command, folder):
    """Without a file name the default config is told, and the command ends well."""
    done = command("check")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("model-exporter.yml is valid: 1 model.\n")
    assert "together" in done.stdout


def test_reading(command, folder):
    """With --read the join of both files is told, and nothing is written."""
    before = sorted(folder.iterdir())
    done = command("check", "model-exporter.yml", "--read", "100")
    assert (done.returncode, done.stderr) == (0, "")
    assert "labels that found a prediction  6  of 9 ids  66.7 %" in done.stdout
    assert sorted(folder.iterdir()) == before


def test_a_missing_source(command, folder):
    """A source that cannot be read gives exit code 1 after all has been told."""
    (folder / "predictions.jsonl").unlink()
    done = command("check", "model-exporter.yml", "--read", "100")
    assert done.returncode == 1
    assert "no such file" in " ".join(done.stdout.split())  # lines are folded after a long path
    assert "9 rows" in done.stdout


def test_a_faulty_config(command, folder):
    """A faulty config gives exit code 3, and its faults with file and line on standard error."""
    (folder / "model-exporter.yml").write_text(CONFIG.replace("predicted:", "predictd:").replace("actual:", "actul:"))
    done = command("check", "--read", "100")
    assert (done.returncode, done.stdout) == (3, "")
    assert "model-exporter.yml:7:" in done.stderr
    assert "model-exporter.yml:10:" in done.stderr


def test_reading_no_rows_at_all(command, folder):
    """--read 0 is a wrong command line."""
    assert command("check", "--read", "0").returncode == 2
