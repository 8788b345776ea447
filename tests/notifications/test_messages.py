"""What people read, as a real Alertmanager sends it: mail to a real SMTP server, all else to a local web server."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from html.parser import HTMLParser

import pytest

from exporter.bundle.notifications import assemble
from tests.alerting import SHIPPED
from tests.hurried import hurried
from tests.running import wait_for

QUICKLY = hurried(SHIPPED, Fraction(300))
MOMENT = r"\d{4}-\d\d-\d\d \d\d:\d\d"
RUNBOOK = "https://example.org/docs/runbooks/ModelQualityBelowThreshold.md"
SUMMARY = "Model quality is below its threshold."


def alert(measure="accuracy", severity="critical", **annotations):
    """An alert as the shipped rules make it, with values in its annotations."""
    return {
        "labels": {
            "alertname": "ModelQualityBelowThreshold",
            "severity": severity,
            "category": "quality",
            "job": "model-exporter",
            "model": 'fr&ud "<b>v2</b>"',
            "measure": measure,
        },
        "annotations": {
            "summary": SUMMARY,
            "description": f"The {measure} was 78.2% over 1h.",
            "value": "78.2%",
            "threshold": "85%",
            "window": "1h",
            "samples": "1240",
            "runbook_url": RUNBOOK,
            "dashboard_url": "/d/model-exporter-model?var-model=fraud&var-job=a",
            **annotations,
        },
    }


def over(one):
    """The same alert, resolved."""
    now = datetime.now(UTC)
    return {**one, "startsAt": (now - timedelta(hours=2)).isoformat(), "endsAt": now.isoformat()}


def channels(folder, webhook, mailbox):
    """Own receivers for every channel, all of which lead here."""
    (folder / "url").write_text(f"{webhook.url}/slack\n")
    (folder / "key").write_text("s3cr3t")  # Opsgenie's with a line end is never sent, as Alertmanager does not cut it
    return f"""
global:
  smtp_smarthost: '{mailbox.address}'
  pagerduty_url: '{webhook.url}/pagerduty'
  opsgenie_api_url: '{webhook.url}/opsgenie/'
receivers:
  - name: chat
    slack_configs: [{{channel: '#ml', api_url_file: '{folder}/url', send_resolved: true}}]
  - name: page
    pagerduty_configs: [{{routing_key_file: '{folder}/key'}}]
    opsgenie_configs: [{{api_key_file: '{folder}/key'}}]
    sns_configs:
      - phone_number: '+491700000000'
        api_url: '{webhook.url}/sns/'
        sigv4: {{region: eu-central-1, access_key: a, secret_key: b}}
        message: '{{{{ template "model_exporter.sms" . }}}}'
  - name: webhook
    webhook_configs:
      - {{url: '{webhook.url}/all', http_config: {{authorization: {{credentials_file: '{folder}/key'}}}}}}
"""


@pytest.fixture
def told(tmp_path, alertmanager, mailbox, webhook):
    """`told(alerts, overrides)` posts alerts, waits for one mail, and gives it."""
    running = []

    def tell(*alerts, overrides=""):
        if not running:
            own = {"receivers.yml": channels(tmp_path, webhook, mailbox), "overrides.yml": overrides}
            running.append(alertmanager(assemble(QUICKLY, own)))
        before = len(mailbox.mails)
        running[0].alert(*alerts)
        return wait_for(lambda: mailbox.mails[before:], 15, "a mail")[0]

    return tell


class Page(HTMLParser):
    """The words and the links of a page of HTML."""

    def __init__(self, text):
        super().__init__()
        self.words, self.links, self.open = [], [], []  # without the title, which the subject repeats
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag != "meta":
            self.open.append(tag)
        self.links += [value for key, value in attrs if key == "href"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "title":
            self.words += [data.strip()] if data.strip() else []


def parts(mail):
    """Its text, and its HTML taken apart."""
    text = mail.get_body(("plain",)).get_content()
    page = Page(mail.get_body(("html",)).get_content())
    assert not page.open
    return text.replace("\r\n", "\n"), page


def test_a_mail_says_what_where_and_how_bad(told):
    """Model, measure, value, threshold, window, samples and links, in its text and in its HTML."""
    mail = told(alert())
    assert mail["Subject"] == f'[critical] fr&ud "<b>v2</b>": {SUMMARY}'
    assert mail["To"] == "ml-team@localhost"
    text, page = parts(mail)
    facts = {
        "Model": 'fr&ud "<b>v2</b>"',
        "Measure": "accuracy",
        "Value": "78.2%",
        "Threshold": "85%",
        "Window": "1h",
        "Samples": "1240",
        "Severity": "critical",
    }
    for name, value in facts.items():
        assert re.search(rf"(?m)^  {name} +{re.escape(value)}$", text)
        assert page.words[page.words.index(name) + 1] == value
    for words in (text, " ".join(page.words)):
        assert SUMMARY in words
        assert "The accuracy was 78.2% over 1h." in words
    dashboard = "http://localhost:3000/d/model-exporter-model?var-model=fraud&var-job=a"
    silence = "http://alertmanager.example.org:9093/#/silences/new?filter=%7B"
    assert page.links[:2] == [dashboard, RUNBOOK]
    assert page.links[2].startswith(silence)
    assert "model%3D%22fr%26ud%20" in page.links[2]
    assert f"Dashboard  {dashboard}\n" in text
    assert f"Runbook    {RUNBOOK}\n" in text
    assert f"Silence: {silence}" in text
    assert "ZgotmplZ" not in mail.as_string()


def test_what_an_alert_lacks_leaves_no_gap(told):
    """No name of a fact without its value, and no link to nowhere."""
    one = alert()
    one["labels"] = {"alertname": "ModelExporterDown", "severity": "critical", "category": "meta", "job": "e"}
    one["annotations"] = {"summary": "No exporter answers."}
    mail = told(one)
    text, page = parts(mail)
    assert mail["Subject"] == "[critical] e: No exporter answers."
    assert not re.search("Model  |Measure|Value|Threshold|Window|Samples|Dashboard|Runbook", text)
    assert not {"Model", "Measure", "Value", "Threshold", "Window", "Samples", "Runbook"} & set(page.words)
    assert len(page.links) == 2
    assert "\n\n\n" not in text


def test_alerts_of_one_model_come_in_one_mail(told, mailbox):
    """Two measures of a model are one incident."""
    mail = told(alert("accuracy"), alert("recall"), alert("f1", "warning", summary="F1 fell."))
    text, page = parts(mail)
    assert mail["Subject"].endswith(": 3 alerts")
    assert mail["Subject"].startswith("[critical] ")
    measures = [page.words[at + 1] for at, word in enumerate(page.words) if word == "Measure"]
    assert sorted(measures) == ["accuracy", "f1", "recall"]
    assert text.count("  Measure ") == 3
    assert len(mailbox.mails) == 1


def test_a_resolved_mail_says_since_when_and_until_when(told):
    """And no longer what was measured while it lasted."""
    told(alert())
    mail = told(over(alert()))
    text, page = parts(mail)
    assert mail["Subject"] == f'[resolved] fr&ud "<b>v2</b>": {SUMMARY}'
    assert page.words[0] == "resolved"
    for words in (text, " ".join(page.words)):
        assert re.search(rf"accuracy, critical, threshold 85%, from {MOMENT} to {MOMENT} UTC", words)
        assert "78.2%" not in words
    assert page.links[0].startswith("http://localhost:3000/d/model-exporter-model")


def test_a_mail_about_some_that_are_over_keeps_them_apart(told):
    """What still fires comes first; what is over stands below its own headline."""
    told(alert("accuracy"), alert("recall"))
    text, page = parts(told(over(alert("accuracy"))))
    for words in (text, " ".join(page.words)):
        assert words.index("recall") < words.index("No longer") < words.rindex("accuracy")


def test_a_whole_address_of_a_dashboard_is_kept(told):
    """Only a path is completed by where Grafana is thought to be."""
    _, page = parts(told(alert(dashboard_url="https://grafana.example.org/d/x?a=b&c=d")))
    assert page.links[0] == "https://grafana.example.org/d/x?a=b&c=d"


def test_slack_gets_the_same_story(told, webhook):
    """Title, facts and links in its own markup, and a colour for how bad it is."""
    told(alert())
    [post] = wait_for(lambda: webhook.heard("/slack"), 10, "a message")
    [message] = post["attachments"]
    assert post["channel"] == "#ml"
    assert message["title"] == f'[critical] fr&ud "<b>v2</b>": {SUMMARY}'
    assert "accuracy *78.2%* · threshold 85% · over 1h · 1240 samples" in message["text"]
    assert f":red_circle: *{SUMMARY}*" in message["text"]
    assert "<http://localhost:3000/d/model-exporter-model?var-model=fraud&var-job=a|Dashboard>" in message["text"]
    assert f"<{RUNBOOK}|Runbook>" in message["text"]
    assert message["color"] == "danger"
    told(over(alert()))
    _, post = wait_for(lambda: webhook.heard("/slack")[1:] and webhook.heard("/slack"), 10, "a second message")
    [message] = post["attachments"]
    assert message["title"].startswith("[resolved] ")
    assert re.search("accuracy, critical, threshold 85%, from .* to .* UTC", message["text"])
    assert "78.2%" not in message["text"]
    assert message["color"] == "good"


def test_phone_sms_and_webhook_get_it(told, webhook):
    """In the words of each, with the secret of its file."""
    told(alert())
    title = f'[critical] fr&ud "<b>v2</b>": {SUMMARY}'
    [pagerduty] = wait_for(lambda: webhook.heard("/pagerduty"), 10, "PagerDuty's")
    assert pagerduty["payload"]["summary"] == title
    assert pagerduty["routing_key"] == "s3cr3t"
    [opsgenie] = wait_for(lambda: webhook.heard("/opsgenie/v2/alerts"), 10, "Opsgenie's")
    assert opsgenie["message"] == title
    assert "Value      78.2%" in opsgenie["description"]
    assert webhook.headers["/opsgenie/v2/alerts"][0]["Authorization"] == "GenieKey s3cr3t"
    sms = wait_for(lambda: webhook.heard("/sns/"), 10, "the SMS")[0]
    assert sms["Message"] == f'critical: fr&ud "<b>v2</b>". {SUMMARY} Now 78.2%, threshold 85%'
    assert sms["PhoneNumber"] == "+491700000000"
    [post] = wait_for(lambda: webhook.heard("/all"), 10, "the webhook's")
    assert post["alerts"][0]["annotations"]["value"] == "78.2%"
    assert webhook.headers["/all"][0]["Authorization"] == "Bearer s3cr3t"


@pytest.mark.parametrize("quiet", [True, False])
def test_info_waits_for_the_end_of_quiet_hours(told, mailbox, webhook, quiet):
    """While it is quiet, info is not mailed, and what somebody must act on is; the webhook hears all."""
    now = datetime.now(UTC)
    days = [f"{now + timedelta(days=ahead):%A}".lower() for ahead in ((0, 1) if quiet else (3, 4))]
    hours = f"time_intervals: [{{name: quiet-hours, time_intervals: [{{weekdays: [{', '.join(days)}]}}]}}]"
    loud = {**alert(), "labels": {**alert()["labels"], "job": "loud"}}
    told(alert(severity="info"), loud, overrides=hours)
    wait_for(lambda: len(webhook.heard("/all")) == 2, 10, "both at the webhook")
    if quiet:
        told({**loud, "labels": {**loud["labels"], "job": "later"}})  # a whole group_wait later
        assert [subject[:10] for subject in mailbox.subjects()] == ["[critical]"] * 2
    else:
        wait_for(lambda: len(mailbox.mails) == 2, 10, "both mails")
        assert sorted(subject[:6] for subject in mailbox.subjects()) == ["[criti", "[info]"]
