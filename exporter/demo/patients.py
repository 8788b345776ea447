"""Whom the demo asks about: in which country, and of which age; what quality by group and fairness rest on."""

from __future__ import annotations

from random import Random

REGIONS = {"DE": 0.3, "US": 0.25, "IN": 0.2, "AU": 0.13, "BR": 0.12}
"""Countries, and their shares of the requests."""
OLD_SCANNER = ("BR", 0.25)
"""Where some of the scanners are old ones that send lengths in another unit, and how many of them."""
AGES = ("under 40", "40 to 59", "60 and over")
_AGES = {"benign": (0.4, 0.4, 0.2), "malignant": (0.15, 0.4, 0.45)}
"""Shares of the ages: older patients have more tumours that are malignant."""


def region(random: Random) -> tuple[str, bool]:
    """A country, and whether the scanner there is an old one."""
    name = random.choices(list(REGIONS), list(REGIONS.values()))[0]
    where, share = OLD_SCANNER
    return name, random.random() < share and name == where


def age(number: int, diagnosis: str) -> str:
    """The age of the patient of request *number*, who has this *diagnosis*."""
    return Random(number).choices(AGES, _AGES[diagnosis])[0]  # noqa: S311 - the same for the same request
