"""What a shipped dashboard shows: the answers to its own queries, and the colours that it gives them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VARIABLE = re.compile(r"\$(\w+)|\$\{(\w+)\}")


@dataclass(frozen=True)
class Screen:
    """A dashboard's file, with `ask` for its queries: PromQL to the samples of an instant query."""

    path: Path
    ask: Callable[[str], list[dict[str, Any]]]

    def panel(self, title: str) -> Any:
        """The first panel of this title, be it in a folded row or not."""
        top = json.loads(self.path.read_text())["panels"]
        found = [one for row in top for one in (row, *row.get("panels", ())) if one["title"] == title]
        return next(one for one in found if one["type"] != "row")

    def values(self, title: str, **variables: str) -> dict[str, dict[tuple[str, ...], float]]:
        """By the name, as transformations change it, or the legend of each query: values by label values."""
        panel = self.panel(title)
        renamed = {
            old: new
            for step in panel.get("transformations", ())
            for old, new in step["options"].get("renameByName", {}).items()
        }
        shown = {}
        for target in panel["targets"]:
            expression = VARIABLE.sub(lambda found: variables[found[1] or found[2]], target["expr"])
            labels = [(one["metric"], float(one["value"][1])) for one in self.ask(expression)]
            name = renamed.get(f"Value #{target['refId']}", target["refId"])
            samples = {tuple(value for _, value in sorted(metric.items())): value for metric, value in labels}
            shown |= {name: samples, target.get("legendFormat", name): samples}
        return shown

    def colour(self, title: str, value: float, column: str = "") -> str:
        """What the panel, or one column of its table, paints this value."""
        config = self.panel(title)["fieldConfig"]
        rules = dict(config["defaults"])
        for override in config["overrides"]:
            if override["matcher"] == {"id": "byName", "options": column}:
                rules.update({one["id"]: one["value"] for one in override["properties"]})
        for mapping in rules["mappings"]:
            result = mapping["options"].get(f"{value:g}") if mapping["type"] == "value" else None
            if result:
                return str(result["color"])
        steps = rules["thresholds"]["steps"]
        return str([step["color"] for step in steps if step["value"] is None or step["value"] <= value][-1])
