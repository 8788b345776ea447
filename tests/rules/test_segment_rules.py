"""Records of quality by group and of fairness: over two unequal replicas they are fairlearn's answer on all rows."""

from __future__ import annotations

import random
import subprocess
from math import sqrt
from pathlib import Path

import numpy as np
import pytest
import yaml

from exporter.contracts import ModelSpec, SegmentSpec
from exporter.pipeline import Pipeline
from exporter.state import State
from tests.ledgers import config, model, samples, shown
from tests.logs import Logs

fairlearn = pytest.importorskip("fairlearn.metrics")
sklearn = pytest.importorskip("sklearn.metrics")

FOLDER = Path(__file__).parents[2] / "alert_rules"
REGION = SegmentSpec(name="region", top=3, min_group_size=20)
RIGHT = {"A": 0.95, "B": 0.9, "C": 0.7}
"""How often the model is right, by region; the others come too late to have series of their own."""
SHARES = {"A": 60, "B": 25, "C": 12, "D": 3}
EXACT = 1e-9


def logged(seed, count):
    """(actual, predicted, region) of *count* rows."""
    chance = random.Random(seed)
    rows = []
    for _ in range(count):
        region = chance.choices(list(SHARES), list(SHARES.values()))[0]
        actual = chance.random() < 0.3
        predicted = actual if chance.random() < RIGHT.get(region, 0.5) else not actual
        rows.append(("yes" if actual else "no", "yes" if predicted else "no", region))
    return rows


def replica(rows):
    """All samples of an exporter that read *rows*, each fifth label corrected; and the group that each row is in."""
    spec = {"task": "binary", "positive": "yes", "classes": ("no", "yes"), "segments": (REGION,)}
    pipeline = Pipeline(config(model("m", **spec)), State(None))
    logs = Logs(ModelSpec(name="m", **spec), segments=("region",))
    pipeline.absorb(
        [logs.predictions(*({"id": at, "predicted": p, "region": r} for at, (_, p, r) in enumerate(rows)))]
    )
    wrong = {"yes": "no", "no": "yes"}
    told = [{"id": at, "actual": wrong[y] if at % 5 == 0 else y} for at, (y, _, _) in enumerate(rows)]
    pipeline.absorb([logs.labels(*told)])
    corrections = ({"id": at, "actual": y, "time": 1e9 + 9} for at, (y, _, _) in enumerate(rows) if at % 5 == 0)
    pipeline.absorb([logs.labels(*corrections)])
    return samples(shown(pipeline)), list(groups_of(rows))


def groups_of(rows):
    """What the exporter knows each row's region as: `other` until its `min_group_size`-th row."""
    seen = dict.fromkeys(SHARES, 0)
    known = []
    for _, _, region in rows:
        seen[region] += 1
        if region not in known and seen[region] >= REGION.min_group_size and len(known) < REGION.top:
            known.append(region)
        yield region if region in known else "other"


def series(found, instance):
    """What Prometheus scraped of one replica: counters that rose from 0 at once, and gauges."""
    for (name, labels), value in found.items():
        if name.startswith("model_"):
            pairs = ", ".join(
                f'{key}="{text}"' for key, text in [*sorted(labels), ("instance", instance), ("job", "j")]
            )
            values = f"0 {value:g}x29" if name.endswith("_total") else f"{value:g}x30"
            yield {"series": f"{name}{{{pairs}}}", "values": values}


def evaluated(debian, folder, given, expected):
    """Run promtool on the rules: each of the *expected* expressions has one value, exactly."""
    files = [FOLDER / "recording.yml", FOLDER / "segments.yml"]
    order = [group["name"] for path in files for group in yaml.safe_load(path.read_text())["groups"]]
    tests = [
        {"expr": f"count(abs({what} - ({value!r})) < {EXACT})", "eval_time": "30m", "exp_samples": [{"value": 1}]}
        for what, value in expected.items()
    ]
    group = {"interval": "1m", "input_series": given, "promql_expr_test": tests}
    file = {"rule_files": list(map(str, files)), "evaluation_interval": "1m", "group_eval_order": order}
    path = folder / "test.yml"
    path.write_text(yaml.safe_dump(file | {"tests": [group]}))
    command = [debian("prometheus", "promtool"), "test", "rules", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def pooled():
    """Series of both replicas, and all rows: actual, predicted, group."""
    shards = {"big": logged(1, 1900), "small": logged(2, 300)}
    given, rows = [], []
    for instance, part in shards.items():
        found, groups = replica(part)
        given += series(found, instance)
        rows += [(y == "yes", p == "yes", group) for (y, p, _), group in zip(part, groups, strict=True)]
    table = [np.array(column) for column in zip(*rows, strict=True)]
    return given, *table


def test_fairness_is_fairlearns(debian, tmp_path, pooled):
    """Differences and ratios between groups, without `other`, as fairlearn gives them for rows of both replicas."""
    given, actual, predicted, groups = pooled
    named = groups != "other"
    rows = {"y_true": actual[named], "y_pred": predicted[named], "sensitive_features": groups[named]}
    expected = {}
    for measure in ("demographic_parity", "equal_opportunity", "equalized_odds"):
        for kind in ("difference", "ratio"):
            truth = float(getattr(fairlearn, f"{measure}_{kind}")(**rows))
            expected[f'model_attribute:model_fairness:{kind}_increase1d{{measure="{measure}"}}'] = truth
    assert len({round(value, 6) for value in expected.values()}) > 4
    evaluated(debian, tmp_path, given, expected)


def test_quality_of_each_group_is_scikit_learns(debian, tmp_path, pooled):
    """Accuracy, precision, recall and F1 of each group, `other` among them, which means of gauges would miss."""
    given, actual, predicted, groups = pooled
    expected = {}
    for group in sorted(set(groups)):
        y, p = actual[groups == group], predicted[groups == group]
        assert len(y) > 50
        for measure in ("accuracy", "precision", "recall", "f1"):
            truth = float(getattr(sklearn, f"{measure}_score")(y, p))
            of = f'{{attribute="region", group="{group}", measure="{measure}"}}'
            expected[f"model_group:model_segment_quality:ratio_increase1d{of}"] = truth
    assert len(expected) == 16
    evaluated(debian, tmp_path, given, expected)


def wilson(p, n, sign):
    return (p + 4.5 / n + sign * 3 * sqrt(p * (1 - p) / n + 2.25 / n**2)) / (1 + 9 / n)


def test_bounds_are_wilsons(debian, tmp_path, pooled):
    """What alerts judge is the best that chance leaves possible, by rates and counts of both replicas."""
    given, actual, predicted, groups = pooled
    n = {group: int((groups == group).sum()) for group in "ABC"}
    rate = {group: float(predicted[groups == group].mean()) for group in "ABC"}
    upper = {group: wilson(rate[group], n[group], 1) for group in "ABC"}
    lower = {group: wilson(rate[group], n[group], -1) for group in "ABC"}
    right = float((actual == predicted)[groups == "C"].mean())
    expected = {f'model_group:model_segment_predictions:increase1d{{group="{group}"}}': n[group] for group in "ABC"}
    expected["model_attribute:model_disparate_impact:upper_bound1d"] = min(
        1, min(upper.values()) / max(lower.values())
    )
    gap = float((actual == predicted).mean()) - wilson(right, n["C"], 1)
    expected['model_group:model_segment_gap:lower_bound1d{group="C", measure="accuracy"}'] = gap
    evaluated(debian, tmp_path, given, expected)
