"""The cycle: deliveries of all sources into all ledgers, one commit, then one snapshot."""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

import msgspec

from exporter import plugins
from exporter.config.schema import Config
from exporter.contracts import Batch, Cursor, MetricSpec, Poll, Refusals, Snapshot, Status, WindowSpec
from exporter.errors import StateDamaged
from exporter.exposition import Exposition
from exporter.pipeline import coverage, matured, report, servers, targets
from exporter.pipeline.calibrating import Fit
from exporter.pipeline.ledger import Ledger
from exporter.pipeline.targets import Look, TargetLedger
from exporter.state import UNDECODABLE, State

log = logging.getLogger(__name__)

CATALOGUE: tuple[MetricSpec, ...] = (
    *report.SPECS,
    *dict.fromkeys(spec for family in plugins.families() for spec in family.specs),
    *coverage.SPECS,
    *matured.SPECS,
    *targets.SPECS,
)
"""Every metric of models and of model servers, in the order of the exposition; what probes measure follows."""

WINDOWED = frozenset(spec.name for spec in CATALOGUE if "window" in spec.labels)


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one poll of one source gave."""

    model: str
    role: str
    poll: Poll


class Pipeline:
    """The ledgers of all models and targets over one state.  Used by one thread.

    *measured* are the metrics that the targets' probes give.
    """

    def __init__(self, config: Config, state: State, measured: Sequence[MetricSpec] = ()) -> None:
        self.config = config
        self.state = state
        self.ledgers = {name: Ledger(model, state) for name, model in config.models.items()}
        known = [spec.name for spec in measured]
        self.targets = {name: TargetLedger(target, state, known) for name, target in config.targets.items()}
        specs = (*CATALOGUE, *measured)
        self.exposition = Exposition(specs, config.limits.series, config.limits.label_length)
        self._unsaved: dict[str, bytes | None] = {}
        self._torn = False
        """Whether counting broke off half-way, so that the counts in memory mean nothing."""
        self._shown: dict[str, tuple[int, bool]] = {}
        self._servers_shown: dict[str, int] = {}

    def cursor(self, model: str, role: str) -> Cursor | None:
        """The committed cursor of a source; None after the config has named another kind of source.

        Raises StateDamaged.
        """
        blob = self.state.get(self._cursor_name(model, role))
        try:
            return None if blob is None else msgspec.json.decode(blob)
        except UNDECODABLE as error:
            raise StateDamaged(f"the cursor of {model}/{role} cannot be read ({type(error).__name__})") from error

    def absorb(
        self,
        deliveries: Iterable[Delivery],
        idle: Mapping[str, frozenset[str]] | None = None,
        touched: Iterable[str] = (),
    ) -> dict[tuple[str, str], Refusals]:
        """Join and count all rows and make them durable with their cursors, in one commit.

        Raises StateError if the disk refuses.  If `unsaved` is false then, nothing has changed, and the same
        deliveries can be given again; if it is true, everything is counted and only `save` has to be repeated.
        """
        refused = self.count(deliveries, idle, touched)
        self.save()
        return refused

    def count(
        self,
        deliveries: Iterable[Delivery],
        idle: Mapping[str, frozenset[str]] | None = None,
        touched: Iterable[str] = (),
        looks: Sequence[Look] = (),
        *,
        now: float = math.inf,
        fits: Sequence[Fit] = (),
    ) -> dict[tuple[str, str], Refusals]:
        """Join and count all rows, to be saved before anything else is counted; see `absorb`.

        So are *looks* at targets, where something has ended; the rest is counted every few seconds, by *now* on the
        monotonic clock.  *fits* of calibration that have ended are used for what comes after them.

        *idle* are the roles, per model, whose sources no longer hold event time back; models in *touched* are
        brought up to date even if nothing was delivered.  Returns refusals per (model, role).
        """
        self.save()
        batches, reading, blobs = self._by_model(deliveries, [*touched, *(fit.model for fit in fits)])
        for model, roles in batches.items():
            count = {role: sum(map(len, rows)) for role, rows in roles.items()}
            self.ledgers[model].reserve(count["predictions"], count["predictions"] + count["labels"])
        refused = {}
        self._torn = True
        for fit in fits:
            self.ledgers[fit.model].calibrations.take(fit)
        for model, roles in batches.items():
            ledger = self.ledgers[model]
            still = (idle or {}).get(model, frozenset())
            late = ledger.absorb(roles["predictions"], roles["labels"], still, reading[model])
            refused.update({(model, role): refusals for role, refusals in late.items()})
            blobs.update(ledger.changes())
        blobs.update(self._watched(looks, now))
        self._unsaved, self._torn = blobs, False
        return refused

    def _by_model(
        self, deliveries: Iterable[Delivery], touched: Iterable[str]
    ) -> tuple[dict[str, dict[str, list[Batch]]], dict[str, dict[str, bool]], dict[str, bytes | None]]:
        """Batches, and whether more is to be read, by model (of *touched* ones, too) and role; and cursors to save."""
        batches: dict[str, dict[str, list[Batch]]] = defaultdict(lambda: {"predictions": [], "labels": []})
        batches.update({model: {"predictions": [], "labels": []} for model in touched})
        reading: dict[str, dict[str, bool]] = defaultdict(dict)
        blobs: dict[str, bytes | None] = {}
        for delivery in deliveries:
            batch = delivery.poll.batch
            rows = batches[delivery.model][delivery.role]
            reading[delivery.model][delivery.role] = delivery.poll.more
            if batch is not None and len(batch):
                rows.append(batch)
            blobs[self._cursor_name(delivery.model, delivery.role)] = msgspec.json.encode(delivery.poll.cursor)
        return batches, reading, blobs

    def _watched(self, looks: Sequence[Look], now: float) -> Iterator[tuple[str, bytes | None]]:
        for look in looks:
            self.targets[look.target].absorb(look)
        for target in self.targets.values():
            if target.due(now):
                target.settle()
                yield from target.changes()

    def folded(self, model: str) -> dict[str, int]:
        """How many values of the predictions of *model* are beyond the limit of their label, by label."""
        return self.ledgers[model].codebook.folded

    def due(self) -> list[Fit]:
        """Fits of calibration that the labels counted so far are enough for."""
        return [fit for ledger in self.ledgers.values() for fit in ledger.calibrations.due(ledger.last_label)]

    @property
    def unsaved(self) -> bool:
        """Whether counts wait for a disk that takes them; until then no more rows are taken in."""
        return bool(self._unsaved)

    def save(self) -> None:
        """Commit what could not be committed before."""
        if self._unsaved:
            self.state.commit(self._unsaved)
            self._unsaved = {}

    def snapshot(self, now: float, own: tuple[bytes, bytes], status: Status, stale: Collection[str] = ()) -> Snapshot:
        """Render everything that is durable; window gauges of *stale* models are left out."""
        self.show(stale)
        return self.exposition.render(now, own, status)

    def show(self, stale: Collection[str] = ()) -> None:
        """Bring the exposition up to date, as far as it is durable.

        Counts that wait for the disk are not shown: after a kill they would fall back, and Prometheus would take that
        for a reset and count everything again.
        """
        if self._unsaved or self._torn:
            for name in stale:
                self.exposition.hide(name, WINDOWED)
                self._shown.pop(name, None)
            return
        owners = self.exposition.grow_up()
        self._show_servers({owner[1] for owner in owners if owner[0] == servers.OWNER})
        grown = {owner[0] for owner in owners}
        for name, ledger in self.ledgers.items():
            shown = (ledger.revision, name in stale)
            if name in grown or self._shown.get(name) != shown:
                self._show(ledger, () if name in stale else ledger.windows)
                self._shown[name] = shown

    def _show(self, ledger: Ledger, windows: Sequence[WindowSpec]) -> None:
        blocks = report.blocks(ledger, ledger.alive(), windows)
        ended = self.exposition.owned_by(ledger.name) - {owner for owner, *_ in blocks}
        for owner in ended:
            self.exposition.drop(owner)
        for owner, shape, labels, series, values in blocks:
            self.exposition.put(owner, shape, labels, series, values)

    def _show_servers(self, grown: Collection[str]) -> None:
        for name, target in self.targets.items():
            if name in grown or self._servers_shown.get(name) != target.revision:
                for owner, shape, labels, series, values in servers.blocks(target):
                    self.exposition.put(owner, shape, labels, series, values)
                self._servers_shown[name] = target.revision

    def _cursor_name(self, model: str, role: str) -> str:
        config = self.config.models[model]
        stream = config.labels if role == "labels" and config.labels else config.predictions
        return f"cursor/{quote(model, safe='')}/{role}/{stream.kind}"
