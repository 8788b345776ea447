"""What a real BentoML server logged, read by the config that the README shows."""

from __future__ import annotations

import re
import shutil
from collections import Counter

import yaml

from tests.bentoml import CONFIG, DATA, EXPECTED, assert_expected, labels, records
from tests.running import ROOT


def test_a_scrape_gives_the_expected_numbers(tmp_path, exporter):
    """The README's config gives the numbers that were computed from the same files by other means."""
    shutil.copytree(DATA, tmp_path, dirs_exist_ok=True)
    rows = {"predictions": EXPECTED["prediction_rows"], "labels": EXPECTED["label_rows"]}
    values = exporter(CONFIG).values_once(
        lambda values: (
            values.one("model_joins_total", result="matched")
            and all(values.one("model_exporter_source_rows_total", role=role) == count for role, count in rows.items())
        )
    )

    assert_expected(values)
    assert values.one("model_joins_total", result="corrected") == EXPECTED["corrected_ids"]
    assert values.one("model_joins_total", result="repeated") == EXPECTED["exact_duplicate_label_rows"]
    assert values.one("model_joins_total", result="early") == len(EXPECTED["orphan_labels"])
    assert values.sum("model_labelled_predictions_retracted_total") == EXPECTED["corrected_ids"]
    filtered = sum(one["record_id"] == "np-1" for one in records())
    assert filtered > 0
    assert values.one("model_exporter_source_rows_skipped_total", role="predictions") == filtered
    assert sum(values.of("model_exporter_source_rows_rejected_total")) == 0


def test_the_expected_numbers_follow_from_the_files():
    """A join by hand (the latest label wins) gives expected.json, so that a change of the files is noticed."""
    made = {one["record_id"]: one["prediction"] for one in records() if one["record_id"] != "np-1"}
    told = {one["record_id"]: one["diagnosis"] for one in sorted(labels(), key=lambda row: row["labelled_at"])}
    pairs = Counter((told[one] == "malignant", made[one] == "malignant") for one in made.keys() & told.keys())
    found = [pairs[True, True], pairs[False, True], pairs[True, False], pairs[False, False]]
    assert found == [EXPECTED[outcome] for outcome in ("tp", "fp", "fn", "tn")]
    assert sorted(told.keys() - made.keys()) == EXPECTED["orphan_labels"]


def test_the_readme_shows_this_config():
    """The block behind the README's marker says the same as the config that is tested here."""
    readme = ROOT / "README.md"
    if readme.exists():
        block = re.search(r"<!-- bentoml-config -->\s*```yaml\n(.*?)```", readme.read_text(), re.DOTALL)
        assert block, "README.md lacks a YAML block behind <!-- bentoml-config -->"
        assert yaml.safe_load(block[1]) == yaml.safe_load(CONFIG)
