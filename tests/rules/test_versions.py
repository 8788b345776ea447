"""Champion against challenger: the recorded intervals and z scores are those of statsmodels, over two replicas."""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from pathlib import Path

import numpy as np
import yaml
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint, proportions_ztest

ROOT = Path(__file__).parents[2]
FILES = [ROOT / "alert_rules" / name for name in ("recording.yml", "versions.yml")]
MINUTES = 240
"""Far less than a day, and a multiple of every interval; a counter that rises by r a minute has risen by r * 240."""
EPSILON = 1e-6


def outcomes(seed, champion_errors, challenger_errors, share):
    """tp, fp, fn, tn per minute of the champion and of a challenger with that *share* of the traffic."""
    rng = np.random.default_rng(seed)
    found = []
    for errors, labels in ((champion_errors, 1_000), (challenger_errors, int(1_000 * share))):
        wrong = rng.binomial(labels, errors)
        fp = rng.binomial(wrong, 0.6)
        tp = rng.binomial(labels - wrong, 0.3)
        found.append((tp, fp, wrong - fp, labels - wrong - tp))
    return found


MODELS = {
    "worse": outcomes(1, 0.05, 0.08, 0.1),
    "same": outcomes(2, 0.05, 0.05, 0.1),
    "better": outcomes(3, 0.2, 0.02, 0.5),
    "rare": outcomes(4, 0.001, 0.002, 0.05),
    "even": outcomes(5, 0.4, 0.5, 1.0),
}


def series(model):
    """The exporter's counters: each version on two replicas, of which one has a fifth of the rows."""
    out = []

    def add(name, value, **labels):
        pairs = ", ".join(f'{key}="{text}"' for key, text in {"job": "ml", "model": model, **labels}.items())
        out.append({"series": f"{name}{{{pairs}}}", "values": value})

    for version, counts in zip("12", MODELS[model], strict=True):
        for instance, part in (("a", 0.8), ("b", 0.2)):
            own = {"instance": instance, "version": version}
            tp, fp, fn, tn = (count * part / 10 for count in counts)
            add("model_info", f"1x{MINUTES}", **own, task="binary")
            add("model_champion_info", f"1x{MINUTES}", instance=instance, version="1") if version == "1" else None
            add("model_class_info", f"1x{MINUTES}", **own, **{"class": "yes"}, positive="true")
            for correct, rate in (("true", tp + tn), ("false", fp + fn)):
                add("model_labelled_predictions_total", f"0+{rate:.6f}x{MINUTES}", **own, correct=correct)
                add("model_labelled_predictions_retracted_total", f"0x{MINUTES}", **own, correct=correct)
            for outcome, rate in zip(("tp", "fp", "fn", "tn"), (tp, fp, fn, tn), strict=True):
                labels = own | {"class": "yes", "outcome": outcome}
                add("model_outcomes_total", f"0+{rate:.6f}x{MINUTES}", **labels)
                add("model_outcomes_retracted_total", f"0x{MINUTES}", **labels)
    return out


def shares(counts):
    """Right ones of all, per measure: of F1, tp of tp + fp + fn."""
    tp, fp, fn, tn = (count * MINUTES / 10 for count in counts)
    every = tp + fp + fn + tn
    return {
        "accuracy": (tp + tn, every), "precision": (tp, tp + fp), "recall": (tp, tp + fn), "f1": (tp, tp + fp + fn),
    }  # fmt: skip


def as_measure(measure, share):
    """The measure that belongs to a share."""
    return 2 * share / (1 + share) if measure == "f1" else share


def newcombe(measure, one, other):
    """The interval of one - other; of F1 by the same construction on its own scale."""
    if measure != "f1":
        return confint_proportions_2indep(*one, *other, method="newcomb", compare="diff")
    value, low, high = ([], [], [])
    for k, n in (one, other):
        bounds = proportion_confint(k, n, method="wilson")
        value.append(as_measure(measure, k / n))
        low.append(as_measure(measure, bounds[0]))
        high.append(as_measure(measure, bounds[1]))
    difference = value[0] - value[1]
    return (
        difference - np.hypot(value[0] - low[0], high[1] - value[1]),
        difference + np.hypot(high[0] - value[0], value[1] - low[1]),
    )


def expected():
    """What the rules must record, by record: one series per model and measure, of the challenger."""
    found = defaultdict(list)
    for model, (champion, challenger) in MODELS.items():
        for measure, one in shares(challenger).items():
            other = shares(champion)[measure]
            low, high = newcombe(measure, one, other)
            wilson = [as_measure(measure, bound) for bound in proportion_confint(*one, method="wilson")]
            values = {
                "quality:difference": as_measure(measure, one[0] / one[1]) - as_measure(measure, other[0] / other[1]),
                "quality:difference_lower": low,
                "quality:difference_upper": high,
                "quality:zscore": proportions_ztest([one[0], other[0]], [one[1], other[1]])[0],
                "compared_quality:lower": wilson[0],
                "compared_quality:upper": wilson[1],
            }
            for name, value in values.items():
                found[name].append((model, measure, float(value)))
    return found


def test_intervals_and_z_scores_are_those_of_statsmodels(debian, tmp_path):
    """Over five models of all kinds every recorded figure of every measure is the oracle's, to a millionth."""
    cases = []
    for name, wanted in expected().items():
        # promtool compares rounded values for equality: the difference from the oracle is asked for instead
        terms = [
            f'label_replace(label_replace(vector({value!r}), "model", "{m}", "", ""), "measure", "{one}", "", "")'
            for m, one, value in wanted
        ]
        record = f'model_version:model_{name}_increase1d{{version="2"}}'
        near = f"abs({record} - on (model, measure) ({' or '.join(terms)})) < bool {EPSILON}"
        samples = [{"labels": f'{{model="{m}", measure="{one}"}}', "value": 1} for m, one, _ in wanted]
        cases.append({"expr": near, "eval_time": f"{MINUTES}m", "exp_samples": samples})
    groups = [group["name"] for path in FILES for group in yaml.safe_load(path.read_text())["groups"]]
    every = [one for model in MODELS for one in series(model)]
    text = {
        "rule_files": [str(path) for path in FILES],
        "evaluation_interval": "1m",
        "group_eval_order": groups,
        "tests": [{"interval": "1m", "input_series": every, "promql_expr_test": cases}],
    }
    path = tmp_path / "versions.yml"
    path.write_text(yaml.safe_dump(text))
    done = subprocess.run(
        [debian("prometheus", "promtool"), "test", "rules", path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_queries_of_the_page_run(debian, tmp_path):
    """What a roll-out controller is told to ask is PromQL, about records that the rules write."""
    page = (ROOT / "docs/versions.md").read_text()
    queries = re.findall(r"query: \|\n +(.*)", page)
    assert len(queries) == 3
    rules = [{"record": f"q{number}", "expr": query} for number, query in enumerate(queries)]
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    subprocess.run([debian("prometheus", "promtool"), "check", "rules", path], check=True, capture_output=True)
    recorded = set(re.findall(r"record: (\S+)", FILES[1].read_text()))
    assert set(re.findall(r"model_version:[\w:]+", page)) <= recorded
