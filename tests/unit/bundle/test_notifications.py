"""The user's receivers and overrides in the shipped Alertmanager configuration."""

from __future__ import annotations

import pytest
import yaml

from exporter.bundle.notifications import OVERRIDES, RECEIVERS, assemble
from exporter.errors import ConfigError
from tests.alerting import EXAMPLES, SHIPPED


def assembled(*, receivers="", overrides=""):
    return yaml.load(assemble(SHIPPED, {RECEIVERS: receivers, OVERRIDES: overrides}), yaml.BaseLoader)


def named(entries, name):
    [found] = [entry for entry in entries if entry["name"] == name]
    return found


def faults(**own):
    with pytest.raises(ConfigError) as caught:
        assembled(**own)
    return str(caught.value).splitlines()


BEFORE = yaml.load(SHIPPED, yaml.BaseLoader)


@pytest.mark.parametrize("nothing", ["", "# only words\n", "receivers:\nroute:\n", "---\n"])
def test_files_that_say_nothing_change_nothing(nothing):
    """The shipped text comes back to the letter, comments and all."""
    assert assemble(SHIPPED, {RECEIVERS: nothing, OVERRIDES: nothing}) == SHIPPED


def test_the_shipped_own_files_say_nothing():
    """Everything in them is a comment, so that the first start needs no secret."""
    assert assemble(SHIPPED, {name: example.text for name, example in EXAMPLES.items()}) == SHIPPED


def test_a_receiver_takes_the_place_of_the_shipped_one():
    """Receivers go by their names; others stay as shipped, and new ones are added."""
    own = "receivers: [{name: chat, slack_configs: [{channel: '#a'}]}, {name: team}]"
    receivers = assembled(receivers=own)["receivers"]
    assert named(receivers, "chat") == {"name": "chat", "slack_configs": [{"channel": "#a"}]}
    assert [one for one in receivers if one["name"] not in {"chat", "team"}] == [
        one for one in BEFORE["receivers"] if one["name"] != "chat"
    ]
    assert receivers[-1] == {"name": "team"}


def test_global_settings_are_taken_key_by_key():
    """What is not written stays as shipped, and so do all other sections."""
    after = assembled(receivers="global: {smtp_smarthost: 'smtp.example.org:587'}")
    assert after.pop("global") == {**BEFORE["global"], "smtp_smarthost": "smtp.example.org:587"}
    assert after == {key: value for key, value in BEFORE.items() if key != "global"}


def test_own_routes_come_first():
    """They are asked before the shipped ones; other keys of `route` change the root."""
    own = "route: {repeat_interval: 6h, routes: [{receiver: mail, matchers: ['model = \"a\"']}]}"
    route = assembled(overrides=own)["route"]
    assert route["routes"] == [{"receiver": "mail", "matchers": ['model = "a"']}, *BEFORE["route"]["routes"]]
    assert {**route, "routes": 0} == {**BEFORE["route"], "repeat_interval": "6h", "routes": 0}


def test_shipped_routes_are_adjusted_by_their_receiver():
    """Only the keys that are written change, of that route alone."""
    routes = assembled(overrides="adjust: {page: {repeat_interval: 10m, group_wait: 5s}}")["route"]["routes"]
    for before, after in zip(BEFORE["route"]["routes"], routes, strict=True):
        changed = {"repeat_interval": "10m", "group_wait": "5s"} if before["receiver"] == "page" else {}
        assert after == {**before, **changed}


def test_inhibitions_and_templates_are_added():
    """The shipped ones stay."""
    rule = {"source_matchers": ['a = "b"'], "target_matchers": ['c = "d"']}
    after = assembled(overrides=f"inhibit_rules: [{rule}]\ntemplates: [own.tmpl]")
    assert after["inhibit_rules"] == [*BEFORE["inhibit_rules"], rule]
    assert after["templates"] == [*BEFORE["templates"], "own.tmpl"]


def test_the_later_file_wins():
    """Of two receivers of one name, and of two values of one key."""
    after = assembled(
        receivers="receivers: [{name: chat, slack_configs: []}]\nglobal: {smtp_from: a@b}",
        overrides="receivers: [{name: chat}]\nglobal: {smtp_from: c@d}",
    )
    assert named(after["receivers"], "chat") == {"name": "chat"}
    assert after["global"]["smtp_from"] == "c@d"


def test_words_stay_words():
    """What YAML 1.1 would read as base 60 or a truth value is written as it was."""
    own = "time_intervals: [{name: quiet-hours, time_intervals: [{times: [{start_time: 18:00, end_time: 21:30}]}]}]"
    text = assemble(SHIPPED, {OVERRIDES: own})
    assert "{start_time: '18:00', end_time: '21:30'}" in text
    assert "send_resolved: no\n" in assemble(SHIPPED, {"a.yml": "receivers:\n- name: a\n  send_resolved: no\n"})


def test_anchors_of_an_own_file_hold():
    """An alias stands for what it names, also in another section."""
    after = assembled(overrides="receivers: [{name: a, x: &it [1]}, {name: b, x: *it}]\nroute: {group_by: *it}")
    assert named(after["receivers"], "b")["x"] == named(after["receivers"], "a")["x"] == ["1"]
    assert after["route"]["group_by"] == ["1"]


def test_it_says_where_it_comes_from_and_keeps_comments_of_what_is_as_shipped():
    """The first line names the files that were taken; the comment above the routes is still there."""
    text = assemble(SHIPPED, {"mine/receivers.yml": "receivers: [{name: chat}]", OVERRIDES: ""})
    assert text.splitlines()[0] == "# Written by `model-exporter bundle`, with your mine/receivers.yml in it."
    assert "# One model's alerts make one message" in text
    assert "# Receivers by what they are for" in text


@pytest.mark.parametrize(
    ("own", "wanted"),
    [
        ("receiver: []", "1:1: receiver: unknown key; did you mean receivers?"),
        ("receivers: {}", "1:12: receivers: expected a list"),
        ("route: []", "1:8: route: expected a mapping"),
        ("route: {routes: {}}", "1:17: route.routes: expected a list"),
        ("receivers:\n- nam: a", "2:3: receivers[0].name: is missing: the name that routes use"),
        ("adjust: {pge: {}}", "1:10: adjust.pge: no shipped route leads to it; did you mean page?"),
        ("adjust: {page: 5m}", "1:16: adjust.page: expected a mapping with keys such as group_by"),
        ("adjust: {page: {repeat_intervals: 5m}}", "1:17: adjust.page.repeat_intervals: unknown key; did you mean"),
        ("route: {receiver: chats}", "1:19: chats: there is no receiver of this name; did you mean chat?"),
        ("adjust: {page: {mute_time_intervals: [night]}}", "1:39: night: there is no time interval of this name"),
        ("- a", "1:1: expected a mapping with keys such as global"),
        ("global: {smtp_from: !file from.txt}", "global.smtp_from: the file from.txt does not exist"),
        ("route: {a: [}", "1:13: "),
    ],
)
def test_a_fault_is_named_with_its_place(own, wanted):
    """File, line, column, key and the way out."""
    [fault] = faults(overrides=own)
    assert fault.startswith("overrides.yml:")
    assert wanted in fault


def test_a_file_of_the_exporters_own_tags_is_refused(tmp_path, monkeypatch):
    """Alertmanager would read `!file` as a word, so that it is named although the file is there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "from.txt").write_text("a@b")
    [fault] = faults(overrides="global: {smtp_from: !file from.txt}")
    assert "global.smtp_from: Alertmanager knows neither !file nor !env" in fault
    assert "a@b" not in fault


@pytest.mark.parametrize(
    ("own", "key"),
    [
        ("global: {smtp_auth_password: hunter2}", "smtp_auth_password_file"),
        ("global: {slack_api_url: hunter2}", "slack_api_url_file"),
        ("global: {http_config: {basic_auth: {username: me, password: hunter2}}}", "password_file"),
        ("receivers: [{name: a, slack_configs: [{api_url: hunter2}]}]", "api_url_file"),
        ("receivers: [{name: a, pagerduty_configs: [{routing_key: hunter2}]}]", "routing_key_file"),
        ("receivers: [{name: a, opsgenie_configs: [{api_key: hunter2}]}]", "api_key_file"),
        (
            "receivers: [{name: a, webhook_configs: [{http_config: {authorization: {credentials: hunter2}}}]}]",
            "credentials_file",
        ),
    ],
)
def test_secrets_stand_in_files_only(own, key):
    """A secret that is written out is refused, without being repeated; the key that takes a file is named."""
    [fault] = faults(receivers=own)
    assert fault.endswith(f"is a secret: write it into a file of its own, and name that with {key}")
    assert "hunter2" not in fault


def test_what_is_no_secret_may_be_written():
    """Keys that only look alike are taken: VictorOps' routing key, Opsgenie's address."""
    receivers = assembled(
        receivers="receivers: [{name: a, victorops_configs: [{routing_key: team}],"
        " opsgenie_configs: [{api_url: 'https://api.eu.opsgenie.com'}]}]"
    )["receivers"]
    written = named(receivers, "a")
    assert written["victorops_configs"][0]["routing_key"] == "team"
    assert written["opsgenie_configs"][0]["api_url"] == "https://api.eu.opsgenie.com"


def test_all_faults_of_all_files_are_listed():
    """Not only the first, and each with its file."""
    found = faults(receivers="receivers: {}\nroutes: []", overrides="adjust: {a: {}, b: {}}")
    assert [fault.split(":")[0] for fault in found] == ["overrides.yml"] * 2 + ["receivers.yml"] * 2
