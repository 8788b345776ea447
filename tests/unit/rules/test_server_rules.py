"""The recording rules over model servers' own metrics, against what real servers gave."""

import math
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.servers import CAPTURES

ROOT = Path(__file__).parents[3]
RULES = {path.stem: path for path in sorted((ROOT / "alert_rules/servers").glob("*.yml"))}
PAGE = ROOT / "docs/model-servers.md"
DOCUMENTED = {  # of servers of which there is no capture, by their own sources and documents
    "ray-serve": {"ray_serve_num_http_requests_total", "ray_serve_http_request_latency_ms_bucket"},
    "vllm": {
        "vllm:request_success_total",
        "vllm:e2e_request_latency_seconds_bucket",
        "vllm:num_requests_running",
        "http_requests_total",
    },
}
KNOWN = {  # requests and errors of the recorded workloads
    "bentoml": (116, 4),
    "kserve": (103, 3),
    "mlserver": (107, 5),
    "torchserve": (103, 3),
    "triton": (100, 0),
}
LATENCIES = {
    "bentoml": ("bentoml_service_request_duration_seconds_bucket", {"endpoint": r"/(?!readyz).+"}),
    "kserve": ("request_predict_seconds_bucket", {}),
    "mlserver": ("rest_server_request_duration_seconds_bucket", {"path": r"/v2/models/.*infer"}),
}
P95 = "job:model_server_request_latency_seconds:p95_5m"
MEAN = "job:model_server_request_latency_seconds:mean_5m"


def rules(name):
    [group] = yaml.safe_load(RULES[name].read_text())["groups"]
    return group["rules"]


def used(name):
    """The metrics that the rules of a server name."""
    named = re.compile(r"([a-zA-Z_:][\w:]*)(?:[{\[]|\)\s*$)", re.MULTILINE)
    expressions = (re.sub(r'"[^"]*"', '""', rule["expr"]) for rule in rules(name))
    return {found for expression in expressions for found in named.findall(expression)} - {"job", "model", "le"}


def samples(name):
    """What a server gave; without its types, because the parser adds `_total` to the counters that lack it."""
    lines = [line for line in CAPTURES[name].read_text().splitlines() if not line.startswith("#")]
    return [sample for family in text_string_to_metric_families("\n".join(lines)) for sample in family.samples]


def test_a_file_per_server():
    """Each server of the page has its rules, and each file its part of the page."""
    assert set(RULES) == set(KNOWN) | set(DOCUMENTED)
    for name in RULES:
        assert f"alert_rules/servers/{name}.yml" in PAGE.read_text()


@pytest.mark.parametrize("name", RULES)
def test_metrics_exist(name):
    """Rules name only metrics that the server really has."""
    there = {sample.name for sample in samples(name)} if name in KNOWN else DOCUMENTED[name]
    assert used(name)
    assert used(name) <= there


@pytest.mark.parametrize("name", RULES)
def test_same_names_for_all(name):
    """Every server has requests and errors, and the latency that it can tell, under the common names."""
    records = {rule["record"] for rule in rules(name)}
    assert {"job:model_server_requests:rate5m", "job:model_server_request_errors:rate5m"} <= records
    assert P95 in records or name == "torchserve"
    known = re.compile(
        r"job(_model)?:model_server_(requests:rate5m|request_errors:rate5m|request_latency_seconds:(p95|mean)_5m)"
    )
    assert all(known.fullmatch(record) for record in records)
    assert {rule["labels"]["server"] for rule in rules(name)} == {name}
    assert all(record in PAGE.read_text() for record in records)


def test_promtool_accepts(debian):
    """Prometheus' own check finds nothing to say."""
    promtool = debian("prometheus", "promtool")
    done = subprocess.run(
        [promtool, "check", "rules", "--lint-fatal", *RULES.values()], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def written(metric, labels):
    pairs = ", ".join(f'{key}="{value}"' for key, value in {**labels, "job": "serving"}.items())
    return f"{metric}{{{pairs}}}"


def growing(metric, labels, value):
    """A counter that reaches *value* from 0 in five minutes."""
    return {"series": written(metric, labels), "values": f"0+{value / 10!r}x10"}


def level(metric, labels, value):
    return {"series": written(metric, labels), "values": f"{value!r}x10"}


def evaluated(debian, folder, name, series, expected):
    """Lets promtool compare *expected* (per expression: labels and value) with the rules over *series*."""
    tests = [
        {
            "expr": expression,
            "eval_time": "5m",
            "exp_samples": [{"labels": written("", labels), "value": value} for labels, value in told],
        }
        for expression, told in expected.items()
    ]
    group = {"interval": "30s", "input_series": series, "promql_expr_test": tests}
    path = folder / "test.yml"
    path.write_text(yaml.safe_dump({"rule_files": [str(RULES[name])], "evaluation_interval": "30s", "tests": [group]}))
    done = subprocess.run(
        [debian("prometheus", "promtool"), "test", "rules", path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def of_rate(record):
    """The count in five minutes that a rate stands for, without the last bits of floating point."""
    return f"round({record} * 300, 0.001)"


def in_microseconds(record):
    return f"round({record} * 1e6)"


def quantile(buckets, share):
    """The latency below which *share* of the observations lie, linear within a bucket."""
    bounds = sorted(buckets)
    rank, low, below = share * buckets[math.inf], 0.0, 0.0
    for bound in bounds:
        if buckets[bound] >= rank:
            return low + (bound - low) * (rank - below) / (buckets[bound] - below)
        low, below = bound, buckets[bound]
    raise AssertionError


@pytest.mark.parametrize("name", KNOWN)
def test_real_workload(debian, tmp_path, name):
    """Over what a real server counted, the rules give the requests, errors and latency of the known workload."""
    names = used(name)
    told = [sample for sample in samples(name) if sample.name in names]
    series = [
        (level if "quantile" in sample.labels else growing)(sample.name, sample.labels, sample.value)
        for sample in told
    ]
    requests, errors = KNOWN[name]
    expected = {
        of_rate("job:model_server_requests:rate5m"): [({"server": name}, requests)],
        of_rate("job:model_server_request_errors:rate5m"): [({"server": name}, errors)],
        of_rate("sum by (job) (job_model:model_server_requests:rate5m)"): [({}, requests)],
    }
    if name in LATENCIES:
        metric, where = LATENCIES[name]
        buckets = {}
        for sample in told:
            if sample.name == metric and all(re.fullmatch(want, sample.labels[key]) for key, want in where.items()):
                bound = float(sample.labels["le"])
                buckets[bound] = buckets.get(bound, 0) + sample.value
        expected[in_microseconds(P95)] = [({"server": name}, round(quantile(buckets, 0.95) * 1e6))]
    if name == "triton":
        expected[in_microseconds(P95)] = [({"server": name}, 939)]
        expected[in_microseconds(MEAN)] = [({"server": name}, 677)]
    if name == "torchserve":
        expected[in_microseconds(MEAN)] = [({"server": name}, round(573463.552 / 103))]
    evaluated(debian, tmp_path, name, series, expected)


def test_model_of_each_server(debian, tmp_path):
    """The name that a server gives its model stands in the label model."""
    for name in ("kserve", "mlserver", "torchserve", "triton"):
        series = [growing(one.name, one.labels, one.value) for one in samples(name) if one.name in used(name)]
        labels = {"server": name, "model": "tumour"}
        count = {
            of_rate('job_model:model_server_requests:rate5m{model="tumour"}'): [
                (labels, KNOWN[name][0] - 2 * (name == "mlserver"))
            ]
        }
        evaluated(debian, tmp_path, name, series, count)


def test_ray_serve(debian, tmp_path):
    """Requests to no application are left out, 5xx are errors, and milliseconds become seconds."""
    requests, latency = sorted(DOCUMENTED["ray-serve"], reverse=True)
    series = [
        growing(requests, {"application": "fraud", "status_code": "200", "WorkerId": "a"}, 90),
        growing(requests, {"application": "fraud", "status_code": "500", "WorkerId": "b"}, 10),
        growing(requests, {"application": "fraud", "status_code": "422", "WorkerId": "b"}, 20),
        growing(requests, {"application": "", "status_code": "200", "WorkerId": "a"}, 500),
        growing(latency, {"application": "fraud", "le": "100"}, 90),
        growing(latency, {"application": "fraud", "le": "200"}, 100),
        growing(latency, {"application": "fraud", "le": "+Inf"}, 100),
    ]
    labels = {"server": "ray-serve"}
    expected = {
        of_rate("job:model_server_requests:rate5m"): [(labels, 120)],
        of_rate("job:model_server_request_errors:rate5m"): [(labels, 10)],
        in_microseconds(P95): [(labels, 150_000)],
        of_rate("job_model:model_server_requests:rate5m"): [({**labels, "model": "fraud"}, 120)],
    }
    evaluated(debian, tmp_path, "ray-serve", series, expected)


def test_vllm(debian, tmp_path):
    """Failed HTTP requests are errors only of jobs that run vLLM, whose names other programs use as well."""
    series = [
        growing("vllm:request_success_total", {"model_name": "m", "finished_reason": "stop"}, 80),
        growing("vllm:request_success_total", {"model_name": "m", "finished_reason": "length"}, 15),
        growing("http_requests_total", {"handler": "/v1/completions", "status": "5xx"}, 5),
        growing("http_requests_total", {"handler": "/health", "status": "5xx"}, 7),
        {"series": 'http_requests_total{job="shop", handler="/v1/cart", status="5xx"}', "values": "0+9x10"},
        level("vllm:num_requests_running", {"model_name": "m"}, 1),
        growing("vllm:e2e_request_latency_seconds_bucket", {"model_name": "m", "le": "1.0"}, 90),
        growing("vllm:e2e_request_latency_seconds_bucket", {"model_name": "m", "le": "+Inf"}, 90),
    ]
    labels = {"server": "vllm"}
    expected = {
        of_rate("job:model_server_requests:rate5m"): [(labels, 100)],
        of_rate("job:model_server_request_errors:rate5m"): [(labels, 5)],
        in_microseconds(P95): [(labels, 950_000)],
        of_rate("job_model:model_server_requests:rate5m"): [({**labels, "model": "m"}, 95)],
    }
    evaluated(debian, tmp_path, "vllm", series, expected)


@pytest.mark.parametrize("name", ["bentoml", "kserve", "mlserver", "ray-serve", "torchserve", "triton", "vllm"])
def test_no_error_yet_is_zero_errors(debian, tmp_path, name):
    """A server that has served requests and never failed has an error rate of 0, not none."""
    first = {
        "bentoml": ("bentoml_service_request_total", {"endpoint": "/p", "http_response_code": "200"}),
        "kserve": ("request_preprocess_seconds_count", {"model_name": "m"}),
        "mlserver": ("model_infer_request_success_total", {"model": "m"}),
        "ray-serve": ("ray_serve_num_http_requests_total", {"application": "a", "status_code": "200"}),
        "torchserve": ("ts_inference_requests_total", {"model_name": "m"}),
        "triton": ("nv_inference_request_success", {"model": "m"}),
        "vllm": ("vllm:request_success_total", {"model_name": "m", "finished_reason": "stop"}),
    }
    series = [growing(*first[name], 30)]
    if name == "kserve":
        series.append(growing("request_postprocess_seconds_count", {"model_name": "m"}, 30))
    expected = {of_rate("job:model_server_request_errors:rate5m"): [({"server": name}, 0)]}
    evaluated(debian, tmp_path, name, series, expected)
