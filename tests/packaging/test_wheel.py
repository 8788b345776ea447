"""The wheel, built and installed as a user would: what is in it, what it needs, and what it imports."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from tests.bentoml import CONFIG, DATA, assert_expected
from tests.running import ROOT, Exporter

HEAVY = {"sklearn", "scipy", "pandas", "pyarrow", "sqlalchemy", "psycopg", "requests", "tenacity", "exporter.demo"}
SHIPPED_FOLDERS, SHIPPED_FILES = ("alert_rules", "dashboards", "deploy"), ("Dockerfile", "docker-compose.yml")
UNSHIPPED = re.compile(r"alert_rules/tests/|dashboards/(.*\.py|README\.md)$")
"""What lies in the shipped folders for the making and testing of what is shipped."""


def run(*words, **options):
    done = subprocess.run(words, capture_output=True, text=True, check=False, **options)
    if done.returncode and re.search(r"NewConnectionError|NameResolutionError|ProxyError", done.stderr):
        pytest.skip(f"the package index cannot be reached: {done.stderr[-300:]}")
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of this tree, built from a copy so that nothing is left in the tree."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in ("exporter", "tests", *SHIPPED_FOLDERS):
        ignored = shutil.ignore_patterns("__pycache__", "data")
        shutil.copytree(ROOT / name, source / name, ignore=ignored, symlinks=True)
    for name in ("pyproject.toml", "README.md", "LICENSE", *SHIPPED_FILES):
        shutil.copy(ROOT / name, source)
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, source)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The programs of an environment in which nothing but the wheel, and what it asks for, is installed."""
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder, with_pip=False)
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin/python"]
    run(*pip, "install", "--quiet", "--no-compile", "--prefer-binary", wheel)
    return folder / "bin"


def test_what_the_wheel_holds(wheel):
    """Every module of the package, its types, its style sheet and the files of the bundle; no tests, no other name."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (about,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        text = archive.read(about).decode()
        (top_level,) = (name for name in names if name.endswith(".dist-info/top_level.txt"))
        assert archive.read(top_level).decode().split() == ["exporter"]
    assert {Path(name).parts[0] for name in names} == {"exporter", Path(about).parts[0]}
    held = {str(path.relative_to(ROOT)) for path in (ROOT / "exporter").rglob("*.py")}
    assert held | {"exporter/py.typed", "exporter/web/page.css"} <= names
    links = "exporter/bundle/shipped/"
    tracked = run("git", "ls-files", *SHIPPED_FOLDERS, *SHIPPED_FILES, cwd=ROOT).splitlines()
    shipped = {links + name for name in tracked if not UNSHIPPED.search(name)}
    assert {name for name in names if name.startswith(links)} == shipped
    assert not [name for name in names if "test" in name.lower()]
    assert [name for name in names if name.endswith("LICENSE")]
    assert "License-Expression: Apache-2.0" in text
    assert "Requires-Python: >=3.11" in text


def test_the_commands_run(installed, tmp_path):
    """`--version`, `metrics` and `check` work where only the wheel is installed."""
    import exporter

    command = installed / "model-exporter"
    assert run(command, "--version") == f"model-exporter {exporter.__version__}\n"
    assert "model_outcomes_total{model, version, class, outcome}  counter" in run(command, "metrics")
    (tmp_path / "model-exporter.yml").write_text(CONFIG)
    assert "model-exporter.yml is valid: 1 model." in run(command, "check", cwd=tmp_path)
    assert '"models"' in run(command, "check", "--schema")


@pytest.mark.parametrize("kind", ["compose", "kubernetes"])
def test_the_bundle_is_the_same_from_everywhere(installed, tmp_path, kind):
    """The wheel writes what an editable installation does, which reads from the tree, byte for byte."""
    run(installed / "model-exporter", "bundle", tmp_path / "wheel", "--format", kind)
    run(sys.executable, "-m", "exporter", "bundle", tmp_path / "tree", "--format", kind, cwd=tmp_path)
    written = [
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "wheel", tmp_path / "tree")
    ]
    assert written[0] == written[1]
    assert len(written[0]) > 15


TELLING = """
import atexit, pathlib, sys
atexit.register(lambda: pathlib.Path("modules").write_text("\\n".join(sys.modules)))
from exporter.cli import main
sys.exit(main())
"""


def test_files_need_no_heavy_import(installed, tmp_path):
    """Serving counts that came from JSON Lines and CSV wakes neither scikit-learn nor any driver."""
    shutil.copytree(DATA, tmp_path, dirs_exist_ok=True)
    exporter = Exporter(tmp_path, CONFIG, [installed / "python", "-c", TELLING])
    try:
        exporter.start().ready()
        assert_expected(exporter.values_once(lambda values: values.one("model_joins_total", result="matched")))
        exporter.get("/")
        exporter.process.terminate()
        assert exporter.process.wait(20) == 0
    finally:
        exporter.kill()
    imported = set((tmp_path / "modules").read_text().split())
    assert {"exporter.sources.formats.csv", "exporter.sources.formats.jsonl", "numpy", "msgspec"} <= imported
    assert not {name for name in imported if name in HEAVY or name.partition(".")[0] in HEAVY}


def imported_packages():
    """Top-level names of everything that a module of the package imports, lazily or not."""
    for path in (ROOT / "exporter").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield (node.module or "").partition(".")[0]


def test_what_is_imported_is_declared_and_nothing_else():
    """Each import is of the standard library, of the package, or of a dependency; each dependency is imported."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["parquet"], *extras["sql"], *extras["postgresql"]]
    declared = {re.split(r"[\[><=]", one)[0] for one in wanted}
    others = set(imported_packages()) - sys.stdlib_module_names - {"exporter"}
    distributions = metadata.packages_distributions()
    imported = {distributions[name][0].lower().replace("_", "-") for name in others}
    # urllib3 is part of what requests shows: its streams raise urllib3's errors.  tzdata is data for zoneinfo.
    assert imported - {"urllib3"} == declared - {"tzdata"}
