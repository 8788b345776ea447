"""Fits of calibration in a child process, one at a time; the cycle asks for them, and takes what came of them later.

A child that crashes, hangs or answers nonsense is ended and counted, and the same fits are tried again, ever later.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from exporter.contracts import Clock
from exporter.families import isotonic
from exporter.pipeline import Fit
from exporter.scheduler.feed import Inbox

log = logging.getLogger(__name__)

PROGRAM = (sys.executable, "-P", "-W", "ignore", str(Path(isotonic.__file__)))
TIMEOUT = 60.0
AGAIN_AFTER, LONGEST_WAIT = 60.0, 3600.0
"""Seconds until what failed is tried again: the first time, and at most."""
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True, slots=True)
class Fitted:
    """What the fitter tells when a child has ended."""

    feed: Fitter
    fits: Sequence[Fit]
    weight: int = 0


class Fitter:
    """Hands fits to a child process that runs *program*, and what comes of them to *inbox*."""

    def __init__(self, inbox: Inbox, clock: Clock, program: Sequence[str] = PROGRAM, timeout: float = TIMEOUT) -> None:
        self.ahead = 0
        self._inbox = inbox
        self._clock = clock
        self._program = program
        self._timeout = timeout
        self._thread: threading.Thread | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._starting = threading.Lock()
        self._failures: dict[tuple[str, int], tuple[float, float]] = {}
        """How long fits of a model's group wait after the last failure, and when (monotonic) the next is tried."""
        self._stop = threading.Event()
        self._busy, self._new = False, True

    @property
    def free(self) -> bool:
        """Whether no child is at work, and nothing that one told waits to be taken in."""
        return not self._busy

    def settle(self) -> None:
        """What was told has been taken in: the next may begin."""
        self._busy = False

    @property
    def owes(self) -> bool:
        """Whether fits may be due though no label has come: at a start, and when failed ones are to be tried again."""
        now = self._clock.monotonic()
        return self._new or any(at <= now for _, at in self._failures.values())

    def make(self, fits: Sequence[Fit]) -> None:
        """Begin to make *fits*, except those that failed a short while ago; only to be used when `free`."""
        self._new = False
        now = self._clock.monotonic()
        due = [fit for fit in fits if now >= self._failures.get((fit.model, fit.group), (0.0, now))[1]]
        if not due or self._stop.is_set():
            return
        self._busy = True
        self._thread = threading.Thread(target=self._make, args=(due, self._stop), name="fitter", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:  # there can be no more threads
            self._thread = None
            self._tell(_all(due, self._failed("crashed", str(error))), self._stop)

    def wait(self, timeout: float | None = None) -> None:
        """Until what was begun has ended, or for *timeout* seconds."""
        if self._thread is not None:
            self._thread.join(timeout)

    def start(self) -> None:
        """Make fits, also after `stop`."""
        if self._stop.is_set():
            self._stop = threading.Event()
            self._busy, self._new = False, True

    def stop(self) -> None:
        """End a child that is at work; what it would have told is asked for again by the next start."""
        with self._starting:
            self._stop.set()
            if self._child is not None:
                self._child.kill()

    def _make(self, fits: Sequence[Fit], stop: threading.Event) -> None:
        try:
            result, answers = self._ask([fit.request for fit in fits], stop)
            if answers:
                ended = [fit.answered(answer) for fit, answer in zip(fits, answers, strict=True)]
            else:
                ended = _all(fits, result)
        except Exception:  # such as no memory for the answer: no reason to never try again
            log.exception("calibration could not be fitted", extra={"result": "crashed"})
            ended = _all(fits, "crashed")
        self._tell(ended, stop)

    def _tell(self, ended: Sequence[Fit], stop: threading.Event) -> None:
        if not stop.is_set():
            self._remember(ended)
        self._inbox.put(Fitted(self, ended), stop)

    def _ask(self, request: list[Mapping[str, list[float]]], stop: threading.Event) -> tuple[str, list[list[float]]]:
        """The child's answers to *request*, or none and what went wrong."""
        try:
            child = self._begin(stop)
        except OSError as error:
            return self._failed("crashed", f"cannot be started: {error.strerror}"), []
        if child is None:
            return "crashed", []
        with child:  # which waits for its end, so that nothing is left of it
            try:
                out, err = child.communicate(msgspec.json.encode(request), self._timeout)
            except subprocess.TimeoutExpired:
                return self._failed("timeout", f"no answer for {self._timeout:.0f} s"), []
            finally:
                self._child = None
                child.kill()
        if child.returncode:
            said = err.decode(errors="replace").strip().rpartition("\n")[2]
            return self._failed("crashed", f"exit status {child.returncode}; {said[:200]}"), []
        try:
            answers = msgspec.json.decode(out, type=list[list[float]])
        except ValueError:
            answers = []
        if len(answers) != len(request):
            return self._failed("invalid", "its answer makes no sense"), []
        return "", answers

    def _begin(self, stop: threading.Event) -> subprocess.Popen[bytes] | None:
        """A child, which `stop` can end from now on; None if it was called before.  Raises OSError."""
        with self._starting:
            if stop.is_set():
                return None
            self._child = subprocess.Popen(  # noqa: S603 - our own program
                self._program,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=os.environ | _ONE_THREAD,
                start_new_session=True,  # Ctrl-C is for the exporter, which ends it
            )
            return self._child

    def _failed(self, result: str, problem: str) -> str:
        if not self._stop.is_set():
            log.warning("calibration could not be fitted", extra={"result": result, "problem": problem})
        return result

    def _remember(self, ended: Sequence[Fit]) -> None:
        for fit in ended:
            key = (fit.model, fit.group)
            if fit.result == "fitted":
                self._failures.pop(key, None)
                continue
            waited = self._failures.get(key, (0.0, 0.0))[0]
            wait = min(LONGEST_WAIT, max(AGAIN_AFTER, 2 * waited))
            self._failures[key] = wait, self._clock.monotonic() + wait


def _all(fits: Sequence[Fit], result: str) -> list[Fit]:
    """*fits* that have ended alike."""
    return [replace(fit, result=result) for fit in fits]
