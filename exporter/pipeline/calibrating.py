"""What the scores of each group mean: when a fit is due, and what its answer changes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np

from exporter.contracts import Calibrated, Calibration, EstimatesSpec, Family, Floats
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
    sums: dict[str, tuple[list[float], list[float]]]
    before: dict[str, tuple[list[float], list[float]]]


class Calibrations:
    """The calibrations of one model, given to those of its *tallies* whose families want one."""

    def __init__(self, model: str, estimates: EstimatesSpec | None, tallies: Sequence[Tally]) -> None:
        self.model = model
        self.tallies = [tally for tally in tallies if isinstance(tally.family, Calibrated)]
        self.estimates = estimates or EstimatesSpec()
        self.labelled = next((tally for tally in self.tallies if isinstance(tally.family, Realised)), None)
        self.known: dict[str, dict[int, Calibration]] = {_name(tally.family): {} for tally in self.tallies}
        """By family and group."""
        self._due_at: dict[int, float] = {}
        """How many labelled predictions of a group the next fit needs, `inf` once it is for good."""
        self._dirty: set[int] = set()

    def due(self, newest: Floats) -> list[Fit]:
        """Fits to be made; *newest* is the event time of the newest label of each group."""
        tally = self.labelled
        if tally is None or not isinstance(tally.family, Realised):
            return []
        positive, labelled = tally.family.history(tally.totals.added - tally.totals.retracted)
        positives, both = positive.sum(axis=1), labelled.sum(axis=1)
        enough = np.minimum(positives, both - positives) >= LEAST
        score = (tally.family.bins.lower + tally.family.bins.upper) / 2
        return [
            Fit(self.model, group, score, positive[group], labelled[group], float(newest[group]))
            for group in np.flatnonzero(enough).tolist()
            if both[group] >= self._due_at.get(group, self.estimates.labelled)
        ]

    def take(self, fit: Fit) -> None:
        """Use the answer of *fit* from now on, or count that there was none."""
        for tally in self.tallies:
            old = self.known[_name(tally.family)].get(fit.group, Calibration())
            new = replace(old, fits={**old.fits, fit.result: old.fits.get(fit.result, 0) + 1})
            if fit.probability is not None:
                sums = tally.totals.of(fit.group)
                new = replace(
                    new,
                    probability=fit.probability,
                    labelled=int(fit.labelled.sum()),
                    newest=fit.newest,
                    sums=(sums[0].copy(), sums[1].copy()),
                    before=_calibrated(tally.family).expected(old, *sums),
                )
            self._give(tally, fit.group, new)
        self._dirty.add(fit.group)

    def _give(self, tally: Tally, group: int, calibration: Calibration) -> None:
        self.known[_name(tally.family)][group] = calibration
        tally.calibrate(group, _calibrated(tally.family).calibrated(calibration))
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
                sums={name: _lists(one.sums) for name, one in known.items() if one.sums is not None},
                before={name: _lists(one.before) for name, one in known.items() if one.before is not None},
            )
            yield str(group), msgspec.msgpack.encode(saved)
        self._dirty.clear()

    def load(self, name: str, blob: bytes, meaning: str) -> bool:
        """Take back what `changes` gave; returns false if bins of that *meaning* are no longer counted.

        Raises ValueError or LookupError for what makes no sense.
        """
        if self.labelled is None or self.labelled.family.meaning != meaning:
            return False
        saved = msgspec.msgpack.decode(blob, type=_Saved)
        group = int(name)
        for tally in self.tallies:
            known = Calibration(labelled=saved.labelled, newest=saved.newest, fits=saved.fits)
            if saved.probability is not None:
                family = _name(tally.family)
                known = replace(
                    known,
                    probability=np.array(saved.probability),
                    sums=_arrays(saved.sums[family]),
                    before=_arrays(saved.before[family]),
                )
                _calibrated(tally.family).expected(known, *tally.totals.of(group))  # lengths must fit
            self._give(tally, group, known)
        return True


def _calibrated(family: Family) -> Calibrated:
    if not isinstance(family, Calibrated):
        raise TypeError(f"{_name(family)} takes no calibration")
    return family


def _name(family: Family | Calibrated) -> str:
    return type(family).__name__


def _lists(sides: tuple[Floats, Floats]) -> tuple[list[float], list[float]]:
    return sides[0].tolist(), sides[1].tolist()


def _arrays(sides: tuple[list[float], list[float]]) -> tuple[Floats, Floats]:
    return np.array(sides[0]), np.array(sides[1])
