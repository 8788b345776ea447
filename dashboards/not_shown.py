"""Metrics that no panel shows, each with the reason; a metric that is neither shown nor here fails the tests."""

from __future__ import annotations

_OF_ONE_REPLICA = "a gauge of one replica, for people who look at it; panels show counters, which add up over replicas"

NOT_SHOWN = {
    "model_accuracy_ratio": _OF_ONE_REPLICA,
    "model_precision_ratio": _OF_ONE_REPLICA,
    "model_recall_ratio": _OF_ONE_REPLICA,
    "model_f1_ratio": _OF_ONE_REPLICA,
    "model_window_labelled_predictions": _OF_ONE_REPLICA,
    "model_server_crashes_per_hour": "the rules work it out of the counters, over one day for every server",
    "process_virtual_memory_bytes": "says little of a process that maps its files",
    "python_info": "the version stands in model_exporter_build_info",
}
