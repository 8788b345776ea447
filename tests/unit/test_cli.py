"""The command line: words for people, exit codes for programs."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from exporter import __version__, catalogue, demo
from exporter.app import App
from exporter.contracts import Clock
from exporter.probes.supervisor import Supervisor, SupervisorConfig
from exporter.state import State
from exporter.web import server
from tests.apps import command, config
from tests.running import ROOT


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "model-exporter.yml"
    path.write_text(config(tmp_path))
    return path


def ended(capsys, *words):
    """Exit code, output and errors of a command that ends by itself, also by argparse."""
    try:
        code = command(*words)
    except SystemExit as end:
        code = end.code
    said = capsys.readouterr()
    return code, said.out, said.err


def test_the_version_is_told(capsys):
    """--version prints name and version."""
    assert ended(capsys, "--version") == (0, f"model-exporter {__version__}\n", "")


def test_help_shows_what_there_is(capsys):
    """--help names every command, the first steps, the exit codes and the signals; each command has its own."""
    code, out, _ = ended(capsys, "--help")
    assert code == 0
    for word in ("check", "demo", "metrics", "model-exporter demo", "exit codes:", "SIGHUP", "--state.path", "9884"):
        assert word in out
    for name, word in (("check", "--read N"), ("demo", "FOLDER"), ("metrics", "markdown"), ("thresholds", "1/month")):
        code, out, _ = ended(capsys, name, "--help")
        assert (code, word in out) == (0, True)


@pytest.mark.parametrize(
    "words",
    [
        ["--bogus"],
        ["bogus"],
        ["--config.file"],
        ["--log.level", "loud"],
        ["check", "--read", "0"],
        ["--conf", "x"],
        ["thresholds", "--since", "4"],
        ["thresholds", "--false-alarms", "often"],
        ["thresholds", "--exclude", "today"],
        ["thresholds", "--prometheus.url", "localhost:9090"],
        ["thresholds", "--prometheus.url", "http://u:s3cret@h"],
    ],
)
def test_a_wrong_command_line_is_code_2(capsys, words):
    """So are unknown flags and commands, and flags that are cut short."""
    code, out, err = ended(capsys, *words)
    assert (code, out) == (2, "")
    assert "error: " in err
    assert "s3cret" not in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--confg.file", "c.yml"], "there is no --confg.file; did you mean --config.file?"),
        (["--confg.file=c.yml"], "there is no --confg.file; did you mean --config.file?"),
        (["check", "c.yml", "--raed", "5"], "there is no --raed; did you mean --read?"),
        (["run", "--restrat", "--", "serve", "--confg.file"], "there is no --restrat; did you mean --restart?"),
        (["chek", "c.yml"], "did you mean check?"),
        (["--wholly-unlike-anything"], "there is no --wholly-unlike-anything\n"),
    ],
)
def test_a_misspelt_word_is_told_what_was_meant(capsys, words, told):
    """The flag that is wrong is named, not the value behind it; there is no usage of all flags in the way."""
    code, _, err = ended(capsys, *words)
    assert code == 2
    assert told in err
    assert err.count("\n") == 2


@pytest.mark.parametrize("words", [[], ["--config.file", "elsewhere.yml"], ["check"]])
def test_a_missing_config_is_code_3_with_the_way_out(capsys, monkeypatch, tmp_path, words):
    """The file is named, and what a newcomer can do; there is no usage of all flags in the way."""
    monkeypatch.chdir(tmp_path)
    code, _, err = ended(capsys, *words)
    assert code == 3
    assert ("elsewhere.yml" if "elsewhere.yml" in words else "model-exporter.yml") in err
    assert ("model-exporter check FILE" if "check" in words else "--config.file FILE") in err
    assert "model-exporter demo" in err
    assert "usage" not in err


def test_a_faulty_config_is_code_3_with_every_fault(capsys, file):
    """Each fault on a line of its own, then their number."""
    file.write_text("models:\n  m: {task: binry}\n  n: {windows: [5]}\n")
    code, out, err = ended(capsys, "--config.file", str(file))
    assert (code, out) == (3, "")
    lines = err.splitlines()
    assert all(line.startswith(f"{file}:") for line in lines[:-1])
    assert lines[-1] == f"{len(lines) - 1} faults; nothing was started."


def test_the_demo_sees_at_once_that_its_port_is_in_use(capsys, tmp_path):
    """Before a model is trained, and with a command that will work."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, out, err = ended(capsys, "demo", str(tmp_path / "d"), "--web.listen-address", address)
    assert (code, out) == (1, "")
    assert f"{address}: the port is in use" in err
    assert "model-exporter demo --web.listen-address 127.0.0.1:0" in err
    assert not (tmp_path / "d").exists()


def test_a_port_in_use_is_code_1_with_advice(capsys, file, tmp_path):
    """The message names the address and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        words = ["--config.file", str(file), "--state.path", str(tmp_path / "state"), "--web.listen-address", address]
        code, _, err = run(*words)
    assert code == 1
    assert f"model-exporter: cannot listen on {address}: the port is in use" in err
    assert "Traceback" not in err


def run(*words, **options):
    """Exit code, output and errors of a process of its own."""
    line = [sys.executable, "-m", "exporter", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=20, check=False, **options)
    return done.returncode, done.stdout, done.stderr


def test_a_locked_state_is_code_1_with_advice(capsys, file, tmp_path):
    """The message names the folder and what to do."""
    state = State(tmp_path / "state")
    code, _, err = ended(capsys, "--config.file", str(file), "--state.path", str(tmp_path / "state"))
    state.close()
    assert code == 1
    assert err.startswith(f"model-exporter: {tmp_path / 'state'} is used by another exporter")


def test_a_state_that_cannot_be_written_is_code_1(capsys, file, tmp_path):
    """A file in the place of the folder is told."""
    (tmp_path / "state").write_text("")
    code, _, err = ended(capsys, "--config.file", str(file), "--state.path", str(tmp_path / "state"))
    assert code == 1
    assert "--state.path" in err


@pytest.mark.parametrize("kind", ["text", "markdown", "json"])
def test_metrics_prints_the_catalogue(capsys, kind):
    """`metrics` is the catalogue, in any of its forms."""
    assert ended(capsys, "metrics", "--format", kind) == (0, catalogue.render(kind), "")


@pytest.mark.parametrize("words", [["metrics"], ["check", "--schema"]])
def test_a_reader_that_has_seen_enough_is_no_error(words):
    """Output into a pipe that nobody reads any more ends quietly."""
    read, write = os.pipe()
    os.close(read)
    line = [sys.executable, "-m", "exporter", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(line, env=environment, stdout=write, stderr=subprocess.PIPE, timeout=20, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("words", "state"), [([], "home"), (["--state.path", ":memory:"], None), (["--state.path", "here"], "here")]
)
def test_flags_reach_the_exporter(monkeypatch, tmp_path, file, words, state):
    """Every flag of serving ends in an option of its own."""
    monkeypatch.setenv("STATE_DIRECTORY", "home")
    monkeypatch.chdir(tmp_path)
    seen = []
    monkeypatch.setattr(App, "run", lambda self: seen.append(self) or 0)
    flags = ["--config.file", str(file), "--web.listen-address", ":1", "--web.telemetry-path", "/m"]
    assert command(*flags, "--web.enable-lifecycle", *words) == 0
    (app,) = seen
    app.state.close()
    options = app.options
    assert (options.address, options.telemetry_path, options.lifecycle) == (":1", "/m", True)
    assert (options.state and str(options.state)) == state


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("127.0.0.1:0", "127.0.0.1"),
        (":0", "localhost"),
        ("0.0.0.0:0", "localhost"),
        ("[::1]:0", "[::1]"),
        ("ada:0", "ada"),
    ],
)
def test_the_demo_shows_the_host_that_was_given(monkeypatch, capsys, tmp_path, address, url):
    """What is announced can be clicked on."""

    def only_serve(folder, where, serve):
        supervisor = Supervisor(SupervisorConfig(command=("true",)), name=demo.TARGET, clock=Clock())
        return serve(demo.prepare(tmp_path), tmp_path / "state", where, supervisor)

    monkeypatch.setattr(server, "free", lambda *words: None)  # no machine here is called ada
    monkeypatch.setattr(demo, "run", only_serve)
    monkeypatch.setattr(App, "run", lambda self: self.state.close() or self.options.announce(4321) or 0)
    code, out, _ = ended(capsys, "demo", "--web.listen-address", address)
    assert code == 0
    assert f"http://{url}:4321/metrics" in out


def test_a_malformed_address_of_the_demo_is_told_before_it_starts(capsys):
    """No model is trained for an address that cannot be."""
    code, _, err = ended(capsys, "demo", "--web.listen-address", "nowhere")
    assert code == 1
    assert "write HOST:PORT" in err
