"""`model-exporter bundle`: what it writes from the shipped files and the user's own, and what it says of it."""

from __future__ import annotations

import pytest

from exporter import __version__, bundle, cli
from exporter.bundle import shipped
from exporter.errors import ExporterError
from tests.running import ROOT

RECEIVERS = "receivers:\n  - name: mail\n    email_configs: [{to: 'us@example.org'}]\n"


@pytest.fixture
def said(capsys, tmp_path):
    """`said(*words)` is the exit code, output and errors of `bundle` on a folder."""

    def call(*words):
        code = cli.main(["bundle", str(tmp_path / "bundle"), *words])
        return code, *capsys.readouterr()

    return call


def test_files_are_those_of_the_repository(tmp_path):
    """A bundle has the layout of the repository, so that paths in configurations hold; most files are the same."""
    bundle.write(tmp_path, "compose")
    made = {path.relative_to(tmp_path).as_posix(): path for path in tmp_path.rglob("*") if path.is_file()}
    of_its_own = {".dockerignore", ".model-exporter-bundle.json", "Dockerfile"}
    assert of_its_own <= set(made)
    for name in set(made) - of_its_own:
        assert made[name].read_bytes() == (ROOT / name).read_bytes()
    assert {"dashboards/model-exporter-fleet.json", "alert_rules/recording.yml", "deploy/README.md"} <= set(made)
    assert not [name for name in made if name.endswith(".py") or "kubernetes" in name or "/tests/" in name]


def test_image_of_a_bundle(tmp_path):
    """Its Dockerfile differs in one line: it installs this version, and lets in wheels that lie beside it."""
    bundle.write(tmp_path, "compose")
    ours, theirs = ((folder / "Dockerfile").read_text().splitlines() for folder in (ROOT, tmp_path))
    differing = [(a, b) for a, b in zip(ours, theirs, strict=True) if a != b]
    assert differing == [("ARG PACKAGE=/src[all]", f"ARG PACKAGE=prometheus-model-exporter[all]=={__version__}")]
    assert "!*.whl" in (tmp_path / ".dockerignore").read_text()


@pytest.mark.parametrize(("kind", "under", "made"), [("compose", "alert_rules/", "alertmanager.yml"),
                                                     ("kubernetes", "", "alertmanager.yml")])  # fmt: skip
def test_receivers_of_the_user_survive_an_upgrade(tmp_path, kind, under, made):
    """What stands in receivers.yml is put into the configuration each time, and the file stays as it is."""
    bundle.write(tmp_path, kind)
    (tmp_path / f"{under}receivers.yml").write_text(RECEIVERS)
    placed = bundle.write(tmp_path, kind)
    assert placed.updated == [under + made]
    assert placed.yours == [f"{under}{name}.yml" for name in ("links", "overrides", "receivers")]
    assert "us@example.org" in (tmp_path / under / made).read_text()
    assert (tmp_path / f"{under}receivers.yml").read_text() == RECEIVERS
    assert bundle.write(tmp_path, kind).updated == []


def test_what_it_says(said, tmp_path):
    """The first time every file; then what happened to those that are not as they were, and the way out."""
    code, out, _ = said()
    assert code == 0
    assert "written   docker-compose.yml\n" in out
    assert "docker compose up --build" in out
    fleet = tmp_path / "bundle/dashboards/model-exporter-fleet.json"
    fleet.write_text("{}")
    assert "kept      dashboards/model-exporter-fleet.json: you have changed it, and nothing is new" in said()[1]
    (tmp_path / "bundle/.model-exporter-bundle.json").unlink()
    _, out, _ = said()
    assert "the shipped one is dashboards/model-exporter-fleet.json.new\n" in out
    assert "`mv FILE.new FILE`" in out
    assert fleet.read_text() == "{}"


def test_wrong_receivers(said, tmp_path):
    """Every fault is told with its place, the exit code is that of a wrong config, and nothing is written."""
    said()
    compose = tmp_path / "bundle/docker-compose.yml"
    compose.unlink()
    (tmp_path / "bundle/alert_rules/receivers.yml").write_text("receivers: 3\nrout: {}\n")
    code, _, errors = said()
    assert code == 3
    assert "alert_rules/receivers.yml:1:" in errors
    assert "alert_rules/receivers.yml:2:" in errors
    assert errors.endswith("2 faults; nothing was written.\n")
    assert not compose.exists()


def test_folder_of_another_format(said):
    """The exit code says that it could not be done, and the message what to do."""
    said()
    code, _, errors = said("--format", "kubernetes")
    assert code == 1
    assert "holds a bundle of the format compose; name another folder for kubernetes" in errors


@pytest.mark.parametrize("content", [b"\xff", None])
def test_own_file_that_cannot_be_read(said, tmp_path, content):
    """Receivers that are no text, or no file, are an error that names the folder."""
    said()
    own = tmp_path / "bundle/alert_rules/receivers.yml"
    own.unlink()
    own.mkdir() if content is None else own.write_bytes(content)
    code, _, errors = said()
    assert code == 1
    assert "cannot read your own files in" in errors


def test_installation_without_the_files(tmp_path, monkeypatch):
    """An archive that lost the links is told as such."""
    monkeypatch.setattr(shipped, "_ROOT", tmp_path)
    (tmp_path / "alert_rules").write_text("../../../alert_rules")
    with pytest.raises(ExporterError, match="this installation lacks the files of the bundle; install the wheel"):
        bundle.write(tmp_path / "bundle", "compose")
