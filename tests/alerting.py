"""Alertmanager's shipped files, its real program, and who hears it: a mail server and a webhook."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

RULES = Path(__file__).resolve().parents[1] / "alert_rules"
SHIPPED = (RULES / "alertmanager.yml").read_text()


@dataclass(frozen=True)
class Example:
    """A shipped file of the user's own, in which all is commented out."""

    text: str

    @property
    def sections(self) -> list[str]:
        """The examples without their `# `, each from its own headline on; those for newer versions are left out."""
        parts = re.split(r"(?m)^# --- .*\n", self.text)[1:]
        return [re.sub(r"(?m)^# ?(?!#)", "", part) for part in parts if not part.strip().startswith("##")]

    @property
    def active(self) -> str:
        """All examples at once."""
        return "".join(self.sections)

    @property
    def newer(self) -> str:
        """The examples that need a newer Alertmanager."""
        return "".join(re.findall(r"(?m)^## (.*\n)", self.text))


EXAMPLES = {name: Example((RULES / name).read_text()) for name in ("receivers.yml", "overrides.yml")}
