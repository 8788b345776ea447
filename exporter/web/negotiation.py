"""Which bytes of a snapshot a client gets: format by Accept, compression by Accept-Encoding, made once."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterator
from typing import Final, Literal, TypeAlias

from exporter.contracts import Clock, Snapshot

Format: TypeAlias = Literal["text", "openmetrics"]

CONTENT_TYPES: Final[dict[Format, str]] = {
    "text": "text/plain; version=0.0.4; charset=utf-8",
    "openmetrics": "application/openmetrics-text; version=1.0.0; charset=utf-8",
}
GZIP_SUFFIX: Final = "+gzip"
REMEMBERED_SECONDS: Final = 900.0
"""How long after its last scrape a variant is still made ahead of the next one."""

_LEVEL = 1  # twice the size of level 9 at worst, for an eighth of its time
_GZIP_CONTAINER = 31


def _preferences(header: str) -> Iterator[tuple[str, str | None, float]]:
    """The entries of an Accept header: lower-case name, `version` parameter, q-value (0 where it is no number)."""
    for entry in header.split(","):
        name, *parameters = entry.split(";")
        version, quality = None, 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            match key.strip().lower():
                case "version":
                    version = value.strip().strip('"')
                case "q":
                    try:
                        quality = float(value)
                    except ValueError:
                        quality = 0.0
        yield name.strip().lower(), version, quality


def choose_format(accept: str) -> Format:
    """The format that *accept* prefers; text where it asks for nothing that we speak, as Prometheus' libraries do."""
    best: Format = "text"
    best_quality = 0.0
    for name, version, quality in _preferences(accept):
        if name == "application/openmetrics-text" and version in (None, "1.0.0"):
            offered: Format = "openmetrics"
        elif (name == "text/plain" and version in (None, "0.0.4")) or name in ("text/*", "*/*"):
            offered = "text"
        else:
            continue
        if quality > best_quality:
            best, best_quality = offered, quality
    return best


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether *accept_encoding* allows gzip, by name or else by `*`."""
    wanted = {name: quality for name, _, quality in _preferences(accept_encoding)}
    return wanted.get("gzip", wanted.get("*", 0.0)) > 0.0


class Encodings:
    """Compressed bodies of snapshots, each made once, and a memory of which ones are asked for."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or Clock()
        self._asked: dict[str, float] = {}
        self._lock = threading.Lock()

    @property
    def wanted(self) -> set[str]:
        """Variants that were asked for in the last `REMEMBERED_SECONDS`."""
        oldest = self._clock.monotonic() - REMEMBERED_SECONDS
        return {variant for variant, asked in self._asked.copy().items() if asked >= oldest}

    def prepare(self, snapshot: Snapshot) -> None:
        """Make the wanted variants before *snapshot* is published, so that no scrape has to wait for them."""
        for variant in self.wanted:
            self._encode(snapshot, variant)

    def is_ready(self, snapshot: Snapshot, variant: str) -> bool:
        """Whether `body` would return at once."""
        return not variant.endswith(GZIP_SUFFIX) or variant in snapshot.encoded

    def body(self, snapshot: Snapshot, variant: str) -> bytes:
        """The bytes of *variant*: a format's name, with "+gzip" behind it for a compressed one."""
        if not variant.endswith(GZIP_SUFFIX):
            return snapshot.openmetrics if variant == "openmetrics" else snapshot.text
        self._asked[variant] = self._clock.monotonic()
        return snapshot.encoded.get(variant) or self._encode(snapshot, variant)

    def _encode(self, snapshot: Snapshot, variant: str) -> bytes:
        with self._lock:
            body = snapshot.encoded.get(variant)
            if body is None:
                compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP_CONTAINER)
                plain = self.body(snapshot, variant.removesuffix(GZIP_SUFFIX))
                body = snapshot.encoded[variant] = compressor.compress(plain) + compressor.flush()
            return body
