"""Proposals as the `models:` of a config, each with its evidence as a comment."""

from __future__ import annotations

import json
import math
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

import yaml

from exporter import __version__
from exporter.config.thresholds import DurationCeiling, bound, entry
from exporter.config.types import canonical, duration_text
from exporter.proposing.bounds import CONFIDENCE, Limit
from exporter.proposing.prometheus import Times
from exporter.proposing.proposal import Proposal

MONTH = 30
_WIDTH = 110
_MOST_ALARMS = 4
_MEANING = f"""An alarm is a time for which the alert would have fired for the model, by its own `for` and
`keep_firing_for`, and one more for each further day. Evaluations are not counted: their windows overlap, so that
neighbours are not independent. Where k alarms came in T days, k + 1 are to be expected in the next T; "at most" is the
upper end of a {CONFIDENCE:.0%} interval (Garwood's; 3 in T after none). What T is too short to show is extrapolated by
a Gumbel law of each day's worst."""
_ADVICE = "Was an alarm or a worst value below about a real fault? Leave its time out with --exclude FROM/TO."


def head(place: str, times: Times, rates: Mapping[str, float]) -> str:
    """What all proposals rest on, as comments."""
    wanted = ", ".join(f"{_rate(rate)} of severity {severity}" for severity, rate in rates.items())
    proposed = f"""Proposed by model-exporter {__version__} out of what the alerts of {place} looked at from
        {_moment(times.start)} to {_moment(times.end)}. Wanted per measure in {MONTH} days: {wanted} at most."""
    return _comment(proposed) + _comment(_MEANING) + _comment(_ADVICE)


def model(name: str, proposals: Sequence[Proposal], silent: Iterable[str]) -> str:
    """The entry of a model under `models:`; *silent* are the measures of which nothing was recorded."""
    any_limit = any(proposal.limits for proposal in proposals)
    lines = [f"  {_key(name)}:", "    thresholds:" if any_limit else "    thresholds: {}"]
    for proposal in proposals:
        lines += (f"      {line}" for line in _measure(proposal))
    nothing = ", ".join(silent)
    if nothing:
        lines.append(_comment(f"Nothing recorded of {nothing}.", "      ").rstrip())
    return "".join(f"{line}\n" for line in lines)


def _comment(text: str, indent: str = "") -> str:
    start = f"{indent}# "
    lines = textwrap.wrap(" ".join(text.split()), _WIDTH, initial_indent=start, subsequent_indent=start)
    return "".join(f"{line}\n" for line in lines)


def _measure(found: Proposal) -> Iterator[str]:
    median, worst = (_value(found.measure, value) for value in (found.median, found.worst))
    side = "lowest" if bound(found.measure) == "min" else "highest"
    yield f"# {found.measure} ({', '.join(found.alerts)}): {found.days:.1f} days, {found.evaluations:,} evaluations,"
    yield f"#   median {median}, {side} {worst} at {_moment(found.worst_at)}"
    if found.outlier is not None:
        value = _value(found.measure, found.outlier.value, exact=True)
        span = f"{_plain(found.outlier.start)}/{_plain(found.outlier.end)}"
        yield f"#   but for one time, {found.outlier.severity} would be {value}; was that a fault? --exclude {span}"
    for severity, present in found.today.items():
        yield f"#   {severity} today, {_value(found.measure, present.value, exact=True)}: {_alarms(present.alarms)}"
    if not found.limits and len({*found.missing.values()}) == 1:
        yield f"#   none proposed: {next(iter(found.missing.values()))}"
    else:
        yield from (f"#   no {severity}: {why}" for severity, why in found.missing.items())
    if found.limits:
        yield f"{found.measure}:"
    for severity, limit in found.limits.items():
        written = _value(found.measure, found.bounds[severity], exact=True)
        yield f"  {severity}: {written}  # {_promise(limit)}"
        yield from (f"  #   {line}" for line in _times(found.firing[severity]))


def _promise(limit: Limit) -> str:
    expected = f"{_number(limit.expected * MONTH)} in {MONTH} days" + (" (extrapolated)" if limit.extrapolated else "")
    return f"{_alarms(limit.alarms)}; expect {expected}, at most {_number(limit.most * MONTH)}"


def _times(firing: Sequence[tuple[float, float]]) -> Iterator[str]:
    for start, end in firing[:_MOST_ALARMS]:
        yield f"fired at {_moment(start)} for {_length(end - start)}"
    if len(firing) > _MOST_ALARMS:
        yield f"and {len(firing) - _MOST_ALARMS} times more"


def _alarms(count: int) -> str:
    return "no alarm" if not count else "1 alarm" if count == 1 else f"{count} alarms"


def _value(measure: str, number: float, *, exact: bool = False) -> str:
    if entry(measure) is not DurationCeiling:
        return canonical(number if exact else float(f"{number:.4g}"))
    if 60 <= number < math.inf:
        return _length(number)
    return duration_text(number if exact else float(f"{number:.3g}"))


def _number(value: float) -> str:
    return f"{value:.1f}" if value >= 0.95 else f"{value:.1g}"


def _rate(per_day: float) -> str:
    count = canonical(float(f"{per_day * MONTH:.2g}"))
    return f"{count} alarm" if count == "1" else f"{count} alarms"


def _length(seconds: float) -> str:
    """Such as `1d6h` or `2h5m`, to the second."""
    left, text = round(seconds), ""
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def _moment(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"


def _plain(at: float) -> str:
    """As --exclude takes it."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M}"


def _key(name: str) -> str:
    """A model's name as a key of YAML."""
    plain = re.fullmatch(r"[A-Za-z_][\w.-]*", name) and yaml.safe_load(name) == name
    return name if plain else json.dumps(name)
