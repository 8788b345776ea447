"""What the documentation says is what the program does."""

import re
from pathlib import Path

import pytest

from exporter import catalogue
from exporter.config import reference
from exporter.config.schema import parse

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_configuration_reference_is_current():
    """docs/configuration.md is what the config types say of themselves."""
    assert (ROOT / "docs/configuration.md").read_text() == reference.markdown()


def test_metric_catalogue_is_current():
    """docs/metrics.md is what `model-exporter metrics --format markdown` prints, below a heading."""
    assert (ROOT / "docs/metrics.md").read_text().endswith("\n\n" + catalogue.render("markdown"))


@pytest.mark.parametrize(
    "text", re.findall(r"```yaml\n((?:models|targets):.*?)```", README, re.DOTALL), ids=lambda text: text.split()[1]
)
def test_configs_of_the_readme_are_valid(text):
    """A config that is copied from the README loads."""
    secrets = {"LABELS_DB": "postgresql://localhost/labels", "WAREHOUSE": "sqlite:///w.db", "LABELS_TOKEN": "t"}
    config = parse(text, "README.md", environment=secrets)
    assert config.models or config.targets


def test_metrics_that_the_readme_names_exist():
    """Every metric name in the README is in the catalogue."""
    known = {spec.name for spec in catalogue.specs()}
    named = set(re.findall(r"\bmodel_[a-z0-9_]+\b", README)) - {"model_version", "model_name", "model_exporter"}
    suffixes = ("_bucket", "_count", "_sum", "")
    assert [name for name in named if not any(name.removesuffix(s) in known for s in suffixes)] == []


def test_links_of_the_documentation_lead_somewhere():
    """Every relative link and picture of a page exists."""
    for page in [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_ci_runs_the_command_of_the_readme():
    """The second command of the README is the very one that CI runs."""
    commands = re.findall(r"```sh\n(python3 -m venv \.venv[^\n]*pytest)\n```", README)
    assert len(commands) == 1
    assert commands[0] in (ROOT / ".ci/run").read_text().splitlines()
