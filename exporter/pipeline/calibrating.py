"""What the scores of each group mean: when a fit is due, and what its answer changes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np

from exporter.contracts import Calibrated, Calibration, EstimatesSpec, Floats
from exporter.families.realised import Realised
from exporter.pipeline.tally import Tally

LEAST = 30
"""How many labelled predictions of either class a fit needs."""
GROWTH = 2
"""A fit is made again when there are so many times as many labelled predictions, up to the configured reference."""


@dataclass(frozen=True, slots=True)
class Fit:
    """A fit that is due, or has been made: the history of one group of a model by bin of scores, shapes (bins,).

    `probability` is the answer, None where there is none; `result` is one of `FITS`.
    """

    model: str
    group: int
    score: Floats
    positive: Floats
    labelled: Floats
    newest: float
    result: str = ""
    probability: Floats | None = None

    @property
    def request(self) -> Mapping[str, list[float]]:
        """What `families.isotonic` is given."""
        return {name: getattr(self, name).tolist() for name in ("score", "positive", "labelled")}

    def answered(self, answer: Sequence[float]) -> Fit:
        """This fit with its *answer*, which is refused unless it is a share for every bin that never falls."""
        probability = np.array(answer, np.float64)
        fine = probability.shape == self.labelled.shape and bool(
            (probability >= 0).all() and (probability <= 1).all() and (np.diff(probability) >= -1e-12).all()
        )
        return replace(self, result="fitted", probability=probability) if fine else replace(self, result="invalid")


class _Saved(msgspec.Struct):
    """One group's calibration; per family what `Calibration` has of sums, as added and retracted."""

    probability: list[float] | None
    labelled: int
    newest: float
    fits: dict[str, int]
    sums: dict[str, list[list[float]]]
    before: dict[str, list[list[float]]]


class Calibrations:
    """The calibrations of one model, given to those of its *tallies* whose families want one."""

    def __init__(self, model: str, estimates: EstimatesSpec | None, tallies: Sequence[Tally]) -> None:
        self.model = model
        self.estimates = estimates or EstimatesSpec()
        self.takers = {
            type(family).__name__: (tally, family)
            for tally in tallies
            if isinstance(family := tally.family, Calibrated)
        }
        """By name, the families that take a calibration, and what was added up of each."""
        self.labels = next(
            ((tally.totals, family) for tally, family in self.takers.values() if isinstance(family, Realised)), None
        )
        self.known: dict[str, dict[int, Calibration]] = {name: {} for name in self.takers}
        """By family and group."""
        self._due_at: dict[int, float] = {}
        """How many labelled predictions of a group the next fit needs, `inf` once it is for good."""
        self._dirty: set[int] = set()

    def due(self, newest: Floats) -> list[Fit]:
        """Fits to be made; *newest* is the event time of the newest label of each group."""
        if self.labels is None:
            return []
        totals, family = self.labels
        positive, labelled = family.history(totals.added - totals.retracted)
        positives, both = positive.sum(axis=1), labelled.sum(axis=1)
        enough = np.minimum(positives, both - positives) >= LEAST
        score = (family.bins.lower + family.bins.upper) / 2
        return [
            Fit(self.model, group, score, positive[group], labelled[group], float(newest[group]))
            for group in np.flatnonzero(enough).tolist()
            if both[group] >= self._due_at.get(group, self.estimates.labelled)
        ]

    def take(self, fit: Fit) -> None:
        """Use the answer of *fit* from now on, or count that there was none."""
        for name, (tally, family) in self.takers.items():
            old = self.known[name].get(fit.group, Calibration())
            new = replace(old, fits={**old.fits, fit.result: old.fits.get(fit.result, 0) + 1})
            if fit.probability is not None:
                sums = np.stack(tally.totals.of(fit.group))
                new = replace(
                    new,
                    probability=fit.probability,
                    labelled=int(fit.labelled.sum()),
                    newest=fit.newest,
                    sums=sums,
                    before=family.calibrated(old).expected(sums),
                )
            self._give(name, fit.group, new)
        self._dirty.add(fit.group)

    def _give(self, name: str, group: int, calibration: Calibration) -> None:
        tally, family = self.takers[name]
        tally.calibrate(group, family.calibrated(calibration))
        self.known[name][group] = calibration
        if calibration.labelled:
            done = calibration.labelled >= self.estimates.reference
            self._due_at[group] = math.inf if done else min(GROWTH * calibration.labelled, self.estimates.reference)

    # --- state -----------------------------------------------------------------------------------

    def changes(self) -> Iterator[tuple[str, bytes]]:
        for group in sorted(self._dirty):
            known = {family: of_groups[group] for family, of_groups in self.known.items()}
            first = next(iter(known.values()))
            saved = _Saved(
                probability=None if first.probability is None else first.probability.tolist(),
                labelled=first.labelled,
                newest=first.newest,
                fits=dict(first.fits),
                sums={name: one.sums.tolist() for name, one in known.items() if one.sums is not None},
                before={name: one.before.tolist() for name, one in known.items() if one.before is not None},
            )
            yield str(group), msgspec.msgpack.encode(saved)
        self._dirty.clear()

    def load(self, name: str, blob: bytes, meaning: str) -> bool:
        """Take back what `changes` gave; returns false if bins of that *meaning* are no longer counted.

        Raises ValueError or LookupError for what makes no sense.
        """
        if self.labels is None or self.labels[1].meaning != meaning:
            return False
        saved = msgspec.msgpack.decode(blob, type=_Saved)
        group = int(name)
        for family, (tally, taker) in self.takers.items():
            known = Calibration(labelled=saved.labelled, newest=saved.newest, fits=saved.fits)
            if saved.probability is not None:
                nothing = np.zeros((2, tally.family.size))  # that of a family which was not there when this was saved
                known = replace(
                    known,
                    probability=np.array(saved.probability),
                    sums=np.array(saved.sums.get(family, nothing)),
                    before=np.array(saved.before.get(family, taker.expected(nothing))),
                )
                taker.calibrated(known).expected(np.stack(tally.totals.of(group)))  # lengths must fit
            self._give(family, group, known)
        return True
