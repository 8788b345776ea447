"""Secrets that are not there: all of them are named at once, by a start and by a reload, and none is ever printed."""

from __future__ import annotations

import pytest

from tests.apps import command, config, running

SOURCE = "sql: {{url: !env {variable}, table: labels, cursor: at}}"


def text(folder):
    first = config(folder, "m", labels=SOURCE.format(variable="LABELS_DB"))
    second = config(folder, "n", labels="http: {url: 'http://127.0.0.1:9/', auth: {bearer: !file no-such-token}}")
    return first + second.removeprefix("models:\n")


def test_missing_secrets_at_start(monkeypatch, tmp_path, capsys):
    """Exit code 3; each fault names its line, and the variable or the file; nothing was opened."""
    monkeypatch.delenv("LABELS_DB", raising=False)
    file = tmp_path / "model-exporter.yml"
    file.write_text(text(tmp_path))
    assert command("--config.file", str(file), "--state.path", str(tmp_path / "state")) == 3
    said = capsys.readouterr().err
    assert f"{file}:10:" in said
    assert "LABELS_DB" in said
    assert f"{file}:22:" in said
    assert "no-such-token" in said
    assert said.endswith("2 faults; nothing was started.\n")
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("gone", ["variable", "file"])
def test_missing_secrets_at_a_reload(monkeypatch, tmp_path, gone):
    """The old config, with the old secrets, runs on; no answer and no log shows one."""
    monkeypatch.setenv("LABELS_DB", "sqlite:////no/where?password=s3cr3t")
    (tmp_path / "no-such-token").write_text("s3cr3t")
    with running(monkeypatch, tmp_path, text(tmp_path), lifecycle=True) as exporter:
        if gone == "file":
            (tmp_path / "no-such-token").unlink()
        else:
            monkeypatch.delenv("LABELS_DB")
        status, said = exporter.get("/-/reload", "POST")
        assert status == 500
        assert ("LABELS_DB" if gone == "variable" else "no-such-token") in said
        assert exporter.get("/-/healthy")[0] == 200
        pages = "".join(exporter.get(path)[1] for path in ("/", "/config", "/metrics", "/-/ready")) + said
        assert "s3cr3t" not in pages
