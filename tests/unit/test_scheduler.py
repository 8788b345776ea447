"""The scheduler by hand: sources that give what a test says, cycles that run when a test says, a clock that stands."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any

import pytest

from exporter.contracts import Poll, Status
from exporter.errors import SourceDenied, SourceUnavailable, StateError
from exporter.pipeline import Pipeline
from exporter.scheduler import AHEAD, Feed, Scheduler
from exporter.scheduler.feed import LEAST, step
from exporter.state import State
from exporter.telemetry import Telemetry
from tests.ledgers import L, P, config, labels, model, parsed, predictions, sample

NEVER = threading.Event()


class Script:
    """A source that gives what a test puts into `next`: a poll, an error to raise, or a function to call."""

    def __init__(self):
        self.next: list[Any] = []
        self.cursors: list[Any] = []
        self.closed = 0
        self.under_way = 0

    def poll(self, cursor, deadline):
        self.cursors.append(cursor)
        self.under_way += 1
        assert self.under_way == 1, "two polls of one source at once"
        try:
            answer = self.next.pop(0) if self.next else Poll(None, cursor)
            answer = answer() if callable(answer) else answer
            if isinstance(answer, Exception):
                raise answer
            return answer
        finally:
            self.under_way -= 1

    def close(self):
        self.closed += 1


@dataclass
class World:
    """One model with both streams over a state, on a clock that a test moves."""

    hands: Any
    path: Any
    models: Any = field(default_factory=lambda: [model(windows=["last 10"])])

    def __post_init__(self):
        self.clock = self.hands.clock
        self.telemetry = Telemetry("1", (), self.clock)
        self.state = State(self.path)
        self.config = config(*self.models)
        self.sources: dict[Any, Script] = {}
        self.commits = 0
        self.scheduler = self.build()
        commit = self.state.commit

        def counted(blobs):
            self.commits += 1
            commit(blobs)

        self.state.commit = counted
        self.shown: list[Any] = []

    def build(self):
        pipeline = Pipeline(self.config, self.state)
        feeds = []
        for name in self.config.models:
            before = None
            for role in ("predictions", "labels"):
                script = self.sources[name, role] = Script()
                before = Feed(
                    key=(name, role),
                    source=script,
                    telemetry=self.telemetry.source(name, role, "files"),
                    interval=1.0,
                    timeout=10.0,
                    stale_after=60.0,
                    heard=self.clock.monotonic(),
                    cursor=pipeline.cursor(name, role),
                    after=before,
                )
                feeds.append(before)
        return Scheduler(pipeline, feeds, self.telemetry, self.publish, self.clock)

    def publish(self, scheduler):
        own = self.telemetry.render(), self.telemetry.render_openmetrics()
        status = Status(sources=scheduler.sources())
        self.shown.append(scheduler.pipeline.snapshot(self.clock.wall(), own, status, scheduler.stale()))

    def feed(self, role, name="m"):
        return next(feed for feed in self.scheduler.feeds if feed.key == (name, role))

    def give(self, *answers, role="predictions", name="m"):
        """Let a source give *answers*, one poll each; returns the last wait."""
        source = self.sources[name, role]
        source.next += [answer.poll if hasattr(answer, "poll") else answer for answer in answers]
        wait = None
        while source.next:
            wait = step(self.feed(role, name), self.scheduler.inbox, self.clock, NEVER)
        return wait

    def cycle(self, seconds=0.0):
        """Let *seconds* go by, and run a cycle."""
        self.hands.wall += seconds
        self.hands.monotonic += seconds
        self.scheduler._waiting += self.scheduler.inbox.take(0)
        self.scheduler.cycle()

    def ready(self):
        """Both backlogs are read: nothing in them."""
        self.give(Poll(None, None))
        self.give(Poll(None, None), role="labels")
        self.cycle()
        assert self.scheduler.ready() is None

    def samples(self):
        return parsed(self.shown[-1].text.decode())

    def value(self, name, **words):
        return self.samples().get(sample(name, **words))

    def own(self, name, role="predictions", **words):
        labels = {"model": "m", "role": role, **words} if name.startswith("source") else words
        return self.samples().get((f"model_exporter_{name}", frozenset(labels.items())))


@pytest.fixture
def world(hands, tmp_path):
    made = World(hands, tmp_path / "state")
    yield made
    made.state.close()


def poll(delivery, cursor=None, *, more=False):
    return Poll(delivery.poll.batch, cursor, more)


def made(*ids, version="1", cursor=None, more=False):
    return poll(predictions(*(P(one, 0.0, "a", version) for one in ids)), cursor or {"at": str(ids)}, more=more)


def told(*ids, cursor=None, more=False):
    return poll(labels(*(L(one, 1.0) for one in ids)), cursor or {"at": str(ids)}, more=more)


def until(condition, seconds=5.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, condition
        time.sleep(0.002)


# --- sources that fail -----------------------------------------------------------------------------


def test_a_source_that_is_down_at_start_hinders_nothing(world):
    """It is down but tried, which is enough to be ready; labels are read, and its own rows once it is up."""
    assert "m/predictions, m/labels" in world.scheduler.ready()
    world.give(SourceUnavailable("nothing there"))
    world.cycle()
    assert world.own("source_up") == 0
    assert world.own("source_poll_failures_total", reason="unavailable") == 1
    assert world.scheduler.ready() == "Still reading the backlog of m/labels."
    world.give(told("x"), role="labels")
    world.cycle()
    assert world.scheduler.ready() is None
    world.give(made("x"))
    world.cycle(2)
    assert world.own("source_up") == 1
    assert world.own("source_last_success_timestamp_seconds") == world.hands.wall


def test_back_off_grows_with_jitter_and_has_a_bound(world):
    """Waits double from about the interval on, never twice alike, up to 300 s; a poll that works ends them."""
    waits = [world.give(SourceDenied("no")) for _ in range(20)]
    for number, wait in enumerate(waits, 1):
        assert min(300, 2**number) / 2 <= wait <= min(300, 2**number)
    assert len(set(waits)) == len(waits)
    world.cycle()
    assert world.own("source_backoff_seconds") == waits[-1]
    assert world.give(Poll(None, None)) == 1.0
    world.cycle(5)
    assert world.own("source_backoff_seconds") == 0
    assert world.give(SourceDenied("no")) <= 2.0


def test_an_unforeseen_exception_of_a_source_is_its_own_affair(world, caplog):
    """It counts as a failure of this source, says nothing of what it held, and is tried again."""
    world.give(RuntimeError("a raw record"))
    world.cycle()
    assert world.own("source_poll_failures_total", reason="error") == 1
    assert world.shown[-1].status.sources[0].last_error == "unforeseen RuntimeError; the log says where"
    assert world.scheduler.healthy() is None
    world.give(made("x"))


def test_a_source_that_dies_later_loses_its_gauges_in_time(world):
    """Window gauges stay until stale_after and end then; counters, up and times stay; all is back with the source."""
    world.give(made("x", "y"))
    world.give(told("x", "y"), role="labels")
    world.cycle()
    last = world.hands.wall
    window = {"window": "last 10"}
    world.give(SourceUnavailable("gone"), role="labels")
    world.cycle(59)
    assert world.value("model_accuracy_ratio", **window) == 1.0
    world.cycle(6)
    assert world.value("model_accuracy_ratio", **window) is None
    assert world.value("model_window_labelled_predictions", **window) is None
    assert world.value("model_labelled_predictions_total", correct="true") == 2
    assert world.own("source_up", "labels") == 0
    assert world.own("source_last_success_timestamp_seconds", "labels") == last
    assert world.own("source_newest_record_timestamp_seconds", "labels") == 1.0
    world.give(Poll(None, {"at": 1}), role="labels")
    world.cycle(1)
    world.cycle(5)
    assert world.value("model_accuracy_ratio", **window) == 1.0
    assert world.value("model_labelled_predictions_total", correct="true") == 2
    assert world.own("source_up", "labels") == 1


def test_gauges_of_saved_counts_go_stale_after_a_restart_too(world):
    """A source that was never heard of since the start is as dead as one that was."""
    world.give(made("x"))
    world.give(told("x"), role="labels")
    world.cycle()
    world.scheduler = world.build()
    world.cycle(1)
    assert world.value("model_accuracy_ratio", window="last 10") == 1.0
    world.cycle(61)
    assert world.value("model_accuracy_ratio", window="last 10") is None
    assert world.value("model_labelled_predictions_total", correct="true") == 1


# --- ready, and what is shown first ----------------------------------------------------------------


def test_what_was_read_before_ready_are_starting_totals(world):
    """A backlog is shown as it is, not at 0; a version first seen later is at 0 for one served scrape."""
    world.give(made("x", more=True), made("y"))
    assert "m/predictions" in world.scheduler.ready()
    world.cycle()
    world.give(told("x"), role="labels")
    world.cycle()
    assert world.scheduler.ready() is None
    assert world.value("model_predictions_total", predicted="a") == 2
    assert world.value("model_labelled_predictions_total", correct="true") == 1
    world.give(made("z", version="2"))
    for _ in range(3):
        world.cycle(1)
        assert world.value("model_predictions_total", predicted="a", version="2") == 0
    world.shown[-1].served = True
    world.cycle(5)
    assert world.value("model_predictions_total", predicted="a", version="2") == 1


def test_a_restart_shows_no_counter_at_zero(world):
    """After a restart every counter is at once where it was, although its sources answer at once, too."""
    world.give(made("x"))
    world.give(told("x"), role="labels")
    world.cycle()
    world.scheduler = world.build()
    world.shown.clear()
    world.give(Poll(None, {"at": 1}))
    world.give(Poll(None, {"at": 1}), role="labels")
    world.cycle()
    world.cycle(1)
    for shown in world.shown:
        assert parsed(shown.text.decode())[sample("model_predictions_total", predicted="a")] == 1


def test_ready_is_said_when_it_is_shown(world):
    """A backlog read in the middle of a tick is shown at once, and only then is the exporter ready."""
    world.cycle()
    world.give(made("x"))
    world.give(told("x"), role="labels")
    world.scheduler.feeds[0].attempted.set()
    world.scheduler.feeds[1].attempted.set()
    assert "not shown yet" in world.scheduler.ready()
    world.cycle(0.1)
    assert world.scheduler.ready() is None
    assert world.value("model_labelled_predictions_total", correct="true") == 1


def test_labels_wait_for_the_backlog_of_predictions(world):
    """Labels are not asked for before the last page of predictions is saved."""
    first, second = threading.Event(), threading.Event()

    def page(event, delivery):
        assert event.wait(10)
        return delivery

    world.sources["m", "predictions"].next += [
        lambda: page(first, made("x", more=True)),
        lambda: page(second, made("y")),
    ]
    world.scheduler.start()
    try:
        first.set()
        until(lambda: world.commits >= 2)
        assert world.sources["m", "labels"].cursors == []
        second.set()
        until(lambda: world.sources["m", "labels"].cursors)
        assert world.state.get("cursor/m/predictions/files")
    finally:
        assert world.scheduler.stop()
    assert [script.closed for script in world.sources.values()] == [1, 1]


# --- polls that do not return ------------------------------------------------------------------------


def test_a_stuck_poll_costs_its_own_source_only(hands, tmp_path):
    """The other model goes on; the stuck one is told once as a timeout, and health fails past the bound."""
    world = World(hands, tmp_path / "state", [model("m", windows=["last 10"]), model("n")])
    world.feed("predictions").polling_since = 0.0  # as while a poll of it is under way
    world.cycle(15)
    assert world.own("source_poll_failures_total", reason="timeout") == 0
    for _ in range(5):
        world.give(made("x"), name="n")
        world.cycle(10)
    assert world.own("source_poll_failures_total", reason="timeout") == 1
    assert world.own("source_up") == 0
    assert world.feed("predictions").attempted.is_set()
    assert world.scheduler.healthy() is None
    world.cycle(600)
    assert "m/predictions has not returned for" in world.scheduler.healthy()
    step(world.feed("predictions"), world.scheduler.inbox, world.clock, NEVER)
    world.cycle(5)
    assert world.own("source_up") == 1
    assert world.scheduler.healthy() is None
    world.state.close()


def test_stop_leaves_a_stuck_poll_behind_and_no_second_joins_it(world):
    """Stop returns in time; what the poll brings later is dropped; the next start waits for it, then asks again."""
    begun, free = threading.Event(), threading.Event()

    def stuck():
        begun.set()
        assert free.wait(10)
        return made("dropped")

    world.sources["m", "predictions"].next += [stuck, made("x")]
    world.scheduler.start()
    assert begun.wait(5)
    before = time.monotonic()
    assert world.scheduler.stop(0.1)
    assert time.monotonic() - before < 1
    world.scheduler.start()
    until(lambda: world.own("source_up") is not None)
    assert len(world.sources["m", "predictions"].cursors) == 1
    free.set()
    until(lambda: len(world.sources["m", "predictions"].cursors) == 2)
    assert world.sources["m", "predictions"].cursors == [None, None]
    until(lambda: world.scheduler.pipeline.ledgers["m"].revision >= 1 and world.feed("predictions").cursor)
    assert world.scheduler.stop()
    assert world.scheduler.pipeline.ledgers["m"].remembered == 1


# --- back-pressure -----------------------------------------------------------------------------------


def test_a_source_is_at_most_so_many_rows_ahead(world):
    """While the cycle rests, a source polls until it is AHEAD rows ahead, waits, and goes on as rows are saved."""
    page = tuple(range(AHEAD // 4))
    source, stop = world.sources["m", "predictions"], threading.Event()
    source.next += [made(*page, cursor={"at": number}, more=True) for number in range(10)]
    feed = world.feed("predictions")

    def run():
        while source.next:
            step(feed, world.scheduler.inbox, world.clock, stop)

    thread = threading.Thread(target=run)
    thread.start()
    until(lambda: len(source.cursors) == 5)
    assert feed.ahead == AHEAD
    world.cycle()
    until(lambda: len(source.cursors) == 9)
    assert feed.ahead <= AHEAD
    stop.set()
    world.scheduler.inbox.wake()
    thread.join(5)
    assert not thread.is_alive()


def test_polls_without_rows_do_not_pile_up(world):
    """While nothing can be saved, failures and empty polls are bounded as rows are."""
    stop = threading.Event()
    source = world.sources["m", "predictions"]
    source.next += [SourceUnavailable("gone")] * (AHEAD // LEAST + 2)

    def run():
        while source.next and not stop.is_set():
            step(world.feed("predictions"), world.scheduler.inbox, world.clock, stop)

    thread = threading.Thread(target=run)
    thread.start()
    until(lambda: len(source.cursors) == AHEAD // LEAST + 1)
    stop.set()
    world.scheduler.inbox.wake()
    thread.join(5)
    assert len(world.scheduler.inbox.take(0)) == AHEAD // LEAST


# --- a disk that refuses -----------------------------------------------------------------------------


def full(*_):
    raise StateError("cannot save the state: the disk is full; nothing is lost")


def test_a_full_disk_doubles_and_loses_nothing(world, monkeypatch, caplog):
    """Counts that are not saved are neither shown nor said to be read; once they are, each row counts once."""
    caplog.set_level("INFO")
    world.ready()
    world.give(made("a"))
    world.cycle(1)
    world.shown[-1].served = True
    world.cycle(5)
    assert world.value("model_predictions_total", predicted="a") == 1
    good = world.state.commit
    monkeypatch.setattr(world.state, "commit", full)
    world.give(made("b", "c"))
    for _ in range(100):
        world.cycle(1)
    assert world.own("state_up") == 0
    assert world.value("model_predictions_total", predicted="a") == 1
    assert world.own("source_rows_total") == 1
    assert [record.levelname for record in caplog.records if "disk is full" in record.message] == ["ERROR"] * 2
    assert world.scheduler.healthy() is None
    world.give(made("d"))
    world.cycle(1)
    monkeypatch.setattr(world.state, "commit", good)
    world.cycle(1)
    world.cycle(1)
    assert world.own("state_up") == 1
    assert world.value("model_predictions_total", predicted="a") == 4
    assert world.own("source_rows_total") == 4
    assert caplog.records[-1].message == "the state is saved again"
    world.scheduler = world.build()
    world.cycle(5)
    assert world.value("model_predictions_total", predicted="a") == 4
    assert world.feed("predictions").cursor == {"at": "('d',)"}


def test_gauges_end_while_the_disk_is_full(world, monkeypatch):
    """Labels that cannot be saved are as good as none: gauges end in time, counters stay, and both go on later."""
    world.give(made("x", "y"))
    world.give(told("x"), role="labels")
    world.cycle()
    good = world.state.commit
    monkeypatch.setattr(world.state, "commit", full)
    world.give(told("y"), role="labels")
    world.cycle(10)
    assert world.value("model_accuracy_ratio", window="last 10") == 1.0
    world.cycle(61)
    assert world.value("model_accuracy_ratio", window="last 10") is None
    assert world.value("model_labelled_predictions_total", correct="true") == 1
    monkeypatch.setattr(world.state, "commit", good)
    world.cycle(1)
    world.cycle(1)
    assert world.value("model_window_labelled_predictions", window="last 10") == 2
    assert world.value("model_labelled_predictions_total", correct="true") == 2


def test_no_room_for_new_rows_loses_nothing(world, monkeypatch):
    """Rows for which there is no room wait, and are counted once when there is."""
    world.ready()
    ledger = world.scheduler.pipeline.ledgers["m"]
    good = ledger.reserve
    monkeypatch.setattr(ledger, "reserve", full)
    world.give(made("x", "y"))
    world.cycle(1)
    world.cycle(1)
    assert world.own("state_up") == 0
    assert world.own("source_rows_total") == 0
    monkeypatch.setattr(ledger, "reserve", good)
    world.cycle(1)
    world.shown[-1].served = True
    world.cycle(5)
    assert world.own("state_up") == 1
    assert world.value("model_predictions_total", predicted="a") == 2


def test_an_unforeseen_fault_of_the_cycle_ends_counting_but_not_serving(world, monkeypatch, caplog):
    """Health tells of it, what was shown stays as it was, and a restart goes on from the last commit."""
    world.give(made("x"))
    world.give(told("x"), role="labels")
    world.cycle()
    monkeypatch.setattr(world.scheduler.pipeline.ledgers["m"]._join, "step", lambda *_: 1 / 0)
    world.give(made("y"))
    world.cycle(1)
    assert "ZeroDivisionError" in world.scheduler.healthy()
    world.give(made("z"))
    world.cycle(1)
    world.cycle(5)
    assert world.value("model_predictions_total", predicted="a") == 1
    assert sum(record.exc_info is not None for record in caplog.records) == 1
    world.cycle(60)
    assert world.value("model_accuracy_ratio", window="last 10") is None
    assert "ZeroDivisionError" in world.scheduler.healthy()


def test_a_snapshot_that_cannot_be_made_shows_on_health(world, monkeypatch):
    """A fault behind the counting does not end the cycle's thread unseen either."""
    monkeypatch.setattr(world.scheduler, "_publish", lambda _: 1 / 0)
    world.cycle()
    assert "ZeroDivisionError" in world.scheduler.healthy()


def test_a_cycle_that_does_not_run_shows_on_health(world):
    """Health fails a minute after the last cycle."""
    world.cycle()
    world.hands.monotonic += 61
    assert world.scheduler.healthy() == "The cycle has not run for 61 s."


# --- the cost of doing nothing -----------------------------------------------------------------------


def test_idle_costs_no_commit_and_no_rendering(world):
    """Empty polls commit once (the sources turn idle), render no series again, and are shown every 5 s."""
    world.give(made("x"))
    world.give(told("x"), role="labels")
    world.cycle()
    world.cycle(5)
    commits, shown = world.commits, len(world.shown)
    texts = [text for block in world.scheduler.pipeline.exposition._blocks.values() for text in block.texts.values()]
    for _ in range(900):
        world.give(Poll(None, {"at": "('x',)"}))
        world.give(Poll(None, {"at": "('x',)"}), role="labels")
        world.cycle(1)
    assert world.commits - commits == 1
    assert len(world.shown) - shown == 180
    now = [text for block in world.scheduler.pipeline.exposition._blocks.values() for text in block.texts.values()]
    assert sum(one is not other for one, other in zip(texts, now, strict=True)) <= 2


def test_a_cursor_that_moved_is_saved_without_rows(world):
    """Records that were all skipped are not read again after a restart."""
    world.ready()
    commits = world.commits
    world.give(Poll(None, {"at": 7}))
    world.cycle(1)
    world.give(Poll(None, {"at": 7}))
    world.cycle(1)
    assert world.commits == commits + 1
    assert world.build().feeds[0].cursor == {"at": 7}


# --- threads -----------------------------------------------------------------------------------------


def test_what_was_handed_over_is_saved_at_the_end(world):
    """Stop counts and commits what is there, and shows it; all threads end and close their sources."""
    before = threading.active_count()
    world.sources["m", "predictions"].next.append(made("x"))
    world.scheduler.start()
    until(lambda: world.sources["m", "labels"].cursors)
    assert world.scheduler.stop()
    until(lambda: threading.active_count() == before)
    assert world.value("model_predictions_total", predicted="a") == 1
    assert world.build().feeds[0].cursor == {"at": "('x',)"}


def test_a_scheduler_can_be_stopped_before_it_started(world):
    """There is nothing to wait for then."""
    assert world.scheduler.stop()


def test_no_poll_without_progress_is_repeated_at_once(world):
    """A source that claims more without moving is asked at its interval, not in a hot loop."""
    assert world.give(Poll(None, None, more=True)) == 1.0
    assert world.give(Poll(None, {"at": 1}, more=True)) == 0.0


def test_a_failure_is_told_once_until_it_changes(world, caplog):
    """A file that is missing for a day does not fill the log: what is new is told at once, the same now and then."""
    caplog.set_level("INFO")

    def fail(message, seconds):
        world.give(SourceUnavailable(message))
        world.cycle(seconds)
        return [record.problem for record in caplog.records if record.message == "a poll failed"]

    assert fail("no such file", 1) == ["no such file"]
    for _ in range(5):
        said = fail("no such file", 60)
    assert said == ["no such file"]
    assert fail("denied", 1) == ["no such file", "denied"]
    world.cycle(600)
    assert fail("denied", 1) == ["no such file", "denied", "denied"]
    world.give(Poll(None, None))
    world.cycle(1)
    assert "polls work again" in caplog.messages
    assert len(fail("denied", 1)) == 4
