"""The `/metrics` that real model servers gave, by the name of the server."""

from __future__ import annotations

from pathlib import Path

CAPTURES = {path.stem: path for path in sorted((Path(__file__).parent / "data/servers").glob("*.txt"))}
