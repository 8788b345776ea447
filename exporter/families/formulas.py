"""Where the formulas of measures come from: the function of a library that gives the same, or the paper."""

from __future__ import annotations

_SKLEARN = {
    "model_accuracy_ratio": "accuracy_score",
    "model_precision_ratio": "precision_score",
    "model_recall_ratio": "recall_score",
    "model_f1_ratio": "f1_score",
    "model_f_beta_ratio": "fbeta_score",
    "model_specificity_ratio": "recall_score of all else",
    "model_false_positive_ratio": "confusion_matrix",
    "model_false_negative_ratio": "confusion_matrix",
    "model_balanced_accuracy_ratio": "balanced_accuracy_score",
    "model_matthews_correlation_coefficient": "matthews_corrcoef",
    "model_cohen_kappa": "cohen_kappa_score",
    "model_log_loss": "log_loss",
    "model_brier_score": "brier_score_loss",
    "model_roc_auc_ratio": "roc_auc_score",
    "model_average_precision_ratio": "average_precision_score",
    "model_top_k_accuracy_ratio": "top_k_accuracy_score",
    "model_hamming_loss_ratio": "hamming_loss",
    "model_mean_absolute_error": "mean_absolute_error",
    "model_mean_squared_error": "mean_squared_error",
    "model_root_mean_squared_error": "root_mean_squared_error",
    "model_r2_score": "r2_score",
    "model_mean_absolute_percentage_error": "mean_absolute_percentage_error",
    "model_mean_pinball_loss": "mean_pinball_loss",
    "model_ndcg_ratio": "ndcg_score",
    "model_segment_accuracy_ratio": "accuracy_score",
    "model_segment_precision_ratio": "precision_score",
    "model_segment_recall_ratio": "recall_score",
    "model_segment_f1_ratio": "f1_score",
    "model_matured_accuracy_ratio": "accuracy_score",
    "model_matured_precision_ratio": "precision_score",
    "model_matured_recall_ratio": "recall_score",
    "model_matured_f1_ratio": "f1_score",
}
_FAIRLEARN = {
    "model_segment_selection_ratio": "selection_rate",
    "model_segment_false_positive_ratio": "false_positive_rate",
    **{
        f"model_{measure}_{kind}": f"{measure}_{kind}"
        for measure in ("demographic_parity", "equal_opportunity", "equalized_odds")
        for kind in ("difference", "ratio")
    },
}
_CBPE = "NannyML's confidence-based performance estimation (CBPE)"
_ELSEWHERE = {
    "model_expected_cost": "C. Elkan (2001), The foundations of cost-sensitive learning",
    "model_quality_bound_ratio": "E. B. Wilson (1927); of areas J. A. Hanley and B. J. McNeil (1982)",
    "model_expected_calibration_error_ratio": "M. P. Naeini, G. F. Cooper and M. Hauskrecht (2015)",
    "model_mean_reciprocal_rank_ratio": "E. M. Voorhees (1999), The TREC-8 question answering track report",
    **{f"model_estimated_{name}_ratio": _CBPE for name in ("accuracy", "precision", "recall", "f1", "roc_auc")},
}

SOURCES = (
    {name: f"scikit-learn, {function}" for name, function in _SKLEARN.items()}
    | {name: f"fairlearn, {function}" for name, function in _FAIRLEARN.items()}
    | _ELSEWHERE
)
"""By the name of the metric; a share or a mean that its help defines has none."""
