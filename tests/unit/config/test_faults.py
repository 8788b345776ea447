"""Every kind of fault and the exact words that a user reads."""

import pytest

from exporter.config.schema import load, parse
from exporter.errors import ConfigError

BASE = """\
models:
  fraud:
    positive: fraud
    predictions:
      files: {path: a.jsonl}
      fields: {id: rid, predicted: p}
    labels:
      sql: {url: x://h, table: t}
      fields: {id: rid, actual: a}
"""
TOP = BASE + "    "
PREDICTIONS = "      fields: {id: rid, predicted: p}"
M = "models.fraud"
P = "models.fraud.predictions"
L = "models.fraud.labels"
BELOW = "needs classes: what labels call the class below it, such as classes: [legit, fraud]"

# What is replaced in BASE, by what, and the lines of the error without the file's name.
CASES = {
    # keys
    "unknown key with a near one": (
        "positive:",
        "positve:",
        [f"3:5: {M}.positve: unknown key; did you mean positive?"],
    ),
    "unknown key in the root": (
        "models:\n",
        "x: 1\nmodels:\n",
        ["1:1: x: unknown key; known here: limits, models, targets"],
    ),
    "key for anchors inside a mapping": (
        "models:\n",
        "limits: {x-note: 1}\nmodels:\n",
        ["1:10: limits.x-note: unknown key; known here: label_length, series"],
    ),
    "unknown key in a source": (
        "path: a",
        "paht: a",
        [f"5:15: {P}.files.paht: unknown key; did you mean path?"],
    ),
    "missing key": (
        "path: a.jsonl",
        "format: csv",
        [f"5:14: {P}.files.path: is missing: path or glob"],
    ),
    "missing predictions": (
        BASE[BASE.index("    predictions") : BASE.index("    labels")],
        "",
        [f"3:5: {M}.predictions: is missing: where the predictions are logged"],
    ),
    "no models": (BASE, "models: {}", ["1:9: models: must not be empty"]),
    "models left empty": (BASE, "models:", ["1:8: models: nothing is written here; expected a mapping"]),
    "a list of models": (
        BASE,
        "models: [a]",
        ["1:9: models: expected a mapping, found a list"],
    ),
    "a model's name with a space": (
        "  fraud:\n",
        "  ' fraud':\n",
        ["3:5: models. fraud: a model's name must be printable and have no space around it"],
    ),
    # types and ranges
    "text for a list": (
        BASE,
        TOP + "windows: 1h\n",
        [f"10:14: {M}.windows: expected a list, found text; put it in [ ]"],
    ),
    "number for text": (
        "a.jsonl",
        "5",
        [f"5:21: {P}.files.path: expected text, found a number; put it in quotes"],
    ),
    "truth value for text": (
        "a.jsonl",
        "true",
        [f"5:21: {P}.files.path: expected text, found true; put it in quotes"],
    ),
    "empty text": ("a.jsonl", "''", [f"5:21: {P}.files.path: must not be empty"]),
    "number with separators": (
        BASE,
        TOP + "max_versions: 1_000\n",
        [f"10:19: {M}.max_versions: expected a whole number, found text; write 1000"],
    ),
    "number with a leading zero": (
        BASE,
        TOP + "max_versions: 010\n",
        [f"10:19: {M}.max_versions: expected a whole number, found text; write 10"],
    ),
    "fraction for a whole number": (
        BASE,
        TOP + "max_versions: 1.5\n",
        [f"10:19: {M}.max_versions: must be a whole number"],
    ),
    "number too small": (
        BASE,
        TOP + "max_versions: 0\n",
        [f"10:19: {M}.max_versions: must be at least 1, found 0"],
    ),
    "number too large": (
        BASE,
        BASE + "limits: {label_length: 1e6}\n",
        ["10:24: limits.label_length: must be at most 10000, found 1000000"],
    ),
    "open bounds": (
        "table: t",
        "table: t, ratio: 1",
        [f"8:42: {L}.sql.ratio: must be less than 1, found 1"],
    ),
    "number that is not finite": (
        "table: t",
        "table: t, ratio: .inf",
        [f"8:42: {L}.sql.ratio: must be a number, and finite"],
    ),
    "yes for true": (
        "table: t",
        "table: t, strict: yes",
        [f"8:43: {L}.sql.strict: expected true or false, found text"],
    ),
    "pattern": ("table: t", "table: T", [f"8:32: {L}.sql.table: must match the pattern ^[a-z_]+$"]),
    "list too long": (
        "table: t",
        "table: t, pages: [1, 2, 3, 4]",
        [f"8:42: {L}.sql.pages: must have at most 3 entries"],
    ),
    "item of a list": (
        "table: t",
        "table: t, pages: [1, x]",
        [f"8:46: {L}.sql.pages[1]: expected a whole number, found text"],
    ),
    "value of a mapping": (
        "table: t",
        "table: t, options: {a: [1]}",
        [f"8:48: {L}.sql.options.a: expected text or a whole number, found a list"],
    ),
    "choice nearly right": (
        BASE,
        TOP + "task: binery\n",
        [
            (
                f"10:11: {M}.task: binery is unknown; did you mean binary? It may be binary, multiclass, multilabel, "
                "ranking or regression"
            )
        ],
    ),
    "choice far off": (
        BASE,
        TOP + "task: hunter2\n",
        [f"10:11: {M}.task: must be binary, multiclass, multilabel, ranking or regression"],
    ),
    "optional choice": (
        "path: a.jsonl",
        "path: a.jsonl, format: cvs",
        [f"5:38: {P}.files.format: cvs is unknown; did you mean csv? It may be csv or jsonl"],
    ),
    "rule of the source": (
        "table: t",
        "table: t, query: q",
        [f"8:12: {L}.sql: give either table or query for <secret>"],
    ),
    # durations
    "duration without a unit": (
        BASE,
        TOP + "horizon: 45\n",
        [f"10:14: {M}.horizon: a duration needs a unit; write 45s for seconds (or m, h, d, w)"],
    ),
    "duration with a wrong unit": (
        BASE,
        TOP + "horizon: 45 days\n",
        [f"10:14: {M}.horizon: expected a number with a unit, such as 30s, 5m, 1h30m or 45d, found text"],
    ),
    "duration of nothing": (BASE, TOP + "horizon: 0s\n", [f"10:14: {M}.horizon: must be more than 0s"]),
    "negative duration": (BASE, TOP + "horizon: -5\n", [f"10:14: {M}.horizon: a duration cannot be negative"]),
    "duration too short": (
        PREDICTIONS,
        PREDICTIONS + "\n      interval: 10ms",
        [f"7:17: {P}.interval: must be at least 1s"],
    ),
    "stale before the next poll": (
        PREDICTIONS,
        PREDICTIONS + "\n      interval: 5m\n      stale_after: 1m",
        [f"8:20: {P}.stale_after: must not be shorter than interval (5m), or gauges vanish between two polls"],
    ),
    "start and lookback": (
        "      fields: {id: rid, predicted: p}",
        "      fields: {id: rid, predicted: p}\n      lookback: 1h\n      start: end",
        [f"8:14: {P}.start: lookback is given as well; keep one of the two"],
    ),
    "window without a unit": (
        BASE,
        TOP + "windows: [1h, 1000]\n",
        [f"10:19: {M}.windows[1]: a window needs a unit; write 1000s for a time, or last 1000 for a count"],
    ),
    "window by a strange count": (
        BASE,
        TOP + "windows: [last hour]\n",
        [f"10:15: {M}.windows[0]: a window by count is written last N, such as last 1000"],
    ),
    "window that is none": (
        BASE,
        TOP + "windows: [day]\n",
        [f"10:15: {M}.windows[0]: a window is a time such as 1h or 24h, or a count such as last 1000"],
    ),
    "window by a count that memory does not hold": (
        BASE,
        TOP + "windows: [last 10000001]\n",
        [f"10:15: {M}.windows[0]: a window by count keeps its rows in memory: last 10000000 at most"],
    ),
    "window that is too long": (
        BASE,
        TOP + "windows: [40000d]\n",
        [f"10:15: {M}.windows[0]: a window of time is at most 36525d long; for all time, use the counters"],
    ),
    "window twice": (
        BASE,
        TOP + "windows: [24h, 1d]\n",
        [f"10:20: {M}.windows[1]: is the same window as one before it; remove one"],
    ),
    "time zone": (
        PREDICTIONS,
        PREDICTIONS + "\n      timezone: Europe/Berln",
        [f"7:17: {P}.timezone: unknown time zone; did you mean Europe/Berlin?"],
    ),
    "time zone that is a path": (
        PREDICTIONS,
        PREDICTIONS + "\n      timezone: /etc/passwd",
        [f"7:17: {P}.timezone: unknown time zone; write a name such as UTC or Europe/Berlin"],
    ),
    # sources
    "unknown source": (
        "files: {",
        "flies: {",
        [f"5:7: {P}.flies: unknown key; did you mean files?"],
    ),
    "no source": (
        "      files: {path: a.jsonl}\n",
        "",
        [f"5:7: {P}: has no source; write files: or sql: here, with its settings"],
    ),
    "two sources": (
        PREDICTIONS,
        PREDICTIONS + "\n      sql: {url: x, table: t}",
        [f"7:7: {P}.sql: a stream has one source, and files is already given; remove one of the two"],
    ),
    # fields
    "field by another name": (
        "predicted: p",
        "prediction: p",
        [f"6:25: {P}.fields.prediction: unknown field; did you mean predicted?"],
    ),
    "field nearly right": (
        "predicted: p",
        "pradicted: p",
        [f"6:25: {P}.fields.pradicted: unknown field; did you mean predicted?"],
    ),
    "field the wrong way round": (
        "id: rid, predicted",
        "rid: id, predicted",
        [
            (
                f"6:16: {P}.fields.rid: unknown field; write id: rid "
                "(the exporter's name first, then the path in your data)"
            )
        ],
    ),
    "field of the other role": (
        "actual: a",
        "actual: a, latency: t",
        [f"9:36: {L}.fields.latency: unknown field; labels know id, time, actual, model"],
    ),
    "no id": (
        "id: rid, predicted",
        "predicted",
        [
            (
                f"6:15: {P}.fields.id: is missing: write id: and the path of what predictions and labels share, "
                "such as id: request_id"
            )
        ],
    ),
    "no prediction": (
        ", predicted: p",
        "",
        [f"6:15: {P}.fields.predicted: is missing: map predicted, or score with a threshold, or probabilities"],
    ),
    "score without a threshold": (
        "predicted: p",
        "score: p",
        [
            (
                f"6:32: {P}.fields.score: without predicted, a score needs a threshold; "
                "write score: {field: PATH, threshold: 0.5}"
            )
        ],
    ),
    "threshold that decides nothing": (
        "predicted: p",
        "predicted: p, score: {field: s, threshold: 0.5}",
        [
            (
                f"6:68: {P}.fields.score.threshold: predicted is mapped, so that threshold decides nothing; "
                "remove one of the two"
            )
        ],
    ),
    "threshold out of range": (
        "predicted: p",
        "score: {field: s, threshold: 50}",
        [
            f"6:54: {P}.fields.score.threshold: must be at most 1, found 50",
            f"6:54: {P}.fields.score.threshold: {BELOW}",
        ],
    ),
    "threshold of a score and no classes": (
        "predicted: p",
        "score: {field: s, threshold: 0.5}",
        [f"6:54: {P}.fields.score.threshold: {BELOW}"],
    ),
    "threshold of what is predicted and no classes": (
        "predicted: p",
        "predicted: {field: s, threshold: 0.5}",
        [f"6:58: {P}.fields.predicted.threshold: {BELOW}"],
    ),
    "threshold without a score": (
        "predicted: p",
        "predicted: {threshold: 0.5}",
        [f"6:48: {P}.fields.predicted.threshold: decides by score, which is not mapped; map score as well"],
    ),
    "threshold elsewhere": (
        "predicted: p",
        "predicted: p, latency: {field: t, threshold: 0.5}",
        [f"6:70: {P}.fields.latency.threshold: only score has a threshold; remove it"],
    ),
    "no label": (
        ", actual: a",
        "",
        [f"9:15: {L}.fields.actual: is missing: write actual: and the path of the true class"],
    ),
    "label time without a label": (
        "predicted: p",
        "predicted: p, label_time: t",
        [f"6:51: {P}.fields.label_time: is the time of actual, which is not mapped here"],
    ),
    "field and constant": (
        "predicted: p",
        "predicted: {field: p, constant: 1}",
        [f"6:57: {P}.fields.predicted.constant: field and constant are both given; keep one of the two"],
    ),
    "neither field nor constant": (
        "predicted: p",
        "predicted: {map: {a: b}}",
        [f"6:36: {P}.fields.predicted: names no place; write the dotted path of the value, or field: PATH"],
    ),
    "constant id": (
        "id: rid, predicted",
        "id: {constant: 1}, predicted",
        [f"6:31: {P}.fields.id.constant: id cannot be the same for every row; write the dotted path of its value"],
    ),
    "path with a gap": (
        "predicted: p",
        "predicted: a..b",
        [f"6:36: {P}.fields.predicted: is no dotted path; write names with single dots between, such as output.label"],
    ),
    "JSON path": (
        "predicted: p",
        "predicted: $.a.b",
        [f"6:36: {P}.fields.predicted: a path begins with a name; leave out the $."],
    ),
    "unit elsewhere": (
        "predicted: p",
        "predicted: {field: p, unit: ms}",
        [f"6:53: {P}.fields.predicted.unit: only label_time, latency or time have a unit; remove it"],
    ),
    "map elsewhere": (
        "id: rid, predicted",
        "id: {field: rid, map: {a: b}}, predicted",
        [
            (
                f"6:38: {P}.fields.id.map: only actual, error, model, predicted, status or version "
                "can be mapped value by value; remove it"
            )
        ],
    ),
    # the model as a whole
    "no positive class": (
        "positive: fraud",
        "task: binary",
        [
            (
                f"3:5: {M}.positive: is missing: the class that precision and recall are about, "
                "such as positive: fraud; or write task: multiclass"
            )
        ],
    ),
    "positive class of many": (
        BASE,
        TOP + "task: multiclass\n",
        [f"3:15: {M}.positive: only task: binary has a positive class; remove it"],
    ),
    "groups of no attribute": (
        BASE,
        TOP + "thresholds: {disparate_impact: {warning: 0.8}}\n",
        [
            (
                f"10:18: {M}.thresholds.disparate_impact: compares groups of an attribute; "
                "write predictions.fields.segments: {ATTRIBUTE: PATH}"
            )
        ],
    ),
    "positive class not declared": (
        BASE,
        TOP + "classes: [legit, frauds]\n",
        [f"3:15: {M}.positive: is none of the declared classes; did you mean frauds?"],
    ),
    "three classes of two": (
        BASE,
        TOP + "classes: [a, b, fraud]\n",
        [f"10:14: {M}.classes: task: binary has 2 classes, here are 3; list both, or write task: multiclass"],
    ),
    "map to no class": (
        "positive: fraud\n    predictions:\n      files: {path: a.jsonl}\n" + PREDICTIONS,
        "positive: fraud\n    classes: {fraud: [1], legit: 0}\n    predictions:\n      files: {path: a.jsonl}\n"
        + PREDICTIONS.replace("predicted: p", "predicted: {field: p, map: {a: 1, b: legti, c: zzz, d: fraud}}"),
        [
            f"7:62: {P}.fields.predicted.map.b: gives none of the declared classes; did you mean legit?",
            f"7:72: {P}.fields.predicted.map.c: gives none of the declared classes",
        ],
    ),
    "class twice": (
        "    positive: fraud\n",
        "    task: multiclass\n    classes: [1, b, '1']\n",
        [f"4:21: {M}.classes[2]: this class is listed twice; remove one"],
    ),
    "one class": (
        "    positive: fraud\n",
        "    task: multiclass\n    classes: [a]\n",
        [f"4:14: {M}.classes: task: multiclass needs at least 2 classes"],
    ),
    "spelling of two classes": (
        BASE,
        TOP + "classes: {fraud: [1, true], legit: [0, 1.0]}\n",
        [f"10:40: {M}.classes.legit: one of these spellings already stands for fraud; keep it in one class"],
    ),
    "score of many classes": (
        "    positive: fraud\n    predictions:\n      files: {path: a.jsonl}\n" + PREDICTIONS,
        (
            "    task: multiclass\n    predictions:\n      files: {path: a.jsonl}\n"
            "      fields: {id: rid, predicted: p, score: s}"
        ),
        [
            (
                f"6:46: {P}.fields.score: is the probability of the positive class, "
                "which task: multiclass does not have; map probabilities"
            )
        ],
    ),
    "probabilities of nothing": (
        "predicted: p",
        "probabilities: p",
        [f"6:40: {P}.fields.probabilities: needs classes: in the order of the list, such as classes: [legit, fraud]"],
    ),
    "labels nowhere": (
        BASE[BASE.index("    labels") :],
        "",
        [
            (
                f"3:5: {L}: is missing: add labels: with a source, "
                "or map actual in predictions.fields if its rows hold the label"
            )
        ],
    ),
    "labels twice": (
        "predicted: p",
        "predicted: p, actual: b",
        [
            (
                f"7:5: {L}: predictions.fields already maps actual, so that each row brings its label; "
                "remove one of the two"
            )
        ],
    ),
    "model in the labels only": (
        "actual: a",
        "actual: a, model: m",
        [f"9:43: {L}.fields.model: predictions do not map model; map it in both, or in none"],
    ),
    "buckets out of order": (
        BASE,
        TOP + "latency_buckets: [0.1, 0.1]\n",
        [f"10:28: {M}.latency_buckets[1]: must be larger than the bound before it"],
    ),
    "measure nearly right": (
        BASE,
        TOP + "thresholds: {acuracy: {warning: 0.9}}\n",
        [f"10:18: {M}.thresholds.acuracy: unknown key; did you mean accuracy?"],
    ),
    "threshold in percent": (
        BASE,
        TOP + "thresholds: {f1: {warning: 92}}\n",
        [f"10:32: {M}.thresholds.f1.warning: must be at most 1, found 92"],
    ),
    "bounds the wrong way round": (
        BASE,
        TOP + "thresholds: {f1: {warning: 0.8, critical: 0.9}}\n",
        [f"10:22: {M}.thresholds.f1: critical must not be above warning: a model gets worse as the measure falls"],
    ),
    "bounds of a ceiling the wrong way round": (
        BASE,
        TOP + "thresholds: {drop: {warning: 0.2, critical: 0.1}}\n",
        [f"10:24: {M}.thresholds.drop: critical must not be below warning: a model gets worse as the measure rises"],
    ),
    "duration without a unit in a threshold": (
        BASE,
        TOP + "thresholds: {label_age: {warning: 3}}\n",
        [f"10:39: {M}.thresholds.label_age.warning: a duration needs a unit; write 3s for seconds (or m, h, d, w)"],
    ),
    "objective without an error budget": (
        BASE,
        TOP + "objectives: {accuracy: 1}\n",
        [f"10:28: {M}.objectives.accuracy: must be less than 1, found 1"],
    ),
    "measure of another task": (
        BASE,
        TOP + "thresholds: {ndcg: {warning: 0.9}}\n    baseline: {hit_rate: 1}\n",
        [
            f"10:18: {M}.thresholds.ndcg: only task: ranking has ndcg; remove it",
            f"11:16: {M}.baseline.hit_rate: only task: ranking has hit_rate; remove it",
        ],
    ),
    "measure of scores without any": (
        BASE,
        TOP + "baseline: {roc_auc: 0.9}\n",
        [f"10:16: {M}.baseline.roc_auc: needs scores; map score, or probabilities of several classes, or remove it"],
    ),
    "baseline in percent": (
        BASE,
        TOP + "baseline: {f1: 92}\n",
        [f"10:16: {M}.baseline.f1: must be at most 1"],
    ),
    "no bounds": (
        BASE,
        TOP + "thresholds: {f1: {}}\n",
        [f"10:22: {M}.thresholds.f1: has neither warning nor critical; write {{warning: 0.9, critical: 0.8}}"],
    ),
}


def complaint(text, environment=None):
    """The lines of the ConfigError that *text* gives."""
    with pytest.raises(ConfigError) as caught:
        parse(text, "m.yml", environment=environment or {})
    return [line.removeprefix("m.yml:") for line in str(caught.value).split("\n")]


def test_base_has_no_fault():
    """The config that the cases break is itself right."""
    assert parse(BASE, "m.yml", environment={}).models["fraud"].spec.positive == "fraud"


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_fault(case):
    """A fault is told with its place, what is wrong, and what to write."""
    old, new, lines = case
    assert old in BASE
    assert complaint(BASE.replace(old, new, 1)) == lines


def test_all_faults_are_told_at_once():
    """Faults of different kinds in different places come in one list, in the order of the file."""
    text = BASE.replace("path:", "paht:").replace("table: t", "table: T").replace("positive: fraud", "positive: [x]")
    assert [line.split(": ")[0] for line in complaint(text + "limits: {series: few}\nlimit: 1\n")] == [
        "3:15",
        "5:15",
        "8:32",
        "10:18",
        "11:1",
    ]


def test_missing_file(tmp_path):
    """A config that is not there is a fault, not a crash."""
    with pytest.raises(
        ConfigError, match=r"none\.yml:1:1: cannot be read: no such file or directory; name the config"
    ):
        load(tmp_path / "none.yml")


def test_file_of_other_encoding(tmp_path):
    """The first byte that is no UTF-8 is named by line and column."""
    path = tmp_path / "m.yml"
    path.write_bytes(b"a: 1\nb: \xff")
    with pytest.raises(ConfigError, match=r"m\.yml:2:4: is no UTF-8 text; save the file as UTF-8"):
        load(path)


def test_byte_order_mark(tmp_path):
    """A byte order mark does no harm."""
    path = tmp_path / "m.yml"
    path.write_bytes(b"\xef\xbb\xbf" + BASE.encode())
    assert list(load(path).models) == ["fraud"]
