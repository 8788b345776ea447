"""The demo as a newcomer meets it: one command, and numbers that agree with scikit-learn on the same rows."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporter.demo import truth
from tests.running import wait_for

MODEL = "breast-cancer"
TOLERANCE = 1e-12
BINNED = {"model_roc_auc_ratio": 0.01, "model_average_precision_ratio": 0.02}
"""Measures that are worked out of bins of scores, and how far they may be off for a few hundred scores; the tree that
is version 1.1 has only eight different ones, where ten times as much is to be expected."""


class Values:
    """Samples of one scrape: `values("model_accuracy_ratio", version="1.0", window="10m")`."""

    def __init__(self, text):
        self._samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def __call__(self, metric, **labels):
        return self._samples.get((metric, frozenset({"model": MODEL, **labels}.items())))

    def gauge(self, name, **labels):
        """A sample by its name and perhaps labels, such as `model_ndcg_ratio{k="5"}`, and further labels."""
        metric, *pairs = re.split(r'[{},="]+', name.rstrip('"}'))
        return self(metric, **dict(zip(pairs[::2], pairs[1::2], strict=True)), **labels)

    def sum(self, metric, **labels):
        wanted = set(labels.items())
        return sum(value for (name, have), value in self._samples.items() if name == metric and wanted <= have)

    def standing(self, metric, **labels):
        """A counter less what corrected labels took back from it."""
        return self(f"{metric}_total", **labels) - self(f"{metric}_retracted_total", **labels)


@dataclass
class Demo:
    process: subprocess.Popen
    said: str
    url: str
    folder: Path
    began: float

    def scrape(self):
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=10) as response:
            return response.read().decode()

    def values(self):
        return Values(self.scrape())

    def child(self):
        """The number of the model server, once there is one: it dies now and then."""

        def only():
            tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
            children = [int(pid) for task in tasks for pid in task.read_text().split()]
            return [pid for pid in children if "isotonic" not in command(pid)]  # a fit of calibration comes and goes

        (pid,) = wait_for(only, 10)
        return pid


@contextlib.contextmanager
def started(output, *arguments):
    """The demo as a process of its own, once it has said where to look and is ready."""
    began = time.monotonic()
    command = [sys.executable, "-m", "exporter", "demo", *arguments, "--web.listen-address", "127.0.0.1:0"]
    temporary = {**os.environ, "TMPDIR": str(output.parent)}
    with output.open("wb") as file:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, env=temporary
        )
    try:

        def spoken():
            said = output.read_text()
            assert process.poll() is None, said
            return said if "Ctrl-C" in said else None

        said = wait_for(spoken, 60)
        url = re.search(r"page +(http://\S+)/\n", said)[1]
        wait_for(lambda: is_ready(url), 30)
        yield Demo(process, said, url, Path(re.search(r"folder +(\S+)", said)[1]), began)
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def paused(pid):
    """The logs grow no more, and everything else goes on."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def is_ready(url):
    try:
        with urllib.request.urlopen(f"{url}/-/ready", timeout=10):
            return True
    except urllib.error.HTTPError as error:
        with error:
            return False


def command(pid):
    """The command line of a process; empty once it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def gone(pid):
    return not Path(f"/proc/{pid}").exists()


def test_the_demo_agrees_with_scikit_learn(tmp_path, debian):
    """Counters less their retractions, and the gauges of every window that holds all rows, equal scikit-learn's."""
    promtool = debian("prometheus", "promtool")
    with started(tmp_path / "said") as demo:

        def busy():
            values = demo.values()
            done = [
                values("model_joins_total", model=model, result=word)
                for model in truth.MODELS
                for word in ("corrected", "repeated", "early")
            ]
            return all(done) and values.sum("model_labelled_predictions_total") >= 600

        wait_for(busy, 60)
        with paused(demo.child()):
            values = wait_for(lambda: caught_up(demo), 15)
            for model in truth.MODELS:
                rows = truth.join(demo.folder, model)
                assert set(rows) == {"1.0", "1.1"}
                for version, of_version in rows.items():
                    expected = truth.measure(model, of_version)
                    assert expected["model_window_labelled_predictions"] < 500, "too slow a machine"
                    assert_counters(values, model, version, of_version)
                    for window in ("10m", "last 500"):
                        assert_window(values, expected, model=model, version=version, window=window)
            assert_estimates(demo)
            command = [promtool, "check", "metrics"]
            check = subprocess.run(command, input=demo.scrape().encode(), capture_output=True, check=False)
            assert (check.returncode, check.stdout, check.stderr) == (0, b"", b"")


def assert_estimates(demo):
    """Calibrated scores expect of the labelled predictions about what became of them."""
    where = {"version": "1.0", "window": "10m"}
    wait_for(lambda: demo.values()("model_estimated_accuracy_ratio", **where), 30)
    assert abs(demo.values()("model_estimation_error", measure="accuracy", **where)) < 0.05
    with urllib.request.urlopen(demo.url + "/", timeout=10) as response:
        assert "Expected accuracy" in response.read().decode()


def caught_up(demo):
    """A scrape that tells of every line of all logs, if there is one yet."""
    lines = sum(path.read_text().count("\n") for path in demo.folder.glob("*/*.[jc]s*"))
    headers = len([*demo.folder.glob("*/*.csv")])
    values = demo.values()
    return values if values.sum("model_exporter_source_rows_total") == lines - headers else None


def assert_window(values, expected, **where):
    """Every measure that scikit-learn knows is there, and no other of the same names."""
    for name, value in expected.items():
        metric = name.partition("{")[0]
        tolerance = BINNED.get(metric, TOLERANCE) * (10 if metric in BINNED and where["version"] == "1.1" else 1)
        assert values.gauge(name, **where) == pytest.approx(value, rel=tolerance, abs=tolerance), (name, where)


def assert_counters(values, model, version, rows):
    """What scikit-learn says of all rows follows from the counters, less what corrected labels took back."""
    expected = truth.measure(model, rows)
    where = {"model": model, "version": version}
    found = {name: ratio(values, where, len(rows)) for name, ratio in OF_COUNTERS[model].items()}
    assert found == pytest.approx({name: expected[name] for name in found}, rel=TOLERANCE, abs=TOLERANCE), where
    if model == MODEL:
        for attribute in ("region", "age"):
            assert_groups(values, attribute, where)
    labelled = ("true", "false") if "model_accuracy_ratio" in expected else ("any",)
    counts = [values.standing("model_labelled_predictions", correct=correct, **where) for correct in labelled]
    assert sum(counts) == len(rows)


def assert_groups(values, attribute, where):
    """Outcomes by group of an attribute add up to those of the whole."""
    for outcome in ("tp", "fp", "fn", "tn"):
        of = {"class": "malignant", "outcome": outcome, **where}
        added, back = (
            values.sum(f"model_segment_outcomes{kind}_total", attribute=attribute, **of) for kind in ("", "_retracted")
        )
        assert added - back == values.standing("model_outcomes", **of), attribute


def by_outcome(upper, lower):
    """A ratio of outcomes of the class malignant."""

    def ratio(values, where, labelled):
        del labelled
        found = {
            outcome: values.standing("model_outcomes", outcome=outcome, **{"class": "malignant"}, **where)
            for outcome in ("tp", "fp", "fn", "tn")
        }
        return sum(found[one] for one in upper) / sum(found[one] for one in lower)

    return ratio


def mean(name, over=None, **labels):
    """A sum by the number of labelled predictions, or by another counter."""

    def ratio(values, where, labelled):
        total = values.standing(name, **labels, **where)
        return total / (values.standing(over, **where) if over else labelled)

    return ratio


OF_COUNTERS = {
    MODEL: {
        "model_accuracy_ratio": by_outcome(["tp", "tn"], ["tp", "fp", "fn", "tn"]),
        'model_precision_ratio{average="binary"}': by_outcome(["tp"], ["tp", "fp"]),
        'model_recall_ratio{average="binary"}': by_outcome(["tp"], ["tp", "fn"]),
        "model_log_loss": mean("model_log_loss_sum", over="model_scored_predictions"),
        "model_brier_score": mean("model_brier_sum", over="model_scored_predictions"),
    },
    "diabetes": {
        "model_mean_squared_error": mean("model_squared_error_sum"),
        "model_mean_absolute_percentage_error": mean("model_absolute_percentage_error_sum"),
    },
    "wine": {
        "model_accuracy_ratio": mean("model_labelled_predictions", correct="true"),
        'model_top_k_accuracy_ratio{k="2"}': mean("model_top_k_predictions", k="2", correct="true"),
    },
    "digit-traits": {
        "model_accuracy_ratio": mean("model_labelled_predictions", correct="true"),
        'model_f1_ratio{average="samples"}': lambda values, where, _: (
            values.standing("model_sample_score_sum", measure="f1", **where)
            / values.standing("model_sample_scores", measure="f1", **where)
        ),
    },
    "digit-search": {
        'model_ndcg_ratio{k="5"}': mean("model_ndcg_sum", over="model_rankings", k="5"),
        'model_mean_reciprocal_rank_ratio{k="10"}': mean("model_reciprocal_rank_sum", over="model_rankings", k="10"),
        'model_hit_rate_ratio{k="1"}': mean("model_ranking_hits", over="model_rankings", k="1"),
    },
}
"""How PromQL would work measures out of counters, by model."""


def test_quality_is_there_within_fifteen_seconds(tmp_path):
    """From the command to quality of every model on /metrics, on the page, and to a ready exporter it takes 15 s."""
    least = {
        MODEL: ("model_accuracy_ratio", 0.85),
        "diabetes": ("model_r2_score", 0.2),
        "wine": ("model_accuracy_ratio", 0.7),
        "digit-traits": ('model_f1_ratio{average="samples"}', 0.6),
        "digit-search": ('model_ndcg_ratio{k="5"}', 0.5),
    }
    with started(tmp_path / "said") as demo:

        def quality():
            values = demo.values()
            found = {
                model: values.gauge(name, model=model, version="1.0", window="10m")
                for model, (name, _) in least.items()
            }
            return None not in found.values() and found

        found = wait_for(quality, 15)
        assert time.monotonic() - demo.began < 15
        assert all(found[model] > low for model, (_, low) in least.items()), found
        with urllib.request.urlopen(demo.url + "/", timeout=10) as response:
            page = response.read().decode()
        assert all(model in page for model in least)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_at_once_and_leaves_nothing(tmp_path, number):
    """SIGTERM and Ctrl-C end it within 5 s with exit code 0, without a child or a temporary folder."""
    with started(tmp_path / "said") as demo:
        child = demo.child()
        demo.process.send_signal(number)
        assert demo.process.wait(5) == 0
        assert gone(child)
        assert not demo.folder.exists()
    assert "Traceback" not in (tmp_path / "said").read_text()


def test_a_killed_demo_leaves_no_child(tmp_path):
    """After SIGKILL, too, the workload ends by itself."""
    with started(tmp_path / "said", str(tmp_path / "kept")) as demo:
        child = demo.child()
        demo.process.kill()
        demo.process.wait()
        wait_for(lambda: gone(child), 5)


def test_a_named_folder_goes_on_where_it_was(tmp_path):
    """Started twice on one folder, the counters go on, and still agree with scikit-learn."""
    folder = tmp_path / "kept"
    for _ in range(2):
        with started(tmp_path / "said", str(folder)) as demo:
            before = sum(map(len, truth.join(folder, MODEL).values()))
            wait_for(
                lambda demo=demo, before=before: (
                    demo.values().sum("model_labelled_predictions_total", model=MODEL) > before
                ),
                30,
            )
            demo.process.terminate()
            assert demo.process.wait(30) == 0
    with started(tmp_path / "said", str(folder)) as demo, paused(demo.child()):
        expected = {model: truth.join(folder, model) for model in truth.MODELS}

        def agree():
            values = demo.values()
            with contextlib.suppress(AssertionError, TypeError, ZeroDivisionError):
                for model, versions in expected.items():
                    for version, rows in versions.items():
                        assert_counters(values, model, version, rows)
                return True
            return False

        wait_for(agree, 15)


def test_it_counts_how_its_model_server_dies(tmp_path):
    """Crashes by reason equal what the model server wrote before each of its ends; a planned restart is none."""
    with started(tmp_path / "said", str(tmp_path / "kept")) as demo:
        assert "dies about every 45 s" in demo.said

        def intended():
            path = demo.folder / "deaths.jsonl"
            lines = path.read_text().splitlines() if path.exists() else []
            return Counter(json.loads(line)["how"] for line in lines)

        wait_for(lambda: intended().total() >= 2, 100)
        words = {"killed": "SIGKILL", "SIGSEGV": "SIGSEGV", "clean": "restart"}

        def told(what):
            values = demo.values()
            return {
                word: values.sum(f"model_server_{what}_total", target="model-server", reason=reason)
                for reason, word in words.items()
                if what == "restarts" or reason != "clean"
            }

        expected = {word: intended()[word] for word in words.values()}
        wait_for(lambda: told("restarts") == expected, 15)
        assert told("crashes") == {word: count for word, count in expected.items() if word != "restart"}
        values = demo.values()
        observed = values.sum("model_server_observed_seconds_total")
        rate = values.sum("model_server_crashes_per_hour", window="10m")
        assert rate == pytest.approx(values.sum("model_server_crashes_total") / observed * 3600)
        assert observed == pytest.approx(time.monotonic() - demo.began, abs=25)
        assert values.sum("model_server_memory_utilization_ratio", scope="process") > 0
        assert 0 < values.sum("model_server_memory_utilization_ratio", scope="host") < 1
        assert 0 < values.sum("model_server_disk_utilization_ratio") <= 1
        assert values.sum("model_prediction_latency_seconds_count") > 400
        with urllib.request.urlopen(demo.url + "/", timeout=10) as response:
            page = response.read().decode()
        assert "model-server" in page
        assert "SIGSEGV" in page
        assert "Crashes per hour" in page
