"""What the config says of a model and of its rows, as the rooms below the config read it."""

from __future__ import annotations

from typing import Literal

import msgspec


class FieldSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one field of a row is read: from a dotted path, or as a constant."""

    field: str | None = None
    constant: str | int | float | bool | None = None
    unit: Literal["s", "ms", "us", "ns"] | None = None
    map: dict[str, str | int | float | bool] | None = None
    threshold: float | None = None


class MappingSpec(msgspec.Struct, frozen=True, kw_only=True):
    """How raw records become rows of one role.

    `where` keeps only records whose value at a path is one of the listed texts (or, under `not`, is none of
    them); other records are skipped without a fault.  A row whose event time is more than `max_ahead` seconds ahead
    of the wall clock is refused.
    """

    role: Literal["predictions", "labels"]
    fields: dict[str, FieldSpec]
    where: dict[str, WhereSpec] = {}
    timezone: str = "UTC"
    max_ahead: float = 300.0


class WhereSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A condition on one path: the value's text is in `one_of` (if given) and not in `none_of`."""

    one_of: tuple[str, ...] | None = None
    none_of: tuple[str, ...] = ()


class WindowSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A sliding window, by label time (`seconds`) or by count (`rows`); `name` is its label value."""

    name: str
    seconds: float | None = None
    rows: int | None = None


class ModelSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What the families know of a model: its task and its classes, but no source.

    `classes` are canonical class names in code order: declared ones first, else learned up to `max_classes`.
    """

    name: str
    task: Literal["binary", "multiclass"] = "binary"
    positive: str | None = None
    classes: tuple[str, ...] = ()
    aliases: dict[str, str] = {}
    max_classes: int = 64
    confusion_classes: int = 20
    latency_buckets: tuple[float, ...] = ()
    delay_buckets: tuple[float, ...] = ()

    @property
    def capacity(self) -> int:
        """How many classes the counts have room for."""
        if self.classes:
            return len(self.classes)
        return 2 if self.task == "binary" else self.max_classes
