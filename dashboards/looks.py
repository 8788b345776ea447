"""How values look: units, limits, colours by meaning, words for numbers, and exceptions for single fields.

Colours are Grafana's names, which suit its dark and its light theme.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

Json = dict[str, Any]

GOOD, UNSURE, BAD, CALM, FAINT = "green", "orange", "red", "blue", "text"


class Look(TypedDict, total=False):
    """What every kind of panel understands; `empty` is the text where there is no value."""

    unit: str
    minimum: float
    maximum: float
    decimals: int
    steps: Json
    mappings: list[Json]
    empty: str
    links: list[Json]
    overrides: list[Json]


def steps(*colours: tuple[str, float | None]) -> Json:
    """Colours from a value on; the first one's value is None."""
    return {"mode": "absolute", "steps": [{"color": colour, "value": value} for colour, value in colours]}


NEUTRAL = steps((CALM, None))
ANY_IS_BAD = steps((GOOD, None), (BAD, 1))
ANY_IS_UNSURE = steps((GOOD, None), (UNSURE, 1))
ZERO_IS_BAD = steps((BAD, None), (GOOD, 1))
NEAR_LIMIT = steps((GOOD, None), (UNSURE, 0.8), (BAD, 0.9))
MARGIN = steps((BAD, None), (GOOD, 0))


def words(**texts: tuple[str, str]) -> list[Json]:
    """Texts and colours that stand for whole numbers: `words(_0=("ok", "green"))`."""
    results = {
        number.removeprefix("_"): {"text": text, "color": colour, "index": index}
        for index, (number, (text, colour)) in enumerate(texts.items())
    }
    return [{"type": "value", "options": results}]


STATUS = words(_0=("ok", GOOD), _1=("warning", UNSURE), _2=("critical", BAD))
STATUS_STEPS = steps((GOOD, None), (UNSURE, 1), (BAD, 2))
UP = words(_0=("down", BAD), _1=("up", GOOD))
WORKS = words(_0=("failing", BAD), _1=("ok", GOOD))
NOT_A_NUMBER: Json = {"type": "special", "options": {"match": "nan", "result": {"text": "undefined", "index": 0}}}


def defaults(look: Look, colours: str, custom: Json | None = None) -> Json:
    """`fieldConfig.defaults` with the mode that chooses *colours*."""
    out: Json = {
        "color": {"mode": colours},
        "mappings": [*look.get("mappings", []), NOT_A_NUMBER],
        "noValue": look.get("empty", "No data"),
        "thresholds": look.get("steps", NEUTRAL),
        "unit": look.get("unit", "none"),
    }
    for key, value in (("min", look.get("minimum")), ("max", look.get("maximum")), ("decimals", look.get("decimals"))):
        if value is not None:
            out[key] = value
    if "links" in look:
        out["links"] = look["links"]
    if custom:
        out["custom"] = custom
    return out


# --- single fields -------------------------------------------------------------------------------


def field(name: str, properties: Json) -> Json:
    """An override for the field, or the line, that is shown as *name*."""
    return {
        "matcher": {"id": "byName", "options": name},
        "properties": [{"id": key, "value": value} for key, value in properties.items()],
    }


def line(name: str, colour: str, *, dashed: bool = False) -> Json:
    """A line whose colour has a meaning."""
    properties: Json = {"color": {"mode": "fixed", "fixedColor": colour}}
    if dashed:
        properties |= {"custom.lineStyle": {"dash": [8, 6], "fill": "dash"}, "custom.fillOpacity": 0}
    return field(name, properties)


BOUND = "{{severity}} threshold"
"""The legend of a threshold from the config."""
BOUNDS = [line("warning threshold", UNSURE, dashed=True), line("critical threshold", BAD, dashed=True)]


def band(low: str, high: str, colour: str) -> list[Json]:
    """Two faint lines with the room between them filled."""
    faint = {"color": {"mode": "fixed", "fixedColor": colour}, "custom.lineWidth": 0, "custom.fillOpacity": 0}
    return [field(low, faint), field(high, faint | {"custom.fillBelowTo": low, "custom.fillOpacity": 12})]


def column(name: str, unit: str | None = None, width: int | None = None, decimals: int | None = None) -> Json:
    """A column of a table."""
    named = {"unit": unit, "custom.width": width, "decimals": decimals}
    return field(name, {key: value for key, value in named.items() if value is not None})


def judged(name: str, colours: Json, texts: Sequence[Json] = ()) -> Json:
    """A column of a table whose cells are coloured by their value."""
    properties: Json = {
        "thresholds": colours,
        "color": {"mode": "thresholds"},
        "custom.cellOptions": {"type": "color-background", "mode": "basic"},
    }
    if texts:
        properties["mappings"] = list(texts)
    return field(name, properties)


def link(title: str, url: str) -> Json:
    return {"title": title, "url": url, "targetBlank": False}


def renamed(name: str, shown: str, colour: str) -> Json:
    """A line, bar or column under a plainer name, whose colour has a meaning."""
    return field(name, {"displayName": shown, "color": {"mode": "fixed", "fixedColor": colour}})
