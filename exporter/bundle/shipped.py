"""The files of the bundle as they are shipped: links to folders of the repository, which the wheel holds as files."""

from __future__ import annotations

from pathlib import Path

from exporter.errors import ExporterError

_ROOT = Path(__file__).parent / "shipped"
_PATTERNS = (
    "Dockerfile",
    "docker-compose.yml",
    "alert_rules/*.yml",
    "alert_rules/servers/*.yml",
    "alert_rules/templates/*.tmpl",
    "dashboards/*.json",
    "deploy/*.md",
    "deploy/*.service",
    "deploy/*/**/*.yml",
)


def texts() -> dict[str, str]:
    """The text of every shipped file by its path in the repository, in the order of the paths.

    Raises ExporterError if this installation holds none.
    """
    paths = sorted(path for pattern in _PATTERNS for path in _ROOT.glob(pattern))
    found = {path.relative_to(_ROOT).as_posix(): path.read_text(encoding="utf-8") for path in paths if path.is_file()}
    if not any(path.startswith("alert_rules/") for path in found):
        raise ExporterError(
            "this installation lacks the files of the bundle; install the wheel, or from a clone or a .tar.gz of the "
            "repository, because a .zip loses links"
        )
    return found
