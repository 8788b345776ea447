"""The command as a whole, on a Prometheus that answers what a test decides: what is missing, where it is, where to."""

from __future__ import annotations

import io
import json

import pytest

from exporter import proposing
from exporter.contracts import Clock
from exporter.errors import ConfigError, HistoryError, SourceError
from exporter.proposing import NOTHING_PROPOSED, Wish
from tests.answering import serving
from tests.histories import DAY, noise

END = 1_795_324_200.0
STEP = 600
RATES = {"warning": 1 / 30, "critical": 1 / 300}
GROUP = {
    "name": "g",
    "interval": STEP,
    "rules": [
        {"type": "alerting", "name": "Bad", "duration": 1200, "keepFiringFor": 1800,
         "query": f'q < ignoring (bound) model:model_threshold:effective{{measure="f1", severity="{severity}"}}'}
        for severity in RATES
    ],
}  # fmt: skip


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Server:
    """Answers as Prometheus; `values` of each model's only series end at END."""

    def __init__(self, groups=(GROUP,), **values):
        self.groups, self.values, self.asked = list(groups), values, []

    def __call__(self, path, query, headers):
        self.asked.append(path.removeprefix("/api/v1/"))
        text = query.get("query", "")
        name = next((name for name in self.values if f'model="{name}"' in text), None)
        match self.asked[-1]:
            case "rules":
                data = {"groups": self.groups}
            case "label/model/values":
                data = list(self.values)
            case "query":
                today = {"metric": {"measure": "f1", "severity": "warning"}, "value": [END, "0.945"]}
                data = {"result": [today] if name else []}
            case "query_range":
                if self.values[name] is None:
                    return 422, b""
                start, end = float(query["start"]), float(query["end"])
                found = zip((END - STEP * at for at in range(9**6)), reversed(self.values[name]), strict=False)
                pairs = [[at, str(value)] for at, value in found if start <= at <= end]
                data = {"result": [{"metric": {"model": name}, "values": pairs}]}
        return 200, json.dumps({"status": "success", "data": data}).encode()


def shares(days, seed=1):
    return 0.95 + 0.008 * noise(days, seed, window=6, step=STEP)


def run(server, told=None, **words):
    """Exit code, output and what was told."""
    out, told = io.StringIO(), told or io.StringIO()
    with serving(server) as port:
        wish = Wish(f"http://127.0.0.1:{port}", None, words.pop("models", []), 28 * DAY, RATES, **words)
        code = proposing.run(wish, out, told, Clock(wall=lambda: END + 59))
    return code, out.getvalue(), told.getvalue()


def test_all_models_that_prometheus_knows():
    """In one text; nothing is told beside it, and each series is asked for once."""
    server = Server(a=shares(28), b=shares(3))
    code, out, told = run(server)
    assert (code, told) == (0, "")
    assert "a:\n    thresholds:\n      # f1 (Bad): 28.0 days, 4,032 evaluations," in out
    assert "  # no alarm; expect 1.0 in 30 days (extrapolated), at most 3.2\n" in out
    assert "b:\n    thresholds: {}\n      # f1 (Bad): 3.0 days, 432 evaluations," in out
    assert server.asked.count("query_range") == 2


def test_what_is_left_out_has_no_part():
    """A time that is excluded is as if nothing had been there."""
    values = shares(28)
    values[2000:2100] = 0
    _, out, _ = run(Server(a=values), exclude=[(END - (4032 - 1990) * STEP, END - (4032 - 2110) * STEP)])
    assert "lowest 0.9" in out
    assert "3,912 evaluations" in out


def test_progress_is_for_terminals():
    """One line, which is gone at the end."""
    _, out, told = run(Server(a=shares(8)), told=Terminal())
    assert told == "\r\033[K[........................] 0/1 a: Bad\r\033[K"
    assert "\033" not in out


def test_progress_is_gone_before_an_error_is_told():
    """Also if it did not come to the end."""
    told = Terminal()
    with pytest.raises(SourceError, match="HTTP 422"):
        run(Server(a=shares(8), b=None), told=told)
    assert told.getvalue().endswith("0/2 a: Bad\r\033[K[############............] 1/2 b: Bad\r\033[K")


@pytest.mark.parametrize(
    ("server", "models", "words"),
    [
        (Server([]), [], r"has loaded no alert .* `model-exporter bundle DIR` writes"),
        (Server(), [], r"has seen no model .* does it scrape the exporter\?"),
        (Server(fraud=[], spam=[]), ["fruad"], r"knows no model fruad; did you mean fraud\?"),
        (Server(fraud=[], spam=[]), ["x"], "knows no model x; it knows fraud, spam"),
    ],
)
def test_what_is_not_there(server, models, words):
    """No rules, no models, not this one: what to do is said."""
    with pytest.raises(HistoryError, match=words):
        run(server, models=models)


def test_files(tmp_path):
    """Written to, or why not; a config of how to ask that is not there."""
    server = Server(a=shares(8))
    code, out, told = run(server, output=tmp_path / "out.yml")
    assert (code, out) == (0, "")
    assert told == f"model-exporter: thresholds of 1 measure of 1 model written to {tmp_path / 'out.yml'}\n"
    assert "    thresholds:\n" in (tmp_path / "out.yml").read_text()
    with pytest.raises(HistoryError, match="cannot be written: no such file or directory"):
        run(server, output=tmp_path / "none/out.yml")
    with pytest.raises(ConfigError, match=r"access\.yml:1:1: cannot be read"):
        proposing.run(Wish("http://h", tmp_path / "access.yml", [], DAY, RATES), io.StringIO(), io.StringIO())


def test_nothing_to_propose():
    """Is an exit code of its own, and is told."""
    code, out, told = run(Server(a=shares(2), b=shares(3)))
    assert code == NOTHING_PROPOSED
    assert "2.0 of the 7 days" in out
    assert told == "model-exporter: thresholds of 0 measures of 2 models proposed\n"
