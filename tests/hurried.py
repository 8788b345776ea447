"""Configuration of Prometheus and Alertmanager in a hurry: every window and every wait divided by one factor.

What is divided: in rules the range selectors, subqueries and offsets of expressions, `for`, `keep_firing_for` and
`interval`; in prometheus.yml the intervals and timeouts; in alertmanager.yml `group_wait`, `group_interval` and
`repeat_interval`.  Nothing else is touched: no threshold, no count, no name, no text.

    python -m tests.hurried 60 alert_rules/alerts.yml
"""

from __future__ import annotations

import re
import sys
from fractions import Fraction
from pathlib import Path

UNITS = {"w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
DURATION = r"(?:\d+(?:ms|[wdhms]))+"
KEYS = (
    "for", "keep_firing_for", "interval", "evaluation_interval", "scrape_interval", "scrape_timeout",
    "group_wait", "group_interval", "repeat_interval",
)  # fmt: skip
PLACES = re.compile(
    rf"(\[|:(?={DURATION}\])|\boffset\s+-?|(?<!\w)(?:{'|'.join(KEYS)}):\s+)({DURATION})(?!\w)",
)


def milliseconds(duration: str) -> int:
    """The length of a *duration* such as `1h30m`."""
    return sum(int(number) * UNITS[unit] for number, unit in re.findall(r"(\d+)(ms|[wdhms])", duration))


def divided(duration: str, factor: Fraction) -> str:
    """A *duration* divided by *factor*, in the largest unit up to days that takes it whole.

    Raises ValueError if it is no whole number of milliseconds, which is all that Prometheus knows.
    """
    length = milliseconds(duration) / factor
    if length.denominator != 1:
        raise ValueError(f"{duration} divided by {factor} is no whole number of milliseconds")
    if not length:
        return duration
    unit = next(unit for unit, size in UNITS.items() if unit != "w" and length % size == 0)
    return f"{length // UNITS[unit]}{unit}"


def hurried(text: str, factor: Fraction) -> str:
    """The configuration *text* with every window and wait divided by *factor*; lines of comment stay as they are."""
    lines = text.splitlines(keepends=True)
    return "".join(
        line if line.lstrip().startswith("#") else PLACES.sub(lambda found: found[1] + divided(found[2], factor), line)
        for line in lines
    )


if __name__ == "__main__":
    sys.stdout.write(hurried(Path(sys.argv[2]).read_text(), Fraction(sys.argv[1])))
