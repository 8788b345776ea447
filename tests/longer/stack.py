"""The stack for as long as its slowest rules need: python tests/longer/stack.py

Starts what tests/e2e/test_stack.py starts, and waits until Prometheus has evaluated every group by itself and
Alertmanager has received the watchdog: about four minutes. Not part of .ci/run.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests import stack as stacks
from tests.debian import debian_program


def debian(package: str, program: str) -> Path:
    return debian_program(package, program) or sys.exit(f"{program} is missing: install Debian's {package}")


def main() -> None:
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, stacks.standing(Path(folder), debian) as stack:
        print(f"{time.monotonic() - began:5.0f} s  all targets up")
        health: Counter[str] = Counter(unknown=1)
        while health["unknown"] and time.monotonic() - began < 600:
            time.sleep(5)
            health = Counter(rule["health"] for _, rule in stacks.rules(stack))
        failed = [(rule["name"], rule["lastError"]) for _, rule in stacks.rules(stack) if rule.get("lastError")]
        print(f"{time.monotonic() - began:5.0f} s  rules: {dict(health)}")
        alerts = stack.get("alertmanager:9093", "/api/v2/alerts")
        print("alerts at the Alertmanager:", sorted({alert["labels"]["alertname"] for alert in alerts}))
        watchdog = any(alert["labels"]["alertname"] == "ModelExporterWatchdog" for alert in alerts)
        if failed or set(health) != {"ok"} or not watchdog:
            sys.exit(f"not well: {failed or dict(health)}; watchdog {'there' if watchdog else 'missing'}")


if __name__ == "__main__":
    main()
