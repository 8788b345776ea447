"""The row of the model page for what is known before labels come: estimates, and what became of them."""

from __future__ import annotations

from dashboards.layout import Row
from dashboards.looks import BAD, BOUND, BOUNDS, CALM, FAINT, GOOD, Json, line
from dashboards.model_quality import MEASURE
from dashboards.panels import Query, timeseries
from dashboards.queries import bound_of_model
from dashboards.queries import one_model as of

NONE = "No calibrated scores yet"


def rows() -> list[Row]:
    return [Row("Before labels come", [_now(), _checked(), _error(), _calibration()], folded=True)]


def _now() -> Json:
    estimated, realised = "model:model_estimated_quality:ratio_increase1h", "model:model_quality:ratio_increase1h"
    return timeseries(
        "Estimated and realised",
        "$measure of the last hour: expected of all predictions that were made in it, labelled or not, by calibrated "
        "scores; and of the labels that came in it, whose predictions may be much older. "
        f"Records: `{estimated}`, `{realised}`.",
        Query(f"max({of(estimated, MEASURE)})", "estimated, of the predictions"),
        Query(f"max({of(realised, MEASURE)})", "realised, of the labels"),
        Query(bound_of_model("$measure"), BOUND),
        size=(12, 8), unit="percentunit", maximum=1, empty=NONE,
        overrides=[line("estimated, of the predictions", CALM, dashed=True), line("realised, of the labels", GOOD),
                   *BOUNDS],
    )  # fmt: skip


def _checked() -> Json:
    estimated = "model:model_checked_estimated_quality:ratio_increase1d"
    realised = "model:model_checked_realised_quality:ratio_increase1d"
    return timeseries(
        "Estimate and truth of the same predictions",
        "$measure of the predictions whose labels came within one day: what had been expected of them, and what it "
        f"turned out to be. Records: `{estimated}`, `{realised}`.",
        Query(f"max({of(estimated, MEASURE)})", "estimated"),
        Query(f"max({of(realised, MEASURE)})", "realised"),
        size=(12, 8), unit="percentunit", maximum=1, empty=NONE,
        overrides=[line("estimated", CALM, dashed=True), line("realised", GOOD)],
    )  # fmt: skip


def _error() -> Json:
    error, least = "model:model_estimation_error:difference_increase1d", "model:model_estimation_error:lower_bound1d"
    return timeseries(
        "Estimated less realised",
        "Over one day of labels. Around 0 scores mean what they meant; above it the model is worse than they promise: "
        "the relation between inputs and truth has changed (concept drift). From where it rests on chance alone, the "
        f"error of accuracy is drawn again. Records: `{error}`, `{least}`.",
        Query(f"max by (measure) ({of(error)})", "{{measure}}"),
        Query(f"max({of(least)})", "accuracy, at least"),
        Query(bound_of_model("estimation_error"), BOUND),
        size=(12, 8), unit="percentunit", decimals=1, empty=NONE,
        overrides=[line("accuracy", CALM), line("accuracy, at least", FAINT, dashed=True), *BOUNDS],
    )  # fmt: skip


def _calibration() -> Json:
    labelled, fits = "model_calibration_labelled_predictions", "model_calibration_fits_total"
    newest = "model_calibration_timestamp_seconds"
    failed = of.increase(fits, "1h", 'result!="fitted"')
    return timeseries(
        "What calibration rests on",
        "Labelled predictions that the calibration of each version was fitted to, predictions of the last hour that "
        "were estimated, and fits that failed. Nothing while the newest label of a fit is not known. "
        f"Metrics: `{labelled}`, `{newest}`, `{fits}`. Record: `model:model_estimated_predictions:increase1h`.",
        Query(f"max by (version) ({of(labelled)}) and max by (version) ({of(newest)})", "fitted to, {{version}}"),
        Query(f"max({of('model:model_estimated_predictions:increase1h')})", "estimated"),
        Query(f"sum({failed})", "failed fits"),
        size=(12, 8), unit="short", minimum=0, empty=NONE, overrides=[line("failed fits", BAD)],
    )  # fmt: skip
