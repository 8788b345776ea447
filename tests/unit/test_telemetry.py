"""What the exporter says about itself: own metrics, log lines, and refused rows in measure."""

import io
import json
import logging
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from exporter import errors
from exporter.contracts import Clock, Refusals
from exporter.telemetry import FAILURE_REASONS, SPECS, RefusalLog, Telemetry, configure_logging

NOW = 1_795_000_000.5
PYTHON_INFO = ["version", "python_version", "implementation", "major", "minor", "patchlevel"]
ORDER = ["model", "role", "reason", "le", *PYTHON_INFO]


def telemetry(drop_reasons=()) -> Telemetry:
    return Telemetry("1.2.3", drop_reasons, Clock(wall=lambda: NOW))


def samples(told: Telemetry) -> dict[tuple[str, ...], float]:
    """Values by sample name and label values, in the order in which people name labels."""
    return {
        (sample.name, *(sample.labels[label] for label in sorted(sample.labels, key=ORDER.index))): sample.value
        for family in text_string_to_metric_families(told.render().decode())
        for sample in family.samples
    }


# --- own metrics ---------------------------------------------------------------------------------


def everything_said() -> Telemetry:
    told = telemetry(["duplicate"])
    told.config_loaded()
    told.ticked()
    told.cycle_ended(0.1, 42)
    told.committed(0.01, 4096)
    told.state_was_corrupt()
    source = told.source("fraud", "labels", "sql", ["bad_time"])
    source.polled(0.5)
    source.newest(NOW)
    return told


def test_catalogue_is_what_is_exposed():
    """Name, type, help and labels of every own metric on the page agree with the list that documents them."""
    families = {
        family.name: family
        for family in text_string_to_metric_families(everything_said().render().decode())
        if family.name.startswith("model_exporter_")
    }
    assert set(families) == {spec.name.removesuffix("_total") for spec in SPECS}
    for spec in SPECS:
        family = families[spec.name.removesuffix("_total")]
        assert (family.type, family.documentation) == (spec.type, spec.help)
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(spec.labels)


def test_process_and_python_stand_beside():
    """Memory, CPU and interpreter keep their usual names."""
    shown = {name for name, *_ in samples(telemetry())}
    assert {"process_resident_memory_bytes", "process_cpu_seconds_total", "python_info"} <= shown


def test_openmetrics_can_be_followed_by_more():
    """The rendering is valid OpenMetrics up to the end mark, which the whole exposition sets."""
    told = everything_said()
    rendered = told.render_openmetrics()
    assert b"# EOF" not in rendered
    assert b"_created" not in rendered + told.render()
    names = {family.name for family in parse_openmetrics(rendered.decode() + "# EOF\n")}
    assert "model_exporter_source_rows" in names


def test_known_reasons_start_at_zero():
    """`increase()` must see the first failure, so every reason that can be known is there before it."""
    told = telemetry(["duplicate", "limit"])
    told.source("fraud", "predictions", "files", ["bad_json"])
    shown = samples(told)
    where = ("fraud", "predictions")
    zeros = [("model_exporter_source_poll_failures_total", *where, reason) for reason in FAILURE_REASONS]
    zeros += [("model_exporter_series_dropped_total", reason) for reason in ("duplicate", "limit")]
    zeros += [
        ("model_exporter_source_rows_rejected_total", *where, "bad_json"),
        ("model_exporter_source_polls_total", *where),
        ("model_exporter_source_up", *where),
        ("model_exporter_source_backoff_seconds", *where),
        ("model_exporter_state_corruptions_total",),
    ]
    assert [shown[key] for key in zeros] == [0.0] * len(zeros)


def test_failure_reasons_are_those_of_the_errors():
    """A new kind of source error needs its zero too."""
    known = {errors.SourceError.reason} | {error.reason for error in errors.SourceError.__subclasses__()}
    assert set(FAILURE_REASONS) == known


def test_what_is_not_known_is_absent():
    """A time or a size of which nothing is known is no zero: 1970 would page someone."""
    told = telemetry()
    told.source("fraud", "labels", "sql")
    absent = {
        "model_exporter_config_last_reload_success_timestamp_seconds",
        "model_exporter_config_last_reload_successful",
        "model_exporter_loop_last_tick_timestamp_seconds",
        "model_exporter_state_bytes",
        "model_exporter_source_last_success_timestamp_seconds",
        "model_exporter_source_newest_record_timestamp_seconds",
    }
    assert not absent & {name for name, *_ in samples(told)}


def test_refused_config_keeps_the_time_of_the_good_one():
    """The flag falls, the time of the config in use stays."""
    now = [100.0]
    told = Telemetry("1", clock=Clock(wall=lambda: now[0]))
    told.config_loaded()
    now[0] = 200.0
    told.config_refused()
    shown = samples(told)
    assert shown["model_exporter_config_last_reload_successful",] == 0
    assert shown["model_exporter_config_last_reload_success_timestamp_seconds",] == 100
    told.config_loaded()
    assert samples(told)["model_exporter_config_last_reload_successful",] == 1


def test_state_that_cannot_be_committed_is_down_until_it_can():
    """A full disk shows, and its end too."""
    told = telemetry()
    told.committed(0.01, 10)
    told.commit_failed()
    assert samples(told)["model_exporter_state_up",] == 0
    told.committed(0.01, 20)
    shown = samples(told)
    assert (shown["model_exporter_state_up",], shown["model_exporter_state_bytes",]) == (1, 20)
    assert shown["model_exporter_commit_duration_seconds_count",] == 2


def test_dropped_series_are_counted_by_reason():
    """A reason that nobody announced is counted all the same."""
    told = telemetry(["duplicate"])
    told.series_dropped("duplicate", 3)
    told.series_dropped("surprise")
    told.series_dropped("surprise")
    shown = samples(told)
    assert shown["model_exporter_series_dropped_total", "duplicate"] == 3
    assert shown["model_exporter_series_dropped_total", "surprise"] == 2


def test_source_tells_of_its_polls_in_metrics_and_status():
    """A failure sets the source down with its reason, the next success sets it up again and forgets the error."""
    told = telemetry()
    source = told.source("fraud", "labels", "sql")
    assert source.status().up is None
    source.polled(0.5)
    source.rows(10, skipped=2)
    source.newest(NOW - 5)
    source.newest(NOW - 50)
    source.refused(Counter(bad_time=3))
    source.failed("timeout", 2.0, "no answer in 2 s", backoff=8.0)
    shown = samples(told)
    where = ("fraud", "labels")
    assert {name: value for (name, *labels), value in shown.items() if tuple(labels) == where} == {
        "model_exporter_source_up": 0,
        "model_exporter_source_last_success_timestamp_seconds": NOW,
        "model_exporter_source_newest_record_timestamp_seconds": NOW - 5,
        "model_exporter_source_poll_duration_seconds_sum": 2.5,
        "model_exporter_source_poll_duration_seconds_count": 2,
        "model_exporter_source_polls_total": 2,
        "model_exporter_source_rows_total": 10,
        "model_exporter_source_rows_skipped_total": 2,
        "model_exporter_source_backoff_seconds": 8,
    }
    assert shown["model_exporter_source_poll_failures_total", *where, "timeout"] == 1
    assert shown["model_exporter_source_rows_rejected_total", *where, "bad_time"] == 3
    status = source.status("a note")
    assert (status.up, status.rows, status.refused) == (False, 10, {"bad_time": 3})
    assert (status.last_error, status.last_success, status.newest_record) == ("no answer in 2 s", NOW, NOW - 5)
    assert (status.kind, status.note) == ("sql", "a note")

    source.polled(0.1)
    assert (source.status().up, source.status().last_error) == (True, None)
    shown = samples(told)
    assert (shown["model_exporter_source_up", *where], shown["model_exporter_source_backoff_seconds", *where]) == (
        1,
        0,
    )


def test_removed_source_leaves_no_series():
    """After a reload only the sources of the new config are exposed; one that comes back starts anew."""
    told = everything_said()
    gone = told.source("fraud", "labels", "sql")
    gone.failed("denied", 1.0, "no")
    gone.refused({"bad_time": 1})
    told.source("digits", "labels", "sql")
    told.remove_source("fraud", "labels")
    told.remove_source("never", "there")
    assert not [key for key in samples(told) if "fraud" in key]
    assert [key for key in samples(told) if "digits" in key]
    again = told.source("fraud", "labels", "sql")
    assert again is not gone
    assert samples(told)["model_exporter_source_polls_total", "fraud", "labels"] == 0


def test_source_is_the_same_object_until_it_is_removed():
    """Scheduler and page speak of one thing."""
    told = telemetry()
    assert told.source("fraud", "labels", "sql") is told.source("fraud", "labels", "sql")


# --- log -----------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _loggers_as_they_were():
    """What a test sets up must not change what others log."""
    root, ours = logging.getLogger(), logging.getLogger("exporter")
    handlers, levels = list(root.handlers), (root.level, ours.level)
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


@pytest.fixture
def stream():
    return io.StringIO()


def test_logfmt_line_has_utc_time_level_and_fields(stream):
    """One line per event, values quoted only where they must be."""
    configure_logging("info", "logfmt", stream)
    record = logging.makeLogRecord({"name": "exporter.sources", "levelno": 30, "levelname": "WARNING"})
    record.msg, record.args = "polled %s", ("twice",)
    record.created, record.msecs = 1795321939.453, 453.0
    record.__dict__.update(model="fraud", place="/var/log/a b.jsonl:17", empty="", count=3, last=None, ok=True)
    logging.getLogger().handle(record)
    assert stream.getvalue() == (
        'time=2026-11-22T04:32:19.453Z level=warning logger=exporter.sources msg="polled twice" model=fraud '
        'place="/var/log/a b.jsonl:17" empty="" count=3 last=null ok=true\n'
    )


def test_json_line_has_the_same_fields(stream):
    """JSON is for machines: numbers stay numbers."""
    configure_logging("info", "json", stream)
    logging.getLogger("exporter.x").info("hello", extra={"model": "fraud", "count": 3, "odd": {1}})
    line = json.loads(stream.getvalue())
    assert list(line)[:4] == ["time", "level", "logger", "msg"]
    assert (line["msg"], line["model"], line["count"], line["odd"]) == ("hello", "fraud", 3, "{1}")


@pytest.mark.parametrize("format_", ["logfmt", "json"])
@given(text=st.text())
def test_no_text_breaks_out_of_its_line(format_, text):
    """Line ends, quotes, control and half characters cannot forge a line or a field."""
    formatter = configure_logging("info", format_, io.StringIO()).formatter
    assert formatter is not None
    record = logging.makeLogRecord({"msg": text.replace("%", ""), "levelname": "INFO", "name": "x", "value": text})
    line = formatter.format(record)
    assert len(line.splitlines()) == 1
    assert line.isprintable()
    if format_ == "json":
        assert json.loads(line)["value"] == text
    else:
        bare_or_quoted = r'\w+=(?:[^\s"=]+|"(?:[^"\\]|\\.)*")'
        fields = re.findall(bare_or_quoted, line)
        assert " ".join(fields) == line
        assert [field.partition("=")[0] for field in fields] == ["time", "level", "logger", "msg", "value"]


def test_exception_is_one_line_without_foreign_text(stream):
    """Types and places always; the text only of errors that are ours or the system's, since others quote data."""
    configure_logging("info", "logfmt", stream)
    log = logging.getLogger("exporter.x")
    try:
        float("card 4111-1111")
    except ValueError:
        log.exception("a poll failed")
    try:
        try:
            float("card 4111-1111")
        except ValueError as error:
            raise errors.SourceDataError("the file is cut off") from error
    except errors.SourceDataError:
        log.exception("a poll failed")
    first, second = stream.getvalue().splitlines()
    assert "4111" not in stream.getvalue()
    assert "error=ValueError at=" in first
    assert "test_telemetry.py" in first
    assert 'error="SourceDataError: the file is cut off (from ValueError)"' in second


def test_level_is_ours_and_other_libraries_only_warn(stream):
    """Debugging the exporter does not print what drivers say in passing; setting up again replaces, not doubles."""
    configure_logging("error", "logfmt", io.StringIO())
    configure_logging("debug", "logfmt", stream)
    logging.getLogger("exporter.x").debug("ours")
    logging.getLogger("driver").info("theirs")
    logging.getLogger("driver").warning("their warning")
    assert [line.split("msg=")[1] for line in stream.getvalue().splitlines()] == ["ours", '"their warning"']


# --- refused rows --------------------------------------------------------------------------------


def refusals(reason: str, count: int, examples: int) -> Refusals:
    refused = Refusals()
    for number in range(examples):
        refused.add(reason, f"a.jsonl:{number}", "no number")
    refused.counts[reason] += count - examples
    return refused


def lines(caplog) -> list[tuple[str, str, str, int]]:
    found = [(r.msg, r.reason, getattr(r, "place", ""), getattr(r, "suppressed", 0)) for r in caplog.records]
    caplog.clear()
    return found


def test_refused_rows_are_logged_with_their_place(caplog):
    """A person finds the row by file and offset."""
    RefusalLog().note("fraud", "labels", refusals("bad_time", 1, 1))
    record = caplog.records[0]
    assert (record.levelname, record.model, record.role) == ("WARNING", "fraud", "labels")
    assert (record.reason, record.place, record.detail) == ("bad_time", "a.jsonl:0", "no number")


def test_a_flood_is_a_few_lines_and_a_count(caplog):
    """Within a minute only so many lines are written; the rest is told as a number when the minute is over."""
    now = [0.0]
    log = RefusalLog(Clock(monotonic=lambda: now[0]), lines_per_minute=3)
    log.note("fraud", "labels", refusals("bad_time", 1000, 20))
    log.note("fraud", "labels", refusals("bad_time", 500, 20))
    assert [line[:3] for line in lines(caplog)] == [("row refused", "bad_time", f"a.jsonl:{n}") for n in range(3)]
    now[0] = 59.0
    log.sweep()
    assert lines(caplog) == []
    now[0] = 60.0
    log.sweep()
    assert lines(caplog) == [("more rows refused than logged", "bad_time", "", 1497)]
    log.sweep()
    assert lines(caplog) == []
    log.note("fraud", "labels", refusals("bad_time", 1, 1))
    assert [line[0] for line in lines(caplog)] == ["row refused"]


def test_sources_and_reasons_do_not_silence_each_other(caplog):
    """Each source and reason has its own few lines."""
    log = RefusalLog(Clock(monotonic=lambda: 0.0), lines_per_minute=1)
    for model, role, reason in [
        ("a", "labels", "x"),
        ("a", "labels", "y"),
        ("a", "predictions", "x"),
        ("b", "labels", "x"),
    ]:
        log.note(model, role, refusals(reason, 2, 2))
    assert len(lines(caplog)) == 4


def test_nothing_is_said_where_all_was_logged(caplog):
    """A minute that left nothing out has no closing line, and costs no memory."""
    now = [0.0]
    log = RefusalLog(Clock(monotonic=lambda: now[0]))
    log.note("a", "labels", refusals("x", 2, 2))
    lines(caplog)
    now[0] = 61.0
    log.sweep()
    assert lines(caplog) == []
    assert not log._allowances
