"""Metrics that no panel shows, each with the reason; a metric that is neither shown nor here fails the tests."""

from __future__ import annotations

_OF_ONE_REPLICA = "a gauge of one replica, for people who look at it; panels show counters, which add up over replicas"
_OF_SCORES = "a sum over scores: curves, calibration and losses are worked out of it by records, which panels can show"

NOT_SHOWN = {
    "model_accuracy_ratio": _OF_ONE_REPLICA,
    "model_precision_ratio": _OF_ONE_REPLICA,
    "model_recall_ratio": _OF_ONE_REPLICA,
    "model_f1_ratio": _OF_ONE_REPLICA,
    "model_top_k_accuracy_ratio": _OF_ONE_REPLICA,
    "model_mean_absolute_error": _OF_ONE_REPLICA,
    "model_mean_squared_error": _OF_ONE_REPLICA,
    "model_root_mean_squared_error": _OF_ONE_REPLICA,
    "model_bias": _OF_ONE_REPLICA,
    "model_r2_score": _OF_ONE_REPLICA,
    "model_mean_absolute_percentage_error": _OF_ONE_REPLICA,
    "model_mean_pinball_loss": _OF_ONE_REPLICA,
    "model_hamming_loss_ratio": _OF_ONE_REPLICA,
    "model_ndcg_ratio": _OF_ONE_REPLICA,
    "model_mean_reciprocal_rank_ratio": _OF_ONE_REPLICA,
    "model_hit_rate_ratio": _OF_ONE_REPLICA,
    "model_log_loss": _OF_ONE_REPLICA,
    "model_brier_score": _OF_ONE_REPLICA,
    "model_roc_auc_ratio": _OF_ONE_REPLICA,
    "model_average_precision_ratio": _OF_ONE_REPLICA,
    "model_expected_calibration_error_ratio": _OF_ONE_REPLICA,
    "model_window_labelled_predictions": _OF_ONE_REPLICA,
    "model_window_scored_predictions": _OF_ONE_REPLICA,
    "model_scored_predictions_total": _OF_SCORES,
    "model_scored_predictions_retracted_total": _OF_SCORES,
    "model_log_loss_sum_total": _OF_SCORES,
    "model_log_loss_sum_retracted_total": _OF_SCORES,
    "model_brier_sum_total": _OF_SCORES,
    "model_brier_sum_retracted_total": _OF_SCORES,
    "model_score_at_least_total": _OF_SCORES,
    "model_score_at_least_retracted_total": _OF_SCORES,
    "model_score_sum_total": _OF_SCORES,
    "model_score_sum_retracted_total": _OF_SCORES,
    "model_score_edge": _OF_SCORES,
    "model_target_center": "a number of the config, without which the sums around it would not add up",
    "model_server_crashes_per_hour": "the rules work it out of the counters, over one day for every server",
    "process_virtual_memory_bytes": "says little of a process that maps its files",
    "python_info": "the version stands in model_exporter_build_info",
}
