"""The mailbox of docker-compose.yml catches what Alertmanager sends; tests/longer/pinned.py runs it.

Mailpit is looked for on the PATH: no Debian package has it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import urllib.request

import pytest
import yaml

from tests.alerting import SHIPPED, free_address
from tests.notifications.conftest import alertmanager as alertmanager  # noqa: PLC0414 - a fixture
from tests.running import ROOT, wait_for

SERVICE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["mail"]
ALERT = {
    "labels": {
        "alertname": "ModelQualityBelowThreshold", "severity": "critical", "category": "quality", "job": "a",
        "model": "fraud", "measure": "accuracy",
    },
    "annotations": {"summary": "Model quality is below its threshold.", "value": "78.2%"},
}  # fmt: skip


@pytest.fixture
def mailpit(tmp_path):
    """(address for mail, address of the web interface) of a mailbox on the settings of the compose file."""
    program = shutil.which("mailpit")
    if program is None:
        pytest.skip("mailpit is not on the PATH")
    mail, web = free_address(), free_address()
    words = [program, "--smtp", mail, "--listen", web, "--database", tmp_path / "mails.db"]
    environment = {**os.environ, **SERVICE["environment"]}
    with (tmp_path / "mailpit.log").open("wb") as log:
        process = subprocess.Popen(words, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield mail, web
    finally:
        process.terminate()
        process.wait()


def healthy(web):
    """What the health check of the compose file says."""
    _, program, *words = SERVICE["healthcheck"]["test"]
    return not subprocess.run([shutil.which(program.strip("/")), *words, "--listen", web], check=False).returncode


def mails(web):
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{web}/api/v1/messages", timeout=5) as response:
        return json.load(response)["messages"]
    return []


def test_a_mail_is_caught(mailpit, alertmanager):
    """By the shipped routes and templates, without a password or TLS; the health check passes."""
    mail, web = mailpit
    wait_for(lambda: healthy(web), 20, "a healthy mailbox")
    hurried = SHIPPED.replace("mail:1025", mail).replace("group_wait: 30s", "group_wait: 1s")
    alertmanager(hurried).alert(ALERT)
    [caught] = wait_for(lambda: mails(web), 20, "a mail")
    assert caught["Subject"] == "[critical] fraud: Model quality is below its threshold."
    assert [one["Address"] for one in caught["To"]] == ["ml-team@localhost"]
    assert not healthy("127.0.0.1:1")
