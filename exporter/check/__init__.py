"""What `model-exporter check` does: tells a config in words, and tries it on the first rows of its sources."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

from exporter.check import summary, trial
from exporter.config.schema import load
from exporter.contracts import Clock

__all__ = ["run"]


def run(path: Path, read: int | None, out: TextIO, clock: Clock | None = None) -> int:
    """Write what the config at *path* means to *out*; with *read*, also what becomes of so many rows of each source.

    Returns the exit code: 0; 1 if a source could not be read; 4 if what was read could not be used, or no label found
    its prediction.  Raises ConfigError.
    """
    config = load(path)
    out.write(summary.text(path, config))
    if read is None:
        return 0
    return trial.run(config, read, out, clock or Clock())
