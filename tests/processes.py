"""Real processes to be watched in tests: a server that forks workers and replaces those that end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from exporter.contracts import Clock, Deadline, Probe
from exporter.probes.pidfd import Pidfd

SCRIPT = """
import ctypes, os, signal, socket, sys

def say(word, number):
    os.write(1, f"{word} {number}\\n".encode())  # whole, whoever else writes

listening = socket.socket()
listening.bind(("127.0.0.1", 0))
listening.listen()
say("port", listening.getsockname()[1])
kids = set()

def work(parent):
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: no test leaves an orphan
    if os.getppid() != parent:
        os._exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGUSR1, lambda *_: os._exit(0))
    signal.signal(signal.SIGUSR2, lambda *_: os._exit(3))
    say("worker", os.getpid())
    while True:
        signal.pause()

def fork():
    own, kid = os.getpid(), os.fork()
    if not kid:
        work(own)
    kids.add(kid)

def stop(*_):
    for kid in kids:
        os.kill(kid, signal.SIGTERM)
    sys.exit(0)

def deafen(*_):
    listening.close()
    say("deaf", os.getpid())

for _ in range(int(sys.argv[1])):
    fork()
signal.signal(signal.SIGHUP, deafen)
signal.signal(signal.SIGTERM, stop)
say("ready", os.getpid())
while kids:
    kid, _ = os.wait()
    kids.remove(kid)
    fork()
    say("replaced", kid)
while True:
    signal.pause()
"""


FOREVER = Deadline(float("inf"))


class Ticks:
    """Clocks that stand still until they are moved."""

    def __init__(self) -> None:
        self.wall = 1_795_000_000.0
        self.monotonic = 100.0

    def clock(self) -> Clock:
        return Clock(wall=lambda: self.wall, monotonic=lambda: self.monotonic)

    def pass_by(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic += seconds


def cost_of_a_look(probe: Probe) -> float:
    """CPU seconds; the best of several runs, as others may share the machine."""
    probe.look(None, FOREVER)
    costs = []
    for _ in range(5):
        start = time.process_time()
        for _ in range(20):
            probe.look(None, FOREVER)
        costs.append((time.process_time() - start) / 20)
    return min(costs)


@dataclass
class Server:
    """A running SCRIPT in a session of its own; `tell` reads what it says."""

    process: subprocess.Popen[str]
    said: list[tuple[str, int]] = field(default_factory=list)

    @classmethod
    def start(cls, script: Path, workers: int) -> Server:
        script.write_text(SCRIPT)
        command = [sys.executable, str(script), str(workers)]
        server = cls(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True))
        server.tell("ready")
        server.await_workers(workers)
        return server

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def workers(self) -> list[int]:
        return [number for word, number in self.said if word == "worker"]

    @property
    def port(self) -> int:
        return next(number for word, number in self.said if word == "port")

    def tell(self, wanted: str) -> int:
        """Wait until the server says *wanted*; returns the number beside it."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            word, _, number = line.partition(" ")
            self.said.append((word, int(number)))
            if word == wanted:
                return int(number)
        raise AssertionError(f"the server ended before it said {wanted}")

    def await_workers(self, count: int) -> None:
        """Wait until so many workers have ever begun."""
        while len(self.workers) < count:
            self.tell("worker")

    def lose_worker(self, pid: int, number: int) -> None:
        """Signal a worker, and wait until the server has reaped and replaced it."""
        os.kill(pid, number)
        assert self.tell("replaced") == pid

    def end(self, number: int = signal.SIGKILL) -> None:
        """Signal the first process and reap it; the workers end with it."""
        self.process.send_signal(number)
        self.process.wait()
        until(lambda: all(map(gone, self.workers)))

    def close(self) -> None:
        """End the whole session; its leader is held unreaped until then, so that the number is its own."""
        if self.process.returncode is None:
            os.killpg(self.pid, signal.SIGKILL)
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


def gone(pid: int) -> bool:
    """Whether *pid* has ended, even if nobody reaps it."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for what real processes do in their own time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.005)


def kernel_tells_exits() -> bool:
    """Whether this kernel keeps the exit of a process that is not our child (Linux 6.15)."""
    process = subprocess.Popen(["true"])
    held = Pidfd(process.pid)
    process.wait()
    how, _ = held.exit()
    held.close()
    return how is not None
