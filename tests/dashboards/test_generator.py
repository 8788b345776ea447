"""The generator: what is checked in is what it writes, and names that do not exist stop it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from dashboards import generate
from dashboards.queries import Selector, UnknownName
from tests.running import ROOT

COMMAND = [sys.executable, ROOT / "dashboards/generate.py"]


def test_checked_in_files_are_up_to_date(tmp_path):
    """`python dashboards/generate.py --check` agrees from any folder, and would write the same bytes again."""
    done = subprocess.run([*COMMAND, "--check"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert generate.files() == generate.files()


def test_check_names_the_files_that_differ(tmp_path, monkeypatch, capsys):
    """A missing, a changed and a left-over file are each named, and nothing is written."""
    monkeypatch.setattr(generate, "HERE", tmp_path)
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0
    fleet, model = tmp_path / "model-exporter-fleet.json", tmp_path / "model-exporter-model.json"
    fleet.unlink()
    model.write_text(json.dumps(json.loads(model.read_text())))
    (tmp_path / "old.json").write_text("{}")
    capsys.readouterr()
    assert generate.main(["--check"]) == 1
    said = capsys.readouterr().err
    assert said.endswith("generate.py`: model-exporter-fleet.json, model-exporter-model.json, old.json\n")
    assert not fleet.exists()


@pytest.mark.parametrize(
    ("name", "matcher", "said"),
    [
        ("model_predictions", 'model="a"', "no metric model_predictions"),
        ("model_predictions_total", 'klass="a"', "no label klass"),
        ("model:model_quality:ratio_increase2h", 'measure="a"', "no rule below alert_rules/"),
    ],
)
def test_names_that_do_not_exist_stop_the_build(name, matcher, said):
    """A metric, a label or a record that is misspelt, or was renamed, is refused by name."""
    with pytest.raises(UnknownName, match=said):
        Selector({})(name, matcher)


def test_selectors_carry_the_scope_that_fits():
    """Of the matchers of a page, a selector gets those whose label the metric or the record has."""
    of = Selector({"job": 'job=~"$job"', "model": 'model="$model"', "target": 'target=~"$target"'})
    assert of("model_info") == 'model_info{job=~"$job", model="$model"}'
    assert of("model_server_up") == 'model_server_up{job=~"$job", target=~"$target"}'
    assert of("job:model_server_requests:rate5m") == "job:model_server_requests:rate5m"
    assert of("model_info", 'model!=""') == 'model_info{job=~"$job", model!=""}'
    assert of("model_prediction_latency_seconds_bucket", 'le="1"').endswith('model="$model", le="1"}')
