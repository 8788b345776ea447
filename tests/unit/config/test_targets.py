"""Targets in a config: what they may hold, what is wrong with others, and that secrets stay secret."""

from __future__ import annotations

import pytest

from exporter.config.masked import masked
from exporter.config.reference import json_schema
from exporter.config.schema import parse
from exporter.errors import ConfigError
from exporter.probes.process import Process

GOOD = """\
targets:
  server:
    process: {port: 8080}
    disk: {mountpoints: [/]}
    cgroup: {}
"""
MODEL = """\
models:
  fraud:
    positive: fraud
    predictions:
      files: {path: a.jsonl}
      fields: {id: i, time: t, predicted: p, actual: y}
"""


def read(text):
    return parse(text, "m.yml", environment={"WORD": "s3cr3t-word"})


def complaint(text):
    with pytest.raises(ConfigError) as caught:
        read(text)
    return [str(fault).removeprefix("m.yml:") for fault in caught.value.faults]


def test_targets_alone_are_a_config():
    """Without a model, a target is enough; what is not written has its default."""
    config = read(GOOD)
    target = config.targets["server"]
    assert config.models == {}
    assert (target.name, target.model, target.interval, target.timeout) == ("server", None, 5.0, 10.0)
    assert [window.name for window in target.windows] == ["1h", "24h"]
    assert target.life.kind == "process"
    assert target.life.settings == Process.Config(port=8080)
    assert [probe.kind for probe in target.measures] == ["disk", "cgroup"]
    assert [probe.kind for probe in target.probes] == ["process", "disk", "cgroup"]


def test_the_probe_of_life_may_be_left_to_run():
    """A target that the exporter will run itself needs no probe of its life here."""
    assert read("targets: {server: {}}").targets["server"].life is None


@pytest.mark.parametrize(
    ("docker", "cgroup"), [("stats: false", ""), ("stats: true", "scopes: [host]"), ("stats: false", "scopes: [host]")]
)
def test_a_container_is_measured_by_one_probe(docker, cgroup):
    """Docker tells its life, and either of the two what it uses."""
    target = read(f"targets: {{s: {{docker: {{container: c, {docker}}}, cgroup: {{{cgroup}}}}}}}").targets["s"]
    assert [probe.kind for probe in target.probes] == ["docker", "cgroup"]


def test_the_masked_config_reads_back():
    """What /config shows is the same config again."""
    text = MODEL + GOOD + "    model: fraud\n    windows: [10m]\n    interval: 1s\n"
    config = read(text)
    assert read(masked(config)) == config


def test_secrets_of_a_probe_are_masked():
    """A header from the environment is shown nowhere."""
    config = read("targets: {s: {prometheus: {url: 'http://h/', headers: {Authorization: !env WORD}}}}")
    assert "s3cr3t-word" not in masked(config) + repr(config) + repr(config.targets["s"])
    assert config.targets["s"].life.settings.headers["Authorization"].reveal() == "s3cr3t-word"


S = "targets.server"
TWICE = "CPU and memory of the container are measured by"
FAULTS = {
    "nothing at all": (
        "limits: {}",
        "1:1: models: is missing: the models by name; or write targets: to watch model servers only",
    ),
    "no target": ("targets: {}", "1:10: targets: must not be empty"),
    "two probes of its life": (
        GOOD.replace("    disk", "    docker: {container: c, stats: false}\n    disk"),
        f"4:5: {S}.docker: a target has one probe of its life, and process is already given; remove one of the two",
    ),
    "two measures of one container": (
        GOOD.replace("process: {port: 8080}", "docker: {container: c}"),
        f"5:5: {S}.cgroup: {TWICE} docker already; write stats: false under docker, or scopes without container here",
    ),
    "two measures of one container, the other way about": (
        "targets:\n  server:\n    cgroup: {}\n    docker: {container: c}\n",
        f"4:5: {S}.docker: {TWICE} cgroup already; write scopes without container under cgroup, or stats: false here",
    ),
    "a misspelt probe": (GOOD.replace("process", "proces"), f"3:5: {S}.proces: unknown key; did you mean process?"),
    "a fault of a probe's own": (
        GOOD.replace("port: 8080", "prot: 1"),
        f"3:15: {S}.process.prot: unknown key; did you mean port?",
    ),
    "a rule of a probe's own": (
        GOOD.replace("port: 8080", ""),
        f"3:14: {S}.process: needs exactly one of pid_file, command and port",
    ),
    "a misspelt model": (
        MODEL + GOOD + "    model: frod\n",
        f"12:12: {S}.model: is none of the models; did you mean fraud?",
    ),
    "a model where there is none": (
        GOOD + "    model: x\n",
        f"6:12: {S}.model: is none of the models; remove it",
    ),
    "an interval that is too short": (GOOD + "    interval: 500ms\n", f"6:15: {S}.interval: must be at least 1s"),
    "a window by count": (
        GOOD + "    windows: [1h, last 3]\n",
        f"6:19: {S}.windows[1]: crashes are counted by time; write a time such as 1h or 24h",
    ),
    "a name with a space": (
        GOOD.replace("server", "' s'"),
        "3:5: targets. s: a target's name must be printable and have no space around it",
    ),
}


@pytest.mark.parametrize("case", FAULTS.values(), ids=FAULTS)
def test_fault(case):
    """A fault is told with its place, what is wrong, and what to write."""
    text, line = case
    assert complaint(text) == [line]


def test_the_schema_knows_every_probe():
    """Editors are told of every probe and its keys."""
    target = json_schema()["$defs"]["written.TargetEntry"]
    assert {"process", "systemd", "docker", "kubernetes", "prometheus", "cgroup", "disk", "gpu"} <= set(
        target["properties"]
    )
