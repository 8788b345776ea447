"""Rows of the model page for what only some tasks have: losses, numbers, classes, sets of labels, rankings."""

from __future__ import annotations

from dashboards.layout import Row
from dashboards.looks import BOUND, BOUNDS, CALM, FAINT, GOOD, Json, column, line
from dashboards.panels import Column, Query, table, timeseries
from dashboards.queries import bound_of_model, ratio
from dashboards.queries import one_model as of

HOUR = "of one hour, by the time of the label, over all replicas"
NO_NUMBERS = "The model predicts no numbers"
LOSS = 'measure="$loss"'
NO_LOSSES = "No labels, or no losses"


def rows() -> list[Row]:
    return [
        Row("Losses", [_loss(), _losses()], folded=True),
        Row("Predicted numbers", _numbers(), folded=True),
        Row("Likeliest classes and sets of labels", [_top_k(), _sets()], folded=True),
        Row("Rankings", _rankings(), folded=True),
    ]


def _net(name: str, *matchers: str, by: str = "model") -> str:
    return of.net(name, by, "increase", "1h", *matchers)


def _loss() -> Json:
    hour, day = (f"model:model_loss:mean_increase{window}" for window in ("1h", "1d"))
    lower = "model:model_loss:lower_increase1d"
    return timeseries(
        "What is normal: $loss",
        "The loss, which is the lower the better, over an hour and over a day (of scores: a day), with its thresholds "
        "and its baseline from the config, that of the same day a week before, and what that of the day is at least "
        f"with 97.5 % certainty, where this is known. Records: `{hour}`, `{day}`, `{lower}`, "
        "`model:model_threshold:effective`; metric: `model_baseline_loss`.",
        Query(of(hour, LOSS), "last hour"), Query(of(day, LOSS), "last day"),
        Query(f"{of(day, LOSS)} offset 1w", "a week before"), Query(of(lower, LOSS), "at least"),
        Query(f"max({of('model_baseline_loss', LOSS)})", "baseline"), Query(bound_of_model("$loss"), BOUND),
        size=(12, 9), unit="none", empty=NO_LOSSES,
        overrides=[
            line("last hour", FAINT), line("last day", CALM), line("a week before", CALM, dashed=True),
            line("at least", FAINT, dashed=True), line("baseline", GOOD, dashed=True), *BOUNDS,
        ],
    )  # fmt: skip


def _losses() -> Json:
    records = {
        "Last hour": "model:model_loss:mean_increase1h",
        "Last day": "model:model_loss:mean_increase1d",
        "At least": "model:model_loss:lower_increase1d",
        "Samples": "model:model_loss_samples:increase1d",
    }
    told = ", ".join(f"`{record}`" for record in records.values())
    return table(
        "Losses",
        "Each loss of the last hour and of the last day, what that of the day is at least, and how many labelled "
        f"predictions it rests on; the bias without its sign. Records: {told}.",
        {"measure": "Measure"}, [Column(name, f"max by (measure) ({of(record)})") for name, record in records.items()],
        size=(12, 9), empty=NO_LOSSES,
        overrides=[
            *(column(name, "none") for name in ("Last hour", "Last day", "At least")),
            column("Samples", "short", decimals=0),
        ],
    )  # fmt: skip


def _numbers() -> list[Json]:
    count = _net("model_labelled_predictions_total")
    absolute, squared = "model_absolute_error_sum_total", "model_squared_error_sum_total"
    too_much, too_little = (_net(absolute, f'direction="{word}"') for word in ("over", "under"))
    errors = {
        "mean absolute error": ratio(_net(absolute), count),
        "root mean squared error": f"sqrt({ratio(_net(squared), count)})",
        "bias": ratio(f"{too_much} - {too_little}", count),
    }
    residuals = f"""sum by (le) (
  label_replace({_net("model_residuals_total", by="at_most")}, "le", "$1", "at_most", "(.+)")
)"""
    return [
        timeseries(
            "Errors", "In the unit of what is predicted; above 0 the bias is that of predicting too much. "
            f"Each point is {HOUR}. Metrics: `{absolute}`, `{squared}`.",
            *(Query(expr, name) for name, expr in errors.items()), unit="short", empty=NO_NUMBERS,
            overrides=[line("bias", FAINT)],
        ),
        _without_unit(squared, count),
        timeseries(
            "Residuals", "Actual less predicted value that 5, 50 and 95 % of the predictions do not exceed. "
            f"Each point is {HOUR}. Metric: `model_residuals_total`.",
            *(Query(f"histogram_quantile({q}, {residuals}) > -Inf", f"p{q * 100:g}") for q in (0.05, 0.5, 0.95)),
            unit="short", empty="No residual_buckets are configured",
        ),
    ]  # fmt: skip


def _without_unit(squared: str, count: str) -> Json:
    percentage, zero = "model_absolute_percentage_error_sum_total", "model_zero_targets_total"
    first, second = "model_target_deviation_sum_total", "model_target_squared_deviation_sum_total"
    above, below = (_net(first, f'side="{word}"') for word in ("above", "below"))
    spread = f"({_net(second)} - ({above} - {below}) ^ 2 / ({count} > 0))"
    return timeseries(
        "R² and percentage error",
        f"Share of the spread that is explained, and mean error by actual value, where that is not 0. Each point is "
        f"{HOUR}. Metrics: `{squared}`, `{first}`, `{second}`, `{percentage}`, `{zero}`.",
        Query(f"1 - {ratio(_net(squared), spread)}", "R²"),
        Query(ratio(_net(percentage), f"({count} - {_net(zero)})"), "mean absolute percentage error"),
        unit="percentunit", empty=NO_NUMBERS,
    )  # fmt: skip


def _top_k() -> Json:
    name = "model_top_k_predictions_total"
    return timeseries(
        "Top-k accuracy",
        f"Share of predictions whose true class was among the k likeliest. Each point is {HOUR}. Metric: `{name}`.",
        Query(ratio(_net(name, 'correct="true"', by="k"), _net(name, by="k")), "top {{k}}"),
        size=(12, 8), unit="percentunit", maximum=1, empty="No probabilities of all classes",
    )  # fmt: skip


def _sets() -> Json:
    total, count = "model_sample_score_sum_total", "model_sample_scores_total"
    return timeseries(
        "Quality of the sets of labels",
        f"Mean over predictions of the measure of each one's own set of labels. Each point is {HOUR}. "
        f"Metrics: `{total}`, `{count}`.",
        Query(ratio(_net(total, by="measure"), _net(count, by="measure")), "{{measure}}"),
        size=(12, 8), unit="percentunit", maximum=1, empty="The model predicts no sets of labels",
    )  # fmt: skip


def _rankings() -> list[Json]:
    count = "model_rankings_total"
    shown = {
        "NDCG": ("model_ndcg_sum_total", "Normalised discounted cumulative gain of the first k items"),
        "Mean reciprocal rank": (
            "model_reciprocal_rank_sum_total", "1 / rank of the first relevant item, 0 if it is not among the first k"
        ),
        "Hit rate": ("model_ranking_hits_total", "Share of rankings with a relevant item among the first k"),
    }  # fmt: skip
    return [
        timeseries(
            title, f"{about}, over rankings with a relevant item. Each point is {HOUR}. Metrics: `{name}`, `{count}`.",
            Query(f"{_net(name, by='k')} / on () group_left () ({_net(count)} > 0)", "first {{k}}"),
            unit="percentunit", maximum=1, empty="The model ranks nothing",
        )
        for title, (name, about) in shown.items()
    ]  # fmt: skip
