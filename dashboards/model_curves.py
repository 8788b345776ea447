"""Row of the model page about scores: curves, calibration, areas and losses of one version and over time."""

from __future__ import annotations

from dashboards.layout import Row
from dashboards.looks import CALM, FAINT, GOOD, Json, band, column, field, line
from dashboards.panels import Column, Now, Query, scatter, stat, table, timeseries
from dashboards.queries import one_model as of

VERSION = 'version="$version"'
POINT = "job, model, version, class, threshold"
NO_SCORES = "No scores"
DAY = "over one day, by the time of the label, over all replicas"
QUALITY = "model:model_quality:ratio_increase1d"
AREAS = 'measure=~"roc_auc|average_precision"'
LOSSES = {
    "log loss": "model:model_log_loss:mean_increase1d",
    "Brier score": "model:model_brier_score:mean_increase1d",
    "expected calibration error": "model:model_expected_calibration_error:ratio_increase1d",
}
TOLD = ", ".join(f"`{record}`" for record in LOSSES.values())
OF_SEVERAL = "Of several classes: the mean of each against the rest."
HIGHEST = "above all"
"""Where a curve begins: the threshold that no score reaches, a text that sorts behind all numbers."""


def rows() -> list[Row]:
    return [Row("Scores", [_now(), _roc(), _precision_recall(), _calibration(), *_over_time(), _versions()])]


def _at(record: str) -> str:
    return f"model_threshold:model_{record}_increase1d"


def _point(record: str, other: str) -> str:
    """One coordinate of the points of which the *other* is defined, too: rows of a chart are whole."""
    return f"{of(_at(record), VERSION)} and on ({POINT}) {of(_at(other), VERSION)}"


def _reference(name: str) -> Json:
    """The line to compare with."""
    look = {"dash": [8, 6], "fill": "dash"}
    faint = {"mode": "fixed", "fixedColor": FAINT}
    return field(name, {"color": faint, "custom.show": "lines", "custom.lineStyle": look})


# --- curves --------------------------------------------------------------------------------------


def _roc() -> Json:
    across, up = "false_positive_rate:ratio", "true_positive_rate:ratio"
    columns = [
        Column("False positive rate", _from_zero(across, up)),
        Column("True positive rate", _from_zero(up, across)),
    ]
    return scatter(
        "ROC curve: version $version",
        f"True against false positive rate of version $version at each threshold of the score, {DAY}. The nearer to "
        f"the upper left, the better; the diagonal is chance. {OF_SEVERAL} Records: `{_at(across)}`, `{_at(up)}`.",
        ("threshold", "Scores from"), columns, lines=["True positive rate"], diagonal="Chance",
        unit="percentunit", minimum=0, maximum=1, empty=NO_SCORES,
        overrides=[line("True positive rate", CALM), _reference("Chance")],
    )  # fmt: skip


def _from_zero(record: str, other: str) -> str:
    """A rate at each threshold, and where it begins: nothing is above all scores."""
    points = _point(record, other)
    return f'avg by (threshold) ({points} or label_replace(0 * max({points}), "threshold", "{HIGHEST}", "", ""))'


def _precision_recall() -> Json:
    across, up = "true_positive_rate:ratio", "precision:ratio"
    lowest = of(_at(up), VERSION, 'threshold=~"0[.]0+"')
    columns = [
        Column("Recall", f"avg by (threshold) ({_point(across, up)})"),
        Column("Precision", f"avg by (threshold) ({_point(up, across)})"),
        Column("Share of positives", f"avg by (threshold) (0 * ({_point(up, across)}) + scalar(avg({lowest})))"),
    ]
    return scatter(
        "Precision and recall: version $version",
        f"Precision against recall of version $version at each threshold of the score, {DAY}. The nearer to the upper "
        f"right, the better; the line is chance: the precision of calling everything positive. {OF_SEVERAL} "
        f"Records: `{_at(across)}`, `{_at(up)}`.",
        ("threshold", "Scores from"), columns, lines=["Precision", "Share of positives"],
        unit="percentunit", minimum=0, maximum=1, empty=NO_SCORES,
        overrides=[line("Precision", CALM), _reference("Share of positives")],
    )  # fmt: skip


def _calibration() -> Json:
    across, up, scores = "score:mean", "positives:ratio", "model_threshold:model_scores:increase1d"
    count = f"sum without (actual) ({of(scores, VERSION)}) and on ({POINT}) ({_point(up, across)})"
    columns = [
        Column("Mean score", f"avg by (threshold) ({_point(across, up)})"),
        Column("Share of positives", f"avg by (threshold) ({_point(up, across)})"),
        Column("Number of scores", f"sum by (threshold) ({count})"),
    ]
    return scatter(
        "Calibration: version $version",
        f"What the scores of a bin say on average, and what came true, of version $version {DAY}; the larger the "
        f"point, the more scores. Below the diagonal the model promises too much, above it too little. {OF_SEVERAL} "
        f"Records: `{_at(across)}`, `{_at(up)}`, `{scores}`.",
        ("threshold", "Scores from"), columns, lines=["Share of positives"], diagonal="Mean score comes true",
        bubbles="Number of scores", unit="percentunit", minimum=0, maximum=1, empty=NO_SCORES,
        overrides=[
            field("Share of positives", {"color": {"mode": "fixed", "fixedColor": CALM}, "custom.show": "points"}),
            field("Number of scores", {"unit": "short", "decimals": 0}),
            _reference("Mean score comes true"),
        ],
    )  # fmt: skip


# --- areas and losses ----------------------------------------------------------------------------


def _now() -> Json:
    return stat(
        "Scores now", f"Areas under the curves and losses of all versions {DAY}. Records: `{QUALITY}`, {TOLD}.",
        Now(f"max by (measure) ({of(QUALITY, AREAS)})", "{{measure}}"),
        *(Now(f"max({of(record)})", name) for name, record in LOSSES.items()),
        size=(24, 4), decimals=3, empty=NO_SCORES,
    )  # fmt: skip


def _over_time() -> list[Json]:
    auc = 'measure="roc_auc"'
    lower, upper = (f"model:model_quality:{bound}_increase1d" for bound in ("lower", "upper"))
    return [
        timeseries(
            "Areas under the curves",
            f"ROC AUC with its interval of 95 %, and average precision. Each point is {DAY}. Records: `{QUALITY}`, "
            f"`{lower}`, `{upper}`.",
            Query(f"max by (measure) ({of(QUALITY, AREAS)})", "{{measure}}"),
            Query(f"max({of(lower, auc)})", "roc_auc from"), Query(f"max({of(upper, auc)})", "roc_auc to"),
            size=(12, 8), unit="percentunit", decimals=1, maximum=1, empty=NO_SCORES,
            overrides=[line("roc_auc", CALM), line("average_precision", GOOD),
                       *band("roc_auc from", "roc_auc to", CALM)],
        ),
        timeseries(
            "Losses of scores",
            "Log loss, Brier score and expected calibration error: the lower, the better. Each point is "
            f"{DAY}. Records: {TOLD}.",
            *(Query(f"max({of(record)})", name) for name, record in LOSSES.items()),
            size=(12, 8), minimum=0, decimals=3, empty=NO_SCORES,
        ),
    ]  # fmt: skip


def _versions() -> Json:
    quality = "model_version:model_quality:ratio_increase1d"
    areas = {"ROC AUC": "roc_auc", "Average precision": "average_precision"}
    losses = {"Log loss": "log_loss:mean", "Brier score": "brier_score:mean"}
    error, count = "Calibration error", "model_version:model_scored_predictions:increase1d"
    shown = {name: of(quality, f'measure="{measure}"') for name, measure in areas.items()}
    shown |= {name: of(f"model_version:model_{record}_increase1d") for name, record in losses.items()}
    shown |= {error: of("model_version:model_expected_calibration_error:ratio_increase1d"), "Scores": of(count)}
    return table(
        "Scores by version",
        f"Areas under the curves, losses and calibration of each version {DAY}. Records: `{quality}`, "
        f"`model_version:model_log_loss:mean_increase1d`, `{count}`.",
        {"version": "Version"}, [Column(name, f"max by (version) ({expr})") for name, expr in shown.items()],
        worst=[("Scores", "high")], size=(24, 6), empty=NO_SCORES,
        overrides=[
            *(column(name, "percentunit", decimals=1) for name in (*areas, error)),
            *(column(name, decimals=4) for name in losses), column("Scores", "short", decimals=0),
        ],
    )  # fmt: skip
