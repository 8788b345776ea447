"""The parts put together: what a scrape, a reload and the end of a running exporter do."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest

from exporter.app import App, Options, default_state_path
from exporter.contracts import Clock, Ending, Poll, Sight
from exporter.errors import ConfigError, ExporterError, ListenError, SourceUnavailable, StateError, StateLocked
from exporter.probes.supervisor import Supervisor, SupervisorConfig
from exporter.state import State
from tests.apps import Leaps, config, hurry, label, predict, running, script, script_probe
from tests.running import wait_for


def descriptors():
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - iterdir would hold one open


def rewrite(folder, text):
    (folder / "model-exporter.yml").write_text(text)


# --- scrapes -----------------------------------------------------------------------------------------


def test_a_version_first_seen_later_is_zero_for_one_scrape(monkeypatch, tmp_path):
    """The backlog shows as it is in the first scrape after ready; what is born later shows 0 once, then its count."""
    predict(tmp_path, 1, 2)
    label(tmp_path, 1)
    with running(monkeypatch, tmp_path, config(tmp_path)) as exporter:
        values = exporter.ready().values()
        assert values.one("model_predictions_total", version="1", predicted="a") == 2
        assert values.one("model_labelled_predictions_total", version="1", correct="true") == 1
        predict(tmp_path, 3, version="2")
        seen = []

        def born():
            seen.extend(exporter.values().of("model_predictions_total", version="2", predicted="a"))
            return seen and seen[-1]

        wait_for(born, 5)
        assert seen[0] == 0
        assert seen[-1] == 1


def test_a_restart_goes_on_and_shows_no_counter_at_zero(monkeypatch, tmp_path):
    """Of all scrapes of a second start, the very first included, none shows a counter below where it was."""
    predict(tmp_path, 1, 2)
    label(tmp_path, 1, 2)
    with running(monkeypatch, tmp_path, config(tmp_path)) as exporter:
        exporter.ready()
    with running(monkeypatch, tmp_path, config(tmp_path)) as exporter:
        for _ in range(20):
            for count in exporter.values().of("model_labelled_predictions_total", correct="true"):
                assert count == 2
        exporter.ready()
        assert exporter.values().one("model_labelled_predictions_total", correct="true") == 2


def test_the_very_first_scrape_is_answered(tmp_path):
    """There is a snapshot, with what was saved, before there is a port."""
    rewrite(tmp_path, config(tmp_path))
    app = App(Options(config=tmp_path / "model-exporter.yml", state=None, address="127.0.0.1:0"))
    with app.serving():
        assert b'model_joins_total{model="m",result="matched"} 0' in app.snapshot.text
        assert b"model_exporter_source_up" in app.snapshot.text


def test_a_state_in_memory_starts_at_the_end(monkeypatch, tmp_path, caplog):
    """A restart counts nothing again; the log says what that costs."""
    predict(tmp_path, 1)
    label(tmp_path, 1)
    with running(monkeypatch, tmp_path, config(tmp_path), state=None) as exporter:
        exporter.ready()
        predict(tmp_path, 2, 3)
        values = exporter.once(lambda v: v.sum("model_predictions_total") == 2)
        label(tmp_path, 2)
        values = exporter.once(lambda v: v.one("model_joins_total", result="matched") == 1)
        assert values.one("model_joins_total", result="early") == 0
    assert any(
        "counts end, and predictions are forgotten whose labels come later; sources are read from their end on" in text
        for text in caplog.messages
    )
    assert "every start reads old rows again, and counts them again" not in caplog.messages


def test_a_state_in_memory_may_start_at_the_beginning(monkeypatch, tmp_path, caplog):
    """If the config says so; and the log says what that costs."""
    predict(tmp_path, 1, 2)
    text = config(tmp_path).replace("      interval: 1s", "      interval: 1s\n      start: beginning", 1)
    with running(monkeypatch, tmp_path, text, state=None) as exporter:
        assert exporter.ready().values().sum("model_predictions_total") == 2
    told = [record.source for record in caplog.records if record.message.startswith("every start reads old rows")]
    assert told == ["m/predictions"]


def test_a_row_with_its_label_is_a_starting_total_too(monkeypatch, tmp_path):
    """A model with a single source is ready by its first poll; nothing of that poll is shown at 0."""
    predict(tmp_path, 1)
    text = config(tmp_path).replace("version: v}", "version: v, actual: p}")
    text = text[: text.index("    labels:")] + "    windows: [last 10]\n"
    for _ in range(2):
        with running(monkeypatch, tmp_path, text) as exporter:
            exporter.ready()
            assert exporter.values().one("model_predictions_total", predicted="a") == 1


def test_threads_and_files_stay_constant_with_a_failing_source(monkeypatch, tmp_path):
    """Hundreds of cycles with a source that fails leave no thread and no file behind; all end with the exporter."""

    def answer(cursor):
        raise SourceUnavailable("nothing there")

    source = script(monkeypatch, answer)

    def held():
        return threading.active_count(), descriptors()

    def over(polls):
        """What was held, at least and at most, of threads and of files while the source was asked so often."""
        found, until = [held()], source.polls + polls
        wait_for(lambda: found.append(held()) or source.polls >= until, 20)
        return [(min(of), max(of)) for of in zip(*found, strict=True)]

    before = held()
    with running(monkeypatch, tmp_path, config(tmp_path, labels="scripted: {}")) as exporter:
        exporter.ready()
        early = over(20)
        over(30)
        assert all(least <= most for (least, _), (_, most) in zip(over(20), early, strict=True))
    wait_for(lambda: all(now <= then for now, then in zip(held(), before, strict=True)), 5)


# --- the beginning and the end -------------------------------------------------------------------------


def test_a_port_in_use_lets_the_state_go(tmp_path):
    """The error says what to do, and the state can be used by the next at once."""
    rewrite(tmp_path, config(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        app = App(Options(config=tmp_path / "model-exporter.yml", state=tmp_path / "state", address=address))
        with pytest.raises(ListenError, match="port is in use"), app.serving():
            pass
    State(tmp_path / "state").close()


def test_a_config_that_cannot_be_built_lets_the_state_go(monkeypatch, tmp_path):
    """Whatever the building of the parts raises, the state is not held."""
    rewrite(tmp_path, config(tmp_path))
    monkeypatch.setattr(App, "_build", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        App(Options(config=tmp_path / "model-exporter.yml", state=tmp_path / "state"))
    State(tmp_path / "state").close()


def test_two_exporters_do_not_share_a_state(tmp_path):
    """The second is refused with the way out."""
    rewrite(tmp_path, config(tmp_path))
    options = Options(config=tmp_path / "model-exporter.yml", state=tmp_path / "state")
    first = App(options)
    with pytest.raises(StateLocked, match=r"state\.path"):
        App(options)
    first.state.close()


@pytest.mark.parametrize("seconds", [0, 11])
def test_it_is_announced_once_there_is_something_to_see(monkeypatch, tmp_path, seconds):
    """Not before the backlog is shown, but after ten seconds at the latest."""
    hurry(monkeypatch)
    said, free, leaps = [], threading.Event(), Leaps()
    script(monkeypatch, lambda cursor: (free.wait(10), Poll(None, cursor))[1])
    rewrite(tmp_path, config(tmp_path, labels="scripted: {}"))
    words = {"config": tmp_path / "model-exporter.yml", "state": None, "address": "127.0.0.1:0"}
    app = App(Options(**words, announce=said.append), leaps.clock)
    with app.serving() as server:
        main = threading.Thread(target=app._attend, args=(server.port,))
        main.start()
        wait_for(app.scheduler.feeds[0].attempted.is_set, 5)
        assert said == []
        if seconds:
            leaps.ahead = seconds
        else:
            free.set()
        wait_for(lambda: said == [server.port], 5)
        free.set()
        app.end()
        main.join(5)
        assert said == [server.port]


def test_the_state_is_kept_where_the_system_says(monkeypatch):
    """$STATE_DIRECTORY first, then $XDG_STATE_HOME, then the home folder."""
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/ada")
    assert default_state_path() == Path("/home/ada/.local/state/model-exporter")
    monkeypatch.setenv("XDG_STATE_HOME", "/x")
    assert default_state_path() == Path("/x/model-exporter")
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/one:/var/lib/two")
    assert default_state_path() == Path("/var/lib/one")


# --- reloads -------------------------------------------------------------------------------------------


def test_reload_over_http_must_be_allowed(monkeypatch, tmp_path):
    """POST answers 403 unless the command line allows it."""
    with running(monkeypatch, tmp_path, config(tmp_path)) as exporter:
        assert exporter.get("/-/reload", "POST")[0] == 403
    with running(monkeypatch, tmp_path, config(tmp_path), lifecycle=True) as exporter:
        assert exporter.get("/-/reload", "POST") == (200, "The config was reloaded.\n")


def test_a_reload_keeps_the_counts_of_what_stayed(monkeypatch, tmp_path):
    """Models come and go, windows and intervals change: counters of the model that stayed never fall."""
    predict(tmp_path, 1, 2)
    label(tmp_path, 1, 2)
    predict(tmp_path, 1, model="n")
    with running(monkeypatch, tmp_path, config(tmp_path, "m"), lifecycle=True) as exporter:
        exporter.ready()
        rewrite(tmp_path, config(tmp_path, "m", "n", windows="last 5, 1h", more="    horizon: 5d\n"))
        assert exporter.get("/-/reload", "POST")[0] == 200
        values = exporter.ready().values()
        assert values.one("model_labelled_predictions_total", model="m", correct="true") == 2
        assert values.one("model_predictions_total", model="n", predicted="a") == 1
        assert values.of("model_accuracy_ratio", model="m", window="1h") == []
        predict(tmp_path, 3)
        label(tmp_path, 3)
        values = exporter.once(lambda v: v.one("model_labelled_predictions_total", model="m", correct="true") == 3)
        assert values.one("model_window_labelled_predictions", model="m", window="last 5") >= 1
        assert values.of("model_accuracy_ratio", window="last 10") == []


def test_a_removed_model_leaves_no_series(monkeypatch, tmp_path):
    """Neither its own nor those of its sources; put back, it goes on where it was."""
    predict(tmp_path, 1)
    predict(tmp_path, 1, 2, model="n")
    both, one = config(tmp_path, "m", "n"), config(tmp_path, "m")
    with running(monkeypatch, tmp_path, both, lifecycle=True) as exporter:
        exporter.ready()
        rewrite(tmp_path, one)
        exporter.get("/-/reload", "POST")
        values = exporter.ready().values()
        assert {s.labels["model"] for s in values.samples if "model" in s.labels} == {"m"}
        rewrite(tmp_path, both)
        exporter.get("/-/reload", "POST")
        values = exporter.ready().values()
        assert values.one("model_predictions_total", model="n", predicted="a") == 2
        assert values.one("model_joins_total", model="n", result="duplicate") == 0


def test_a_changed_task_begins_anew_and_says_so(monkeypatch, tmp_path, caplog):
    """Counts of other classes mean nothing any more: all that the sources still have is read and counted again."""
    predict(tmp_path, 1)
    predict(tmp_path, 2, predicted="b")
    label(tmp_path, 1, 2)
    with running(monkeypatch, tmp_path, config(tmp_path), lifecycle=True) as exporter:
        values = exporter.ready().values()
        assert values.one("model_precision_ratio", window="last 10", average="binary") == 1
        rewrite(tmp_path, config(tmp_path).replace("positive: a", "positive: b"))
        assert exporter.get("/-/reload", "POST")[0] == 200
        values = exporter.ready().values()
        assert values.one("model_precision_ratio", window="last 10", average="binary") == 0
        assert values.one("model_labelled_predictions_total", correct="true") == 1
        assert values.one("model_labelled_predictions_total", correct="false") == 1
        assert values.sum("model_predictions_total") == 2
        assert (
            "task, positive, classes, max_versions or what is remembered changed: counts begin anew, and the sources "
            "are read again from "
            "their beginning"
        ) in caplog.messages


def test_a_changed_task_is_ready_again_when_all_is_read_again(monkeypatch, tmp_path):
    """Labels wait for the predictions of the second reading as they did at the first."""
    predict(tmp_path, *range(50))
    label(tmp_path, *range(50))
    text = config(tmp_path, more="    early_labels: 1\n")
    with running(monkeypatch, tmp_path, text, lifecycle=True) as exporter:
        exporter.ready()
        rewrite(tmp_path, text.replace("positive: a", "positive: b"))
        assert exporter.get("/-/reload", "POST")[0] == 200
        values = exporter.ready().values()
        assert values.one("model_joins_total", result="matched") == 50
        assert values.one("model_joins_total", result="early") == 0


def test_another_kind_of_source_begins_at_its_beginning(monkeypatch, tmp_path):
    """A cursor is not given to a source that cannot read it; rows that were counted are not counted again."""
    predict(tmp_path, 1, 2)
    label(tmp_path, 1)
    cursors = []

    def answer(cursor):
        cursors.append(cursor)
        return Poll(None, {"mine": 1})

    script(monkeypatch, answer)
    with running(monkeypatch, tmp_path, config(tmp_path), lifecycle=True) as exporter:
        exporter.ready()
        rewrite(tmp_path, config(tmp_path, labels="scripted: {}"))
        assert exporter.get("/-/reload", "POST")[0] == 200
        exporter.ready()
        assert cursors[0] is None
        assert exporter.app.snapshot.status.sources[1].kind == "scripted"
        rewrite(tmp_path, config(tmp_path))
        exporter.get("/-/reload", "POST")
        label(tmp_path, 2)
        values = exporter.once(lambda v: v.sum("model_labelled_predictions_total") == 2)
        assert values.one("model_joins_total", result="repeated") == 0
        assert values.one("model_exporter_source_rows_total", role="labels") == 1


def test_a_reload_while_nothing_can_be_saved_loses_nothing(monkeypatch, tmp_path):
    """It is refused, the old config runs on, and all is counted once the disk takes it."""
    predict(tmp_path, 1)
    with running(monkeypatch, tmp_path, config(tmp_path), lifecycle=True) as exporter:
        exporter.ready()
        good = exporter.app.state.commit

        def full(blobs):
            raise StateError("the disk is full")

        exporter.app.state.commit = full
        predict(tmp_path, 2, 3)
        exporter.once(lambda v: v.one("model_exporter_state_up") == 0)
        rewrite(tmp_path, config(tmp_path, windows="last 5"))
        status, said = exporter.get("/-/reload", "POST")
        assert status == 500
        assert "not saved" in said
        exporter.app.state.commit = good
        exporter.once(lambda v: v.one("model_predictions_total", predicted="a") == 3)
        assert exporter.get("/-/reload", "POST")[0] == 200
        values = exporter.ready().values()
        assert values.one("model_predictions_total", predicted="a") == 3
        assert values.one("model_joins_total", result="duplicate") == 0


def test_a_reload_does_not_poll_a_stuck_source_twice(monkeypatch, tmp_path):
    """A poll that was left behind is not joined by one of the new config; other sources go on meanwhile."""
    free = threading.Event()
    source = script(monkeypatch, lambda cursor: (free.wait(20), Poll(None, cursor))[1])
    with running(monkeypatch, tmp_path, config(tmp_path, labels="scripted: {}"), lifecycle=True) as exporter:
        wait_for(lambda: source.polls, 5)
        for windows in ("last 5", "last 6"):
            rewrite(tmp_path, config(tmp_path, labels="scripted: {}", windows=windows))
            assert exporter.get("/-/reload", "POST")[0] == 200
        predict(tmp_path, 1)
        exporter.once(lambda v: v.one("model_exporter_source_rows_total", role="predictions") == 1)
        assert source.polls == 1
        free.set()
        wait_for(lambda: source.polls > 2, 5)
        exporter.ready()


def test_a_reload_does_not_bring_stale_gauges_back(monkeypatch, tmp_path):
    """A source that was silent before a reload is as silent after it."""
    gone = threading.Event()

    def answer(cursor):
        if gone.is_set():
            raise SourceUnavailable("nothing there")
        return Poll(None, cursor)

    script(monkeypatch, answer)
    predict(tmp_path, 1)
    gauge = "model_window_labelled_predictions"
    with running(monkeypatch, tmp_path, config(tmp_path, labels="scripted: {}"), lifecycle=True) as exporter:
        exporter.ready()
        exporter.once(lambda v: v.of(gauge))
        gone.set()
        exporter.once(lambda v: v.one("model_exporter_source_up", role="labels") == 0)  # no poll before is under way
        exporter.leaps.ahead = 61
        exporter.once(lambda v: not v.of(gauge))
        rewrite(tmp_path, config(tmp_path, labels="scripted: {}", windows="last 5"))
        exporter.get("/-/reload", "POST")
        predict(tmp_path, 2)
        values = exporter.once(lambda v: v.one("model_exporter_source_rows_total", role="predictions") == 2)
        assert values.of(gauge) == []


def test_what_a_reload_raises_unforeseen_ends_nothing(monkeypatch, tmp_path):
    """It is told as a fault of the reload, and the old config runs on."""
    with running(monkeypatch, tmp_path, config(tmp_path), lifecycle=True) as exporter:
        exporter.ready()
        rewrite(tmp_path, config(tmp_path, windows="last 5"))
        built = App._build
        monkeypatch.setattr(
            App, "_build", lambda self, new, *old: built(self, new, *old) if new is self.config else 1 / 0
        )
        status, said = exporter.get("/-/reload", "POST")
        assert (status, "unforeseen ZeroDivisionError" in said) == (500, True)
        predict(tmp_path, 1)
        exporter.once(lambda v: v.one("model_exporter_source_rows_total", role="predictions") == 1)


def test_no_reload_after_the_end(tmp_path):
    """A reload that is asked for while the exporter stops starts nothing any more."""
    rewrite(tmp_path, config(tmp_path))
    app = App(Options(config=tmp_path / "model-exporter.yml", state=None, address="127.0.0.1:0"))
    with app.serving():
        app.end()
        assert app.reload() == "The exporter is being stopped."


def test_a_secret_that_was_changed_is_taken_up(monkeypatch, tmp_path):
    """A file that `!file` names has a new content: a reload builds its source with that."""
    (tmp_path / "token").write_text("old")
    source = "http: {url: 'http://127.0.0.1:9/', auth: {bearer: !file token}}"
    with running(monkeypatch, tmp_path, config(tmp_path, labels=source), lifecycle=True) as exporter:
        before = exporter.app.config
        (tmp_path / "token").write_text("new")
        exporter.get("/-/reload", "POST")
        assert exporter.app.config != before
        assert "new" not in exporter.get("/config")[1].split()


def test_faults_are_told_before_anything_is_opened(tmp_path):
    """With a faulty config no state folder is made."""
    rewrite(tmp_path, "models: {}\n")
    with pytest.raises(ConfigError):
        App(Options(config=tmp_path / "model-exporter.yml", state=tmp_path / "state"))
    assert not (tmp_path / "state").exists()


# --- model servers -----------------------------------------------------------------------------------

TARGETS = "targets:\n  t: {{scripted: {{}}, interval: {interval}, windows: [1h]}}\n"


def test_a_reload_keeps_probes_that_stay_the_same(monkeypatch, tmp_path):
    """Counts go on, the very probe looks on, and one that is gone is closed and has no series any more."""
    ends = [Ending("crash", "killed", 0.0)]
    seen = []

    def answer(cursor, deadline):
        seen.append(cursor)
        return Sight(up=True, endings=(ends.pop(),) if ends else (), observed=1.0, cursor={"n": len(seen)})

    probe = script_probe(monkeypatch, answer)
    with running(monkeypatch, tmp_path, TARGETS.format(interval="600s")) as exporter:
        exporter.ready()
        exporter.once(lambda v: v.one("model_server_crashes_total", target="t", reason="killed") == 1)
        rewrite(tmp_path, TARGETS.format(interval="1s") + "  u: {scripted: {}}\n")
        assert exporter.app.reload() is None
        values = exporter.once(lambda v: v.one("model_server_up", target="u") == 1)
        assert values.one("model_server_crashes_total", target="t", reason="killed") == 1
        assert probe.closed == 2  # those that were only tried out
        assert seen[:2] == [None, {"n": 1}] or seen.count(None) == 2
        rewrite(tmp_path, "targets: {u: {scripted: {}}}\n")
        assert exporter.app.reload() is None
        values = exporter.once(lambda v: not v.of("model_server_up", target="t"))
        assert not values.of("model_exporter_probe_up", target="t")
        assert probe.closed == 4
        rewrite(tmp_path, TARGETS.format(interval="600s"))
        assert exporter.app.reload() is None
        exporter.once(lambda v: v.one("model_server_crashes_total", target="t", reason="killed") == 1)
    assert probe.closed >= 5


def test_a_reload_to_a_target_without_life_is_refused(monkeypatch, tmp_path):
    """The old config runs on, and the fault says what is missing."""
    script_probe(monkeypatch, lambda cursor, deadline: Sight(up=True, cursor=cursor))
    with running(monkeypatch, tmp_path, TARGETS.format(interval="600s")) as exporter:
        exporter.ready()
        rewrite(tmp_path, "targets: {t: {}}\n")
        assert "nothing tells whether t lives" in exporter.app.reload()
        assert exporter.values().one("model_server_up", target="t") == 1


@pytest.mark.parametrize(
    ("text", "name", "complaint"),
    [
        ("targets: {a: {}, b: {}}", None, "--target NAME"),
        ("targets: {a: {process: {port: 1}}}", "a", "remove process"),
        ("targets: {a: {}}", "b", "nothing tells whether a lives"),
    ],
)
def test_which_target_is_run_must_be_clear(tmp_path, text, name, complaint):
    """What `run` starts is one target, that nothing else watches."""
    supervisor = Supervisor(SupervisorConfig(command=("true",)), name="x", clock=Clock())
    rewrite(tmp_path, text)
    options = Options(config=tmp_path / "model-exporter.yml", state=None, supervisor=supervisor, target=name)
    with pytest.raises(ExporterError, match=complaint):
        App(options)


def test_what_is_run_is_a_target_even_if_the_config_names_none(tmp_path):
    """It is called server then."""
    supervisor = Supervisor(SupervisorConfig(command=("true",)), name="x", clock=Clock())
    rewrite(tmp_path, config(tmp_path))
    app = App(Options(config=tmp_path / "model-exporter.yml", state=None, supervisor=supervisor))
    assert list(app.scheduler.pipeline.targets) == ["server"]
    app.state.close()


def test_labels_beyond_their_limit_are_counted(monkeypatch, tmp_path):
    """From 0 on, and after a reload that begins anew from there."""
    predict(tmp_path, 1, version="1.0")
    text = config(tmp_path, more="    max_versions: 2\n")
    with running(monkeypatch, tmp_path, text, lifecycle=True) as exporter:
        name = "model_exporter_source_rows_folded_total"
        assert exporter.ready().values().one(name, role="predictions", label="version") == 0
        predict(tmp_path, 2, 3, version="2.0")
        predict(tmp_path, 4, version="3.0")
        exporter.once(lambda v: v.one(name, label="version") == 3)
        rewrite(tmp_path, text.replace("positive: a", "positive: b"))
        exporter.get("/-/reload", "POST")
        values = exporter.ready().values()
        assert values.one(name, label="version") == 6
        assert values.one("model_predictions_total", version="other", predicted="a") == 3
