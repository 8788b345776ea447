"""The demo's workload keeps the promises that its text and its config make."""

from __future__ import annotations

import csv
import itertools
import json
import subprocess
import sys
import time
from collections import Counter, defaultdict
from datetime import datetime
from typing import get_args

import psutil
import pytest

from exporter import demo
from exporter.config.schema import load
from exporter.contracts import Task
from exporter.demo import models, patients, traffic, workload
from tests.running import wait_for

ROWS = 6000
COMMAND = [sys.executable, "-m", "exporter.demo.workload"]


@pytest.fixture(scope="module")
def asked():
    return list(itertools.islice(traffic.requests(7, 285), ROWS))


@pytest.fixture(scope="module")
def trained():
    return {model.name: model for model in models.train(7)}


@pytest.fixture(scope="module")
def cancer(trained):
    return trained[models.CANCER]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder of ROWS requests of each model, as written by the program itself, and the time before that."""
    folder = tmp_path_factory.mktemp("logs")
    before = time.time()
    subprocess.run([*COMMAND, folder, "--rows", str(ROWS)], check=True, stdin=subprocess.DEVNULL)
    return folder, before


@pytest.fixture(scope="module")
def logs(written):
    """Predictions and labels of the first model, and the time before they were written."""
    folder, before = written
    return *read(folder / models.CANCER), before


def read(folder):
    """Predictions and labels of one model."""
    predictions = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    if (folder / "labels.jsonl").exists():
        return predictions, [json.loads(line) for line in (folder / "labels.jsonl").read_text().splitlines()]
    with (folder / "labels.csv").open(newline="") as file:
        return predictions, list(csv.DictReader(file))


def seconds(text):
    assert text.endswith("Z")
    return datetime.fromisoformat(text).timestamp()


# --- what happens --------------------------------------------------------------------------------


def test_every_fate_of_a_label_has_its_share(asked):
    """Late, early, corrected, repeated and missing labels come as often as FATES says."""
    found = Counter(request.fate for request in asked)
    answered = ROWS - found.pop("error")
    for fate, share in traffic.FATES.items():
        assert found[fate] / answered == pytest.approx(share, abs=0.015), fate


def test_errors_are_rare_and_never_labelled(asked):
    """About one request in two hundred fails, and no label comes for it."""
    failed = [request for request in asked if request.fate == "error"]
    assert 10 <= len(failed) <= 60
    assert not any(request.labels for request in failed)


def test_a_canary_gets_a_tenth_of_the_traffic(asked):
    """Version 1.1 answers about one request in ten, all others are 1.0's."""
    versions = Counter(request.version for request in asked)
    assert set(versions) == {"1.0", "1.1"}
    assert versions["1.1"] / ROWS == pytest.approx(0.1, abs=0.015)


@pytest.mark.parametrize(
    ("fate", "rights", "least", "most"),
    [
        ("prompt", [True], 2, 6),
        ("late", [True], 20, 45),
        ("early", [True], -5, -2),
        ("corrected", [False, True], 2, 12),
        ("repeated", [True, True], 2, 12),
        ("never", [], 0, 0),
    ],
)
def test_labels_come_when_their_fate_says(asked, fate, rights, least, most):
    """Each fate fixes how many labels come, which are right, and how many seconds after the prediction."""
    chosen = [request for request in asked if request.fate == fate]
    assert chosen
    for request in chosen:
        assert [right for _, right in request.labels] == rights
        times = [at - request.at for at, _ in request.labels]
        assert times == sorted(times)
        assert all(least - 1e-9 <= delay <= most + 1e-9 for delay in times)


def test_the_backlog_lies_before_the_start_and_the_rest_is_paced(asked):
    """The first 200 requests spread over the last five minutes; then come 20 per second."""
    times = [request.at for request in asked]
    assert times == sorted(times)
    assert times[0] == -300.0
    assert sum(at < 0 for at in times) == 200
    assert times[200:203] == [0.0, 0.05, 0.1]


def test_drift_comes_in_minute_three_and_goes_in_minute_five():
    """The input drifts from 180 s to 300 s of every ten minutes, and never in the backlog."""

    def drifted(at):
        return traffic.Request(number=0, at=at, sample=0, version="1.0", fate="prompt", took_ms=1.0, labels=()).drifted

    assert [drifted(at) for at in (-420.0, 0.0, 179.9, 180.0, 299.9, 300.0, 779.9, 780.0)] == [
        False, False, False, True, True, False, False, True,
    ]  # fmt: skip


def test_regions_have_their_shares_and_one_has_old_scanners(asked):
    """Requests come from all regions; only in one of them does a quarter of the input arrive in another unit."""
    found = Counter(request.region for request in asked)
    for region, share in patients.REGIONS.items():
        assert found[region] / ROWS == pytest.approx(share, abs=0.02), region
    where, share = patients.OLD_SCANNER
    old = Counter(request.region for request in asked if request.old_scanner)
    assert set(old) == {where}
    assert old[where] / found[where] == pytest.approx(share, abs=0.05)
    assert all(request.drifted for request in asked if request.old_scanner)


def test_the_seed_alone_decides(asked):
    """The same seed gives the same requests, another seed others."""
    assert list(itertools.islice(traffic.requests(7, 285), 500)) == asked[:500]
    assert list(itertools.islice(traffic.requests(8, 285), 500)) != asked[:500]


# --- the model -----------------------------------------------------------------------------------


def accuracy(cancer, version, drifted):
    said = [reply["output"]["diagnosis"] for reply in cancer.replies[version, drifted]]
    return sum(map(str.__eq__, said, cancer.truth)) / len(said)


def test_the_model_is_good_until_its_input_drifts(cancer):
    """The accuracies are those that the printed text names: under drift 1.0 falls, and the canary holds."""
    assert accuracy(cancer, "1.0", drifted=False) == pytest.approx(0.94, abs=0.015)
    assert accuracy(cancer, "1.0", drifted=True) == pytest.approx(0.7, abs=0.03)
    assert accuracy(cancer, "1.1", drifted=True) == accuracy(cancer, "1.1", drifted=False) > 0.9


def test_half_of_the_data_is_held_out(cancer):
    """The model answers 285 of the 569 rows of the data set, of both classes."""
    assert len(cancer.truth) == 285
    assert set(cancer.truth) == set(models.DIAGNOSES)


def test_there_is_a_model_of_each_task(tmp_path, trained):
    """The config names the same models, one of every task that the exporter knows."""
    config = load(demo.prepare(tmp_path))
    assert set(config.models) == set(trained)
    assert sorted(model.spec.task for model in config.models.values()) == sorted(get_args(Task))


@pytest.mark.parametrize("name", [models.CANCER, models.DIABETES, models.WINE, models.TRAITS, models.SEARCH])
def test_each_model_has_a_reply_to_every_row(trained, name):
    """Both versions answer all rows, with and without drift, not always alike; a wrong label is none that is right."""
    model = trained[name]
    rows = range(len(model.truth))
    assert set(model.replies) == {(version, moved) for version in ("1.0", "1.1") for moved in (False, True)}
    assert {len(said) for said in model.replies.values()} == {len(rows)}
    assert model.replies["1.0", False] != model.replies["1.1", False]
    assert all(model.mistaken(row) in model.truth and model.mistaken(row) != model.truth[row] for row in rows)


def test_sets_of_labels_and_rankings_have_hard_cases(trained):
    """There are rows without any label, and queries without a relevant item or with several."""
    assert [] in trained[models.TRAITS].truth
    assert {0, 1, 5} <= set(map(len, trained[models.SEARCH].truth))
    shown = [reply["output"]["results"] for reply in trained[models.SEARCH].replies["1.0", False]]
    assert {len(set(items)) for items in shown} == {models.SHOWN}


# --- the logs ------------------------------------------------------------------------------------


def test_a_prediction_is_a_nested_record_with_a_utc_time(logs):
    """Every answered record has its id, time, version, features, class, probabilities and latency."""
    predictions, _, before = logs
    assert len(predictions) == len({record["id"] for record in predictions}) == ROWS
    for record in predictions:
        assert seconds(record["time"]) < before + 60
        assert record["model"]["version"] in {"1.0", "1.1"}
        assert record["took_ms"] > 0
        assert record["clinic"]["country"] in patients.REGIONS
        assert record["patient"]["age"] in patients.AGES
        if "error" in record:
            assert "output" not in record
            continue
        probability = record["output"]["probability"]
        assert sum(probability.values()) == pytest.approx(1.0)
        assert record["output"]["diagnosis"] == max(probability, key=probability.get)
        assert len(record["features"]) == 10


def test_both_logs_are_written_in_the_order_of_time(logs):
    """Neither log ever steps back in time."""
    predictions, labels, _ = logs
    for times in ([record["time"] for record in predictions], [row["labelled_at"] for row in labels]):
        assert times == sorted(times)


@pytest.mark.parametrize("name", [models.CANCER, models.DIABETES, models.WINE, models.TRAITS, models.SEARCH])
def test_labels_keep_their_fates_in_the_log(written, name):
    """Counted from the logs alone, some labels are late, early, corrected, repeated or missing, in their shares."""
    predictions, labels = read(written[0] / name)
    made = {record["id"]: seconds(record["time"]) for record in predictions if "error" not in record}
    told = defaultdict(list)
    for row in labels:
        name, value, at = row.values()
        told[name].append((seconds(at), str(value)))
    assert set(told) <= set(made)
    found = Counter()
    for name, at in made.items():
        delays, classes = [moment - at for moment, _ in told[name]], [one for _, one in told[name]]
        found["never"] += not delays
        found["late"] += bool(delays) and delays[0] >= 20
        found["early"] += bool(delays) and delays[0] < 0
        found["corrected"] += len(set(classes)) == 2
        found["repeated"] += len(classes) == 2 and len(set(classes)) == 1
    for fate, count in found.items():
        assert count / len(made) == pytest.approx(traffic.FATES[fate], abs=0.015), fate


def test_nothing_lies_in_the_future(logs):
    """With --rows even the last of the late labels is in the past."""
    _, labels, _ = logs
    assert seconds(labels[-1]["labelled_at"]) <= time.time()


def test_lines_of_both_logs_come_in_the_order_of_their_times(asked, cancer):
    """Labels that come before their prediction do not disturb the order, and no line is lost."""
    some = asked[:1000]
    lines = list(workload.lines(some, cancer, 1.7e9))
    times = [at for at, _, _ in lines]
    assert times == sorted(times)
    assert len(lines) == len(some) + sum(len(request.labels) for request in some)


def test_a_second_start_uses_fresh_ids_and_no_backlog(tmp_path):
    """Started again on its folder, the workload goes on at once with ids that were not there."""
    log = tmp_path / models.CANCER / "predictions.jsonl"
    log.parent.mkdir()
    log.write_text('{"id": "old"}\n')
    subprocess.run([*COMMAND, tmp_path, "--rows", "30"], check=True, stdin=subprocess.DEVNULL)
    records = [json.loads(line) for line in log.read_text().splitlines()]
    assert len({record["id"] for record in records}) == 31
    assert seconds(records[-1]["time"]) - seconds(records[1]["time"]) == pytest.approx(29 / 20, abs=0.01)


def test_a_full_log_is_renamed_and_begun_anew(tmp_path):
    """A log never grows beyond its limit; lines stay whole, and a new file has its header again."""
    path = tmp_path / "labels.csv"
    with workload.Log(path, b"id\n", most=12) as log:
        for number in range(7):
            log.append(b"%03d\n" % number)
    assert path.read_bytes() == b"id\n006\n"
    assert (tmp_path / "labels.csv.1").read_bytes() == b"id\n004\n005\n"


# --- its end -------------------------------------------------------------------------------------


@pytest.fixture
def running(tmp_path):
    """The workload as a child that has begun to write both logs."""
    child = subprocess.Popen([*COMMAND, tmp_path, "--tied"], stdin=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while not (labels := tmp_path / models.CANCER / "labels.csv").exists() or labels.stat().st_size < 1000:
            assert child.poll() is None
            assert time.monotonic() < until
            time.sleep(0.01)
        yield child
    finally:
        child.kill()
        child.wait()


def test_it_ends_on_sigterm(running):
    """SIGTERM is a good end."""
    running.terminate()
    assert running.wait(5) == 0


def test_it_ends_when_its_parent_is_gone(tmp_path):
    """A parent that was killed leaves no workload behind."""
    code = "import subprocess, sys, time; print(subprocess.Popen(sys.argv[1:]).pid, flush=True); time.sleep(60)"
    command = [sys.executable, "-c", code, *COMMAND, tmp_path, "--tied"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        wait_for((tmp_path / models.CANCER / "labels.csv").exists, 60)
        parent.kill()
    wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 5)


def test_its_lives_end_as_it_has_written_before(tmp_path):
    """A mortal workload tells how it will end, in turn by two signals and by itself; its labels are not lost."""
    command = [*COMMAND, tmp_path, "--mortal", "--life", "3"]
    codes = [subprocess.run(command, check=False).returncode for _ in range(3)]
    deaths = [json.loads(line)["how"] for line in (tmp_path / "deaths.jsonl").read_text().splitlines()]
    assert deaths == ["SIGKILL", "SIGSEGV", "restart"]
    assert codes == [-9, -11, 0]
    predictions, labels = read(tmp_path / models.CANCER)
    predictions, labelled = [one["id"] for one in predictions], {row["id"] for row in labels}
    assert len(set(predictions)) == len(predictions)
    first = {name for name in predictions if name.split("-")[0] == predictions[-1].split("-")[0]}
    assert labelled
    assert labelled - first


def test_the_same_seed_ends_in_the_same_way():
    """When and how the nth life ends is decided by the seed."""
    assert workload.death(7, 4) == workload.death(7, 4)
    assert len({workload.death(7, life).after for life in range(9)}) == 9
    assert workload.death(7, 0).after < workload.death(7, 1).after


def test_lines_are_whole_whenever_it_ends(running, tmp_path):
    """Even a kill leaves no half-written line."""
    running.kill()
    running.wait()
    logs = [path for path in tmp_path.glob("*/*") if path.stat().st_size]
    assert len(logs) >= 2
    assert all(path.read_bytes().endswith(b"\n") for path in logs)
