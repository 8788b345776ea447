"""A reload with a faulty config: the old one runs on, and log, page and a metric say so."""

from __future__ import annotations

import signal

from tests.apps import config, predict, running
from tests.running import Exporter, wait_for

SUCCESS = "model_exporter_config_last_reload_successful"


def test_bad_reload(monkeypatch, tmp_path, caplog):
    """Every fault is answered with its line; rows are counted as before; the next good config ends the alarm."""
    good = config(tmp_path)
    predict(tmp_path, 1)
    with running(monkeypatch, tmp_path, good, lifecycle=True) as exporter:
        assert exporter.ready().values().one(SUCCESS) == 1
        faulty = good.replace("windows:", "windoes:").replace("positive: a", "positive: c")
        (tmp_path / "model-exporter.yml").write_text(faulty)
        status, said = exporter.get("/-/reload", "POST")
        assert status == 500
        (refused,) = [record for record in caplog.records if "old one runs on" in record.getMessage()]
        for where in ("model-exporter.yml:3:", "did you mean windows?"):
            assert where in said
            assert where in refused.faults
        predict(tmp_path, 2)
        values = exporter.once(lambda v: v.one("model_predictions_total", predicted="a") == 2)
        assert values.one(SUCCESS) == 0
        assert "did you mean windows" in exporter.get("/")[1]
        assert exporter.get("/-/healthy")[0] == 200
        assert "windoes" not in exporter.get("/config")[1]

        (tmp_path / "model-exporter.yml").write_text(good)
        assert exporter.get("/-/reload", "POST")[0] == 200
        exporter.once(lambda v: v.one(SUCCESS) == 1)
        assert "did you mean" not in exporter.get("/")[1]


def test_bad_reload_by_signal(tmp_path):
    """SIGHUP reloads, too: a config that is gone or faulty ends nothing, a good one is taken up."""
    exporter = Exporter(tmp_path, config(tmp_path))
    file = tmp_path / "model-exporter.yml"
    try:
        exporter.start().ready()
        file.write_text("models: {m: }\n")
        exporter.process.send_signal(signal.SIGHUP)
        exporter.values_once(lambda values: values.one(SUCCESS) == 0)
        file.unlink()
        exporter.process.send_signal(signal.SIGHUP)
        wait_for(lambda: any("cannot be read" in line.get("faults", "") for line in exporter.said()), 5)
        file.write_text(config(tmp_path, windows="last 7"))
        exporter.process.send_signal(signal.SIGHUP)
        exporter.values_once(lambda values: values.one(SUCCESS) == 1)
        assert "last 7" in exporter.get("/config")[0]
    finally:
        exporter.kill()
