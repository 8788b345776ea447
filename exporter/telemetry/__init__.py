"""What the exporter says about itself: its own metrics, and its log."""

from exporter.telemetry.logs import RefusalLog, configure_logging
from exporter.telemetry.metrics import FAILURE_REASONS, SPECS, ProbeTelemetry, SourceTelemetry, Telemetry

__all__ = [
    "FAILURE_REASONS",
    "SPECS",
    "ProbeTelemetry",
    "RefusalLog",
    "SourceTelemetry",
    "Telemetry",
    "configure_logging",
]
