"""Which format a file has, and the decoders of one source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from exporter import plugins
from exporter.errors import SourceDataError
from exporter.sources.finding import format_of
from exporter.sources.records import LineFormat, TableFormat

FORMATS = "model_exporter.formats"
_KEPT_HEADERS = 64


class Formats:
    """The formats of one source by name: *configured* for all files, or told by each file's ending."""

    def __init__(self, configured: str | None, paths: Sequence[str]) -> None:
        """*paths* are the dotted paths that the mapping wants."""
        self.paths = paths
        self._configured = configured
        self._made: dict[tuple[str, bytes], Any] = {}

    def of(self, path: str) -> str:
        """The name of the format of the file at *path*; raises SourceDataError if it cannot be read."""
        name = self._configured or format_of(path)
        if name is None:
            raise SourceDataError(f"{path}: the ending tells no format; set format, or narrow the glob")
        if path.endswith(".gz") and self.whole(name):
            raise SourceDataError(f"{path}: a gzip'd table is not read; unpack it")
        return name

    def whole(self, name: str) -> bool:
        """Whether *name* is a format of tables, read whole, and not of lines that grow."""
        return not hasattr(self._make(name), "complete")

    def lines(self, name: str, header: bytes = b"") -> LineFormat:
        """The line format *name*; one per header, because a format may remember what it learned of it."""
        made: LineFormat = self._make(name, header)
        return made

    def table(self, name: str) -> TableFormat:
        made: TableFormat = self._make(name)
        return made

    def _make(self, name: str, header: bytes = b"") -> Any:
        if (name, header) not in self._made:
            if len(self._made) > _KEPT_HEADERS:
                self._made.clear()
            self._made[name, header] = plugins.load(FORMATS, name)(self.paths)
        return self._made[name, header]
