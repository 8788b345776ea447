"""The shipped Alertmanager configuration, judged by Alertmanager's own tool: what it accepts and whom it tells."""

from __future__ import annotations

import itertools
import re
import subprocess
from textwrap import dedent

import pytest
import yaml

from exporter.bundle.notifications import OVERRIDES, RECEIVERS, assemble
from tests.alerting import EXAMPLES, RULES, SHIPPED
from tests.hurried import milliseconds
from tests.running import ROOT

MODELS = ("quality", "slo", "labels", "traffic")
OPERATIONS = ("availability", "resources", "meta")
TABLE = {
    **{("critical", category): {"webhook", "page", "chat", "mail"} for category in MODELS},
    ("critical", "availability"): {"webhook", "page", "sms", "operations", "mail"},
    **{("critical", category): {"webhook", "page", "operations", "mail"} for category in ("resources", "meta")},
    **{("warning", category): {"webhook", "chat", "mail"} for category in MODELS},
    **{("warning", category): {"webhook", "operations", "mail"} for category in OPERATIONS},
    **{("info", category): {"webhook", "digest"} for category in (*MODELS, *OPERATIONS)},
    **{("none", category): {"mail"} for category in (*MODELS, *OPERATIONS)},
    ("odd", "quality"): {"mail"},
}
CONFIG = yaml.safe_load(SHIPPED)
PAGE = (ROOT / "docs/notifications.md").read_text()


@pytest.fixture(scope="session")
def amtool(debian):
    """`amtool(words)` is what it says; it must have nothing against it."""
    program = debian("prometheus-alertmanager", "amtool")

    def run(*words):
        done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture
def check(amtool, tmp_path):
    """`check(text)` lets amtool judge a configuration, with the shipped templates beside it."""

    def judged(text):
        (tmp_path / "templates").symlink_to(RULES / "templates")
        (tmp_path / "alertmanager.yml").write_text(text)
        return amtool("check-config", str(tmp_path / "alertmanager.yml"))

    return judged


def routes(route):
    yield route
    for child in route.get("routes", ()):
        yield from routes(child)


def test_it_is_accepted_as_it_is(amtool):
    """Where it lies, with all of its templates."""
    said = amtool("check-config", str(RULES / "alertmanager.yml"))
    assert re.search(r"- (\d+) receivers", said)[1] == str(len(CONFIG["receivers"]))
    assert "- 1 templates" in said


def test_the_first_start_needs_no_secret():
    """Nothing in it asks for a file, a password or an address that is one."""
    assert not re.search(r"_file|password|api_url|key", SHIPPED)
    channels = {key for one in CONFIG["receivers"] for key in one if key != "name"}
    assert channels == {"email_configs"}


def test_all_examples_together_are_accepted(check):
    """Every receiver and every override, uncommented."""
    own = {name: example.active for name, example in EXAMPLES.items()}
    after = assemble(SHIPPED, own)
    assert "SUCCESS" in check(after)
    kinds = {key for one in yaml.safe_load(after)["receivers"] for key in one if key != "name"}
    assert {f"{kind}_configs" for kind in ("email", "slack", "pagerduty", "opsgenie", "sns", "webhook")} == kinds


EACH = [
    pytest.param(name, part, id=f"{name}-{number}")
    for name, example in EXAMPLES.items()
    for number, part in enumerate(example.sections)
    if "payments-team" not in part  # its route and its receiver stand in two sections
]


@pytest.mark.parametrize(("name", "part"), EACH)
def test_each_example_alone_is_accepted(check, name, part):
    """Section by section."""
    assert "SUCCESS" in check(assemble(SHIPPED, {name: part}))


def test_examples_keep_secrets_in_files():
    """No example, not even of newer channels, writes one out; `assemble` has judged those that it knows."""
    for text in (EXAMPLES[RECEIVERS].active, EXAMPLES[RECEIVERS].newer, EXAMPLES[OVERRIDES].active):
        assert not re.search(r"(?m)(password|token|credentials|api_key|routing_key|webhook_url):", text)
    assemble(SHIPPED, {RECEIVERS: EXAMPLES[RECEIVERS].newer.replace("##", "")})


def test_every_severity_and_category_is_in_the_table():
    """So that the next test asks about all there are."""
    severities, categories = ("critical", "warning", "info", "none"), (*MODELS, *OPERATIONS)
    assert set(itertools.product(severities, categories)) <= set(TABLE)


@pytest.mark.parametrize(("severity", "category"), TABLE)
def test_who_hears_of_it(amtool, severity, category):
    """By severity and category; nothing is told to nobody, and nobody is told twice."""
    words = [f"--config.file={RULES / 'alertmanager.yml'}", "alertname=ModelAlert", f"severity={severity}"]
    heard = amtool("config", "routes", "test", *words, f"category={category}", "job=a", "model=m").strip().split(",")
    assert sorted(heard) == sorted(TABLE[severity, category])


def test_the_watchdog_is_for_the_dead_mans_switch_only(amtool):
    """It never stops, and would drown all else."""
    words = [f"--config.file={RULES / 'alertmanager.yml'}", "alertname=ModelExporterWatchdog", "severity=none"]
    assert amtool("config", "routes", "test", *words, "category=meta").strip() == "watchdog"


def test_every_receiver_is_routed_to():
    """None is a dead end, and all that is routed to exists."""
    assert {route["receiver"] for route in routes(CONFIG["route"])} == {one["name"] for one in CONFIG["receivers"]}


def test_no_route_but_the_watchdogs_looks_less_often_than_it_repeats():
    """Alertmanager takes a `repeat_interval` below `group_interval`, but looks only every `group_interval`."""
    rare = {
        route["receiver"]
        for route in routes(CONFIG["route"])
        for whole in [{**CONFIG["route"], **route}]
        if milliseconds(whole["repeat_interval"]) < milliseconds(whole["group_interval"])
    }
    assert rare == {"watchdog"}


def test_only_info_waits_for_the_morning():
    """Quiet hours hold nothing back that anybody must act on."""
    quiet = [route for route in routes(CONFIG["route"]) if "mute_time_intervals" in route]
    assert [(route["receiver"], route["matchers"]) for route in quiet] == [("digest", ['severity = "info"'])]


def test_the_table_in_the_file_is_true():
    """The comment above the routes says what the tool says."""
    lines = re.findall(r"(?m)^#   (critical|warning|info) +(.*)$", SHIPPED)
    for severity, text in lines:
        told = [set(re.split(r", (?!not)", cell)) for cell in re.split(r" {2,}", text)]
        told = [{receiver.removesuffix(", not in quiet hours") for receiver in cell} for cell in told]
        for categories, cell in zip((MODELS, ("availability",), ("resources", "meta")), told, strict=True):
            for category in categories:
                assert TABLE[severity, category] == cell | {"webhook"}
    assert len(lines) == 3


def test_the_examples_of_the_page_are_accepted(check):
    """docs/notifications.md: what it says to write into receivers.yml and overrides.yml works."""
    receivers, overrides = (dedent(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
    assert "SUCCESS" in check(assemble(SHIPPED, {RECEIVERS: receivers, OVERRIDES: overrides}))


def test_the_table_of_the_page_is_true():
    """docs/notifications.md: who hears of what, by severity and category."""
    rows = re.findall(r"(?m)^\| (critical|warning) \| (.*) \| (.*) \| (.*) \|$", PAGE)
    for severity, *cells in rows:
        for categories, cell in zip((MODELS, ("availability",), ("resources", "meta")), cells, strict=True):
            for category in categories:
                assert TABLE[severity, category] == set(re.findall(r"`(\w+)`", cell)) | {"webhook"}
    assert len(rows) == 2
