"""What review would otherwise have to say again and again: style, types, floors, size, and no stranger's paths."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.running import ROOT

FILE_LINES, MOST_FILE_LINES, SHARE_OF_SHORT_FILES = 300, 400, 0.85
FUNCTION_LINES = 40
PACKAGES = ("exporter", "dashboards")


def run(*words):
    """Fails with all that a program says if it finds anything."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"\n{done.stdout}{done.stderr}"
    return done.stdout


def modules():
    paths = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return {str(path.relative_to(ROOT)): path.read_text() for path in paths}


def test_ruff():
    """Every rule holds that pyproject.toml does not switch off with a reason."""
    run(sys.executable, "-m", "ruff", "check", "--quiet", "--output-format=concise", *PACKAGES, "tests")


def test_mypy():
    """The packages are typed, strictly."""
    run(sys.executable, "-m", "mypy", "--no-error-summary")


def test_imports_go_down_only():
    """Rooms import only what stands on lower floors, and no room has been forgotten."""
    run(Path(sysconfig.get_path("scripts")) / "lint-imports")


def test_files_are_short():
    """Most files can be read in one go, and none is a burden."""
    lines = {name: len(text.splitlines()) for name, text in modules().items()}
    long = {name: count for name, count in lines.items() if count >= FILE_LINES}
    assert not {name: count for name, count in long.items() if count > MOST_FILE_LINES}
    assert len(long) <= (1 - SHARE_OF_SHORT_FILES) * len(lines), long


def test_functions_are_short():
    """No function has more lines of code than fit on a screen; docstrings, comments and blank lines are free."""
    long = {}
    for name, text in modules().items():
        lines = text.splitlines()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                code = lines[body[0].lineno - 1 : node.end_lineno] if body else []
                count = sum(bool(line.strip()) and not line.lstrip().startswith("#") for line in code)
                if count > FUNCTION_LINES:
                    long[f"{name}:{node.lineno} {node.name}"] = count
    assert not long


def test_no_path_of_a_single_machine():
    """No tracked file names a folder that exists on one machine only."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no clone, so that nobody knows which files are tracked")
    tracked = run("git", "-c", "safe.directory=*", "ls-files", "-z").split("\0")[:-1]
    foreign = [f"/{name}/".encode() for name in ("work", "root", "opt/me")]
    found = [
        f"{name}: {path.decode()}"
        for name in tracked
        if (ROOT / name).is_file()
        for path in foreign
        if path in (ROOT / name).read_bytes()
    ]
    assert not found
